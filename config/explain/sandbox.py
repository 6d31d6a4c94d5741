"""Trials on the real tables that are undone afterwards: dropped indexes, new ones, inserted rows."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pymongo
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from config.explain.indexes import Index
from config.explain.timing import Timing, summarize_runs

# How long a trial waits for its lock. Every reader of the table queues behind it meanwhile.
_LOCK_TIMEOUT: Final = "2s"

# Copies of existing rows with new keys. {} is their number.
_NEW_ROWS: Final[Mapping[str, str]] = {
    "notes": "SELECT gen_random_uuid() AS id, user_id, title, content, created_at, updated_at, version"
    " FROM notes LIMIT {}",
    "user_profiles": "SELECT 'explain-' || n AS user_id, 'explain-' || n || '@example.invalid' AS email,"
    " preferences, created_at, updated_at, last_login, version"
    " FROM (SELECT *, row_number() OVER () AS n FROM user_profiles LIMIT {}) AS numbered",
}
_COPY: Final = "explain_"
BUILT_INDEX: Final = "explain_trial"
_BUILD_SECONDS: Final = 600
_COPIED_MAX: Final = 20_000
_INDEX_NOT_FOUND: Final = 27

Keys = Sequence[tuple[str, int]]  # of a MongoDB index: fields, and 1 or -1
_BEGINNING: Final = re.compile(r"^CREATE (UNIQUE )?INDEX (\S+) ON \S+ ")


class DdlNotAllowed(Exception):
    """ALLOW_EXPLAIN_DDL does not allow experiments on this database."""


def refuse_unless_allowed() -> None:
    """Raise DdlNotAllowed unless ALLOW_EXPLAIN_DDL."""
    if not settings.ALLOW_EXPLAIN_DDL:
        raise DdlNotAllowed(
            "this drops and creates indexes in transactions that are rolled back, and locks the "
            "tables meanwhile; set ALLOW_EXPLAIN_DDL=true where that does no harm"
        )


@contextmanager
def rolled_back() -> Iterator[None]:
    """
    Roll back everything that is done in the block, however it ends, including by Ctrl-C.

    Until then nobody else can read a table whose index was dropped. Raises DdlNotAllowed unless
    ALLOW_EXPLAIN_DDL is set, and OperationalError if the lock is not granted within 2 seconds.
    """
    refuse_unless_allowed()
    with transaction.atomic():
        try:
            execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            yield
        finally:
            # Only for a normal end: after an exception or Ctrl-C atomic() itself rolls back.
            transaction.set_rollback(True)


@contextmanager
def built_index(
    table: str, definition: str, *, instead_of: Sequence[str] = ()
) -> Iterator[tuple[int, float]]:
    """
    Create BUILT_INDEX for the block, in place of other indexes; yield its size in bytes and its build time in ms.

    definition is what follows the table's name in CREATE INDEX. Raises as rolled_back does.
    """
    with rolled_back():
        drop_indexes(instead_of)
        started = time.perf_counter()
        execute(f"CREATE INDEX {BUILT_INDEX} ON {quote_name(table)} {definition}")
        built_ms = (time.perf_counter() - started) * 1000
        yield size_bytes(BUILT_INDEX), built_ms


@contextmanager
def hidden_index(collection: Collection[Any], index: str) -> Iterator[None]:
    """
    Hide a MongoDB index from the planner for the block; MongoDB keeps it up to date.

    A process that is killed meanwhile leaves it hidden, and the next run unhides it. Raises
    DdlNotAllowed unless ALLOW_EXPLAIN_DDL is set.
    """
    refuse_unless_allowed()
    _hide(collection, index, is_hidden=True)
    try:
        yield
    finally:
        _hide(collection, index, is_hidden=False)


def unhide_indexes(collection: Collection[Any]) -> list[str]:
    """Unhide the indexes that a killed run has left hidden; return their names."""
    hidden = [
        name
        for name, details in collection.index_information().items()
        if details.get("hidden", False)
    ]
    for name in hidden:
        _hide(collection, name, is_hidden=False)
    return hidden


@contextmanager
def temporary_index(
    collection: Collection[Any], name: str, keys: Keys, **options: Any
) -> Iterator[str]:
    """
    Create a MongoDB index for the block; yield its name, which begins with explain_.

    It is dropped however the block ends, including by Ctrl-C during its creation. A process that
    is killed meanwhile leaves it, and the next run drops it. Raises DdlNotAllowed unless
    ALLOW_EXPLAIN_DDL is set.
    """
    refuse_unless_allowed()
    trial = _COPY + name
    try:
        with pymongo.timeout(_BUILD_SECONDS):
            collection.create_index(list(keys), name=trial, **options)
        yield trial
    finally:
        _drop_of(collection, trial)


def drop_leftovers(collection: Collection[Any]) -> list[str]:
    """Drop the indexes that a killed run has left; return their names."""
    leftovers = [name for name in collection.index_information() if name.startswith(_COPY)]
    for name in leftovers:
        _drop_of(collection, name)
    return leftovers


def _drop_of(collection: Collection[Any], index: str) -> None:
    try:
        collection.drop_index(index)  # also aborts its creation
    except OperationFailure as exc:
        if exc.code != _INDEX_NOT_FOUND:
            raise


def time_mongodb_inserts(
    collection: Collection[Any], name: str, keys: Keys, *, rows: int, rounds: int
) -> tuple[Timing, Timing]:
    """
    Return how long inserting documents takes with an index, existing or not, and without it.

    They go into two partial copies of the collection, which are dropped afterwards. The copies
    alternate in each round; the first round only warms up.
    """
    refuse_unless_allowed()
    copies = [collection.database[f"{_COPY}copy_{side}"] for side in ("with", "without")]
    times: list[list[float]] = [[], []]
    try:
        others = {
            other: details["key"]
            for other, details in collection.index_information().items()
            if other not in ("_id_", name)
        }
        for copy, indexes in zip(copies, ({**others, name: list(keys)}, others), strict=True):
            _fill(copy, collection, indexes)
        documents = list(copies[1].find({}, {"_id": 0}).limit(rows))
        for _ in range(rounds + 1):
            for copy, samples_ms in zip(copies, times, strict=True):
                samples_ms.append(_insert_many_ms(copy, documents))
    finally:
        for copy in copies:
            copy.drop()
    return summarize_runs(times[0][1:]), summarize_runs(times[1][1:])


def _insert_many_ms(copy: Collection[Any], documents: Sequence[Mapping[str, Any]]) -> float:
    fresh = [dict(document) for document in documents]  # each gets an _id of its own
    started = time.perf_counter()
    with pymongo.timeout(_BUILD_SECONDS):
        copy.insert_many(fresh, ordered=False)
    return (time.perf_counter() - started) * 1000


def _fill(copy: Collection[Any], source: Collection[Any], indexes: Mapping[str, Keys]) -> None:
    """Create the indexes, neither unique nor with a TTL, and copy documents."""
    with pymongo.timeout(_BUILD_SECONDS):
        models = [pymongo.IndexModel(list(keys), name=name) for name, keys in indexes.items()]
        if models:
            copy.create_indexes(models)
        source.aggregate([{"$limit": _COPIED_MAX}, {"$out": copy.name}])  # $out keeps the indexes


def _hide(collection: Collection[Any], index: str, *, is_hidden: bool) -> None:
    change = {"name": index, "hidden": is_hidden}
    collection.database.command("collMod", collection.name, index=change)


def execute(statement: str, *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Run a statement built from names that the database itself reported."""
    with connections[using].cursor() as cursor:
        cursor.execute(statement)


def quote_name(name: str) -> str:
    """Return the quoted name of an index or table."""
    return str(connection.ops.quote_name(name))


def drop_indexes(indexes: Sequence[str]) -> None:
    """Drop these indexes in the current transaction."""
    for name in indexes:
        execute(f"DROP INDEX {quote_name(name)}")


def size_bytes(index: str) -> int:
    """Return the current size of an index."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(%s::regclass)", [quote_name(index)])
        return int(cursor.fetchone()[0])


def rebuilt_bytes(index: str) -> int:
    """Return the size of an index after REINDEX: the rest of its current size is bloat."""
    with rolled_back():
        execute(f"REINDEX INDEX {quote_name(index)}")
        return size_bytes(index)


def time_postgres_inserts(
    table: str, indexes: Sequence[Index], *, rows: int, rounds: int
) -> dict[str | None, Timing]:
    """
    Return how long inserting rows takes without each index, and under None with all of them.

    They go into a copy of the table with the same rows and indexes, which is rolled back as a
    whole: rows rolled back in the table itself would leave dead entries in every index. The
    variants alternate in each round, so a slow machine affects all alike; the first round only
    warms up.
    """
    names: list[str | None] = [None, *(index.name for index in indexes if not index.is_unique)]
    times: dict[str | None, list[float]] = {name: [] for name in names}
    with rolled_back():
        execute(f"CREATE TABLE explain_copy AS SELECT * FROM {quote_name(table)}")  # noqa: S608
        execute(f"CREATE TEMPORARY TABLE explain_rows AS {_NEW_ROWS[table].format(rows)}")
        for index in indexes:
            execute(_copied(index))
        for _ in range(rounds + 1):
            for name, samples_ms in times.items():
                samples_ms.append(_insert_ms(name))
    return {name: summarize_runs(samples_ms[1:]) for name, samples_ms in times.items()}


def _copied(index: Index) -> str:
    name = quote_name(_COPY + index.name)
    return _BEGINNING.sub(rf"CREATE \1INDEX {name} ON explain_copy ", index.definition)


def _insert_ms(without: str | None) -> float:
    savepoint = transaction.savepoint()
    try:
        if without is not None:
            drop_indexes([_COPY + without])
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM explain_rows LIMIT 0")
            columns = ", ".join(column.name for column in cursor.description)
        started = time.perf_counter()
        execute(f"INSERT INTO explain_copy ({columns}) SELECT {columns} FROM explain_rows")  # noqa: S608
        return (time.perf_counter() - started) * 1000
    finally:
        transaction.savepoint_rollback(savepoint)
