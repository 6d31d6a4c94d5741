"""The indexes that there are: their size, how often they were used, and which cover which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from pymongo.collection import Collection

from config.explain.plan import Store

_FACTS: Final = """
SELECT one.relname, target.relname, pg_get_indexdef(pg_index.indexrelid),
       pg_relation_size(one.oid), indisunique, coalesce(used.idx_scan, 0),
       CASE WHEN pg_am.amname = 'btree' AND indpred IS NULL AND indexprs IS NULL
            THEN string_to_array(indkey::text, ' ') END,
       string_to_array(indclass::text, ' '), string_to_array(indoption::text, ' ')
FROM pg_index
JOIN pg_class AS one ON one.oid = indexrelid
JOIN pg_class AS target ON target.oid = indrelid
JOIN pg_am ON pg_am.oid = one.relam
LEFT JOIN pg_stat_user_indexes AS used ON used.indexrelid = pg_index.indexrelid
WHERE target.relname = ANY(%s) AND target.relnamespace = current_schema()::regnamespace
ORDER BY target.relname, one.relname
"""


@dataclass(frozen=True, kw_only=True)
class Index:
    """
    An index as it is.

    uses is how often it was used since the statistics were last reset; covered_by names an index
    that begins with the same columns, and so could answer what this one does.
    """

    store: Store
    name: str
    table: str
    definition: str
    size_bytes: int
    is_unique: bool
    uses: int
    covered_by: str | None = None
    expires: bool = False  # documents are deleted by it
    keys: tuple[tuple[str, int], ...] = ()  # of MongoDB's


def of_tables(names: Sequence[str]) -> list[Index]:
    """Return the indexes of these tables."""
    with connection.cursor() as cursor:
        cursor.execute(_FACTS, [list(names)])
        told = cursor.fetchall()
    return [
        Index(
            store="postgres",
            name=one[0],
            table=one[1],
            definition=one[2],
            size_bytes=one[3],
            is_unique=one[4],
            uses=one[5],
            covered_by=_covering(one, told),
        )
        for one in told
    ]


def of_collection(collection: Collection[Any]) -> list[Index]:
    """Return the indexes of a collection but that of _id, which it has anyhow."""
    [stats] = collection.aggregate([{"$collStats": {"storageStats": {}}}])
    sizes = stats["storageStats"]["indexSizes"]
    uses = {
        one["name"]: int(one["accesses"]["ops"])
        for one in collection.aggregate([{"$indexStats": {}}])
    }
    known = collection.index_information()
    return [
        Index(
            store="mongodb",
            name=name,
            table=collection.name,
            definition=", ".join(f"{field} {side}" for field, side in told["key"]),
            size_bytes=sizes[name],
            is_unique=bool(told.get("unique")),
            uses=uses.get(name, 0),
            covered_by=_longer(told, known),
            expires="expireAfterSeconds" in told,
            keys=tuple((field, side) for field, side in told["key"]),
        )
        for name, told in known.items()
        if name != "_id_"
    ]


def _longer(one: Mapping[str, Any], others: Mapping[str, Any]) -> str | None:
    """Return an index of MongoDB that begins with the same fields; none serves for a constraint."""
    keys = list(one["key"])
    if one.get("unique") or "expireAfterSeconds" in one:
        return None
    for name, other in others.items():
        longer = list(other["key"])
        is_alike = other.get("collation") == one.get("collation")
        if len(longer) > len(keys) and longer[: len(keys)] == keys and is_alike:
            return None if "partialFilterExpression" in other else name
    return None


def _covering(one: Sequence[Any], others: Sequence[Sequence[Any]]) -> str | None:
    """Return an index that is longer and begins as this one does: same columns, classes, order."""
    keys = one[6:9]
    if keys[0] is None or one[4]:
        return None
    length = len(keys[0])
    for other in others:
        if other[1] == one[1] and other[6] is not None and len(other[6]) > length:
            beginning = tuple(part[:length] for part in other[6:9])
            if beginning == tuple(keys):
                return str(other[0])
    return None
