"""The existing indexes: size, number of uses, and which is a prefix of which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from pymongo.collection import Collection

from config.explain.plan import Store

_FACTS: Final = """
SELECT own.relname, target.relname, pg_get_indexdef(pg_index.indexrelid),
       pg_relation_size(own.oid), indisunique, coalesce(used.idx_scan, 0),
       CASE WHEN pg_am.amname = 'btree' AND indpred IS NULL AND indexprs IS NULL
            THEN string_to_array(indkey::text, ' ') END,
       string_to_array(indclass::text, ' '), string_to_array(indoption::text, ' ')
FROM pg_index
JOIN pg_class AS own ON own.oid = indexrelid
JOIN pg_class AS target ON target.oid = indrelid
JOIN pg_am ON pg_am.oid = own.relam
LEFT JOIN pg_stat_user_indexes AS used ON used.indexrelid = pg_index.indexrelid
WHERE target.relname = ANY(%s) AND target.relnamespace = current_schema()::regnamespace
ORDER BY target.relname, own.relname
"""


@dataclass(frozen=True, kw_only=True)
class Index:
    """
    An existing index.

    uses counts its scans since the statistics were last reset. covered_by names a longer index
    that begins with the same columns, and so can serve the same queries.
    """

    store: Store
    name: str
    table: str
    definition: str
    size_bytes: int
    is_unique: bool
    uses: int
    covered_by: str | None = None
    expires: bool = False  # a TTL index, by which MongoDB deletes documents
    keys: tuple[tuple[str, int], ...] = ()  # MongoDB only


def of_tables(names: Sequence[str]) -> list[Index]:
    """Return the indexes of these tables."""
    with connection.cursor() as cursor:
        cursor.execute(_FACTS, [list(names)])
        rows = cursor.fetchall()
    return [
        Index(
            store="postgres",
            name=row[0],
            table=row[1],
            definition=row[2],
            size_bytes=row[3],
            is_unique=row[4],
            uses=row[5],
            covered_by=_covering(row, rows),
        )
        for row in rows
    ]


def of_collection(collection: Collection[Any]) -> list[Index]:
    """Return the indexes of a collection, except that of _id, which every collection has."""
    [stats] = collection.aggregate([{"$collStats": {"storageStats": {}}}])
    sizes = stats["storageStats"]["indexSizes"]
    uses = {
        stats_row["name"]: int(stats_row["accesses"]["ops"])
        for stats_row in collection.aggregate([{"$indexStats": {}}])
    }
    known = collection.index_information()
    return [
        Index(
            store="mongodb",
            name=name,
            table=collection.name,
            definition=", ".join(f"{field} {side}" for field, side in details["key"]),
            size_bytes=sizes[name],
            is_unique=bool(details.get("unique")),
            uses=uses.get(name, 0),
            covered_by=_longer(details, known),
            expires="expireAfterSeconds" in details,
            keys=tuple((field, side) for field, side in details["key"]),
        )
        for name, details in known.items()
        if name != "_id_"
    ]


def _longer(index: Mapping[str, Any], others: Mapping[str, Any]) -> str | None:
    """Return a longer MongoDB index with the same first fields; None for a unique or TTL index."""
    keys = list(index["key"])
    if index.get("unique") or "expireAfterSeconds" in index:
        return None
    for name, other in others.items():
        longer = list(other["key"])
        is_alike = other.get("collation") == index.get("collation")
        if len(longer) > len(keys) and longer[: len(keys)] == keys and is_alike:
            return None if "partialFilterExpression" in other else name
    return None


def _covering(row: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str | None:
    """Return a longer index that begins with the same columns, operator classes and order."""
    keys = row[6:9]
    if keys[0] is None or row[4]:
        return None
    length = len(keys[0])
    for candidate in rows:
        if candidate[1] == row[1] and candidate[6] is not None and len(candidate[6]) > length:
            beginning = tuple(part[:length] for part in candidate[6:9])
            if beginning == tuple(keys):
                return str(candidate[0])
    return None
