"""The indexes that the databases really have."""

from django.db import connection
from pymongo.collection import Collection


def of_table(name: str, *, unique: bool | None = None) -> set[str]:
    """Return the indexes of a table; unique: only those that are, or are not, for a constraint."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexrelid::regclass::text, indisunique FROM pg_index"
            " WHERE indrelid = %s::regclass",
            [name],
        )
        return {index for index, is_unique in cursor.fetchall() if unique in (None, is_unique)}


def of_collection(collection: Collection, *, unique: bool | None = None) -> set[str]:
    """Return the indexes of a collection but that of _id, which every collection has."""
    return {
        name
        for name, index in collection.index_information().items()
        if name != "_id_" and unique in (None, index.get("unique", False))
    }
