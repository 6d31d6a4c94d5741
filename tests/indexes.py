"""The indexes that the databases really have, and tables that they alone can answer for."""

from collections.abc import Iterable

from django.db import connection
from pymongo.collection import Collection

from config.explain.catalogue import Query
from config.stack.process import wait_until


def vacuum(table: str) -> None:
    """
    Give the planner statistics, and make every page all-visible, so that an index alone can answer.

    By itself VACUUM leaves a few dead rows to the indexes (below a fiftieth of the pages), such as
    those that another test has left; and a page that somebody uses at the moment it passes over.
    """

    def is_done() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(f'VACUUM (ANALYZE, INDEX_CLEANUP ON) "{table}"')
            cursor.execute(
                "SELECT relallvisible >= relpages FROM pg_class WHERE oid = %s::regclass", [table]
            )
            return cursor.fetchone() == (True,)

    assert wait_until(is_done, 30)


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


def used_by(queries: Iterable[Query]) -> dict[str, list[str]]:
    """Return each index that is in use, with the names of the queries that use it."""
    used: dict[str, list[str]] = {}
    for query in queries:
        for index in query.statement.explain().indexes:
            used.setdefault(index, []).append(query.name)
    return used
