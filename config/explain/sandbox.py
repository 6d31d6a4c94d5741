"""What is tried on the real tables, and taken back: dropped indexes, new ones, inserted rows."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pymongo
from django.conf import settings
from django.db import connection, transaction
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from config.explain.indexes import Index
from config.explain.timing import Timing, summarize_runs

# So long a trial waits for its lock: behind it every reader of the table would wait as well.
_LOCK_TIMEOUT: Final = "2s"

# Rows like those that are there, with keys of their own. {} is how many.
_NEW_ROWS: Final[Mapping[str, str]] = {
    "notes": "SELECT gen_random_uuid() AS id, user_id, title, content, created_at, updated_at, version"
    " FROM notes LIMIT {}",
    "user_profiles": "SELECT 'explain-' || n AS user_id, 'explain-' || n || '@example.invalid' AS email,"
    " preferences, created_at, updated_at, last_login, version"
    " FROM (SELECT *, row_number() OVER () AS n FROM user_profiles LIMIT {}) AS numbered",
}
_COPY: Final = "explain_"
_BUILD_SECONDS: Final = 600
_COPIED_MAX: Final = 20_000
_INDEX_NOT_FOUND: Final = 27

Keys = Sequence[tuple[str, int]]  # of an index of MongoDB: fields, and 1 or -1
_BEGINNING: Final = re.compile(r"^CREATE (UNIQUE )?INDEX (\S+) ON \S+ ")


class TrialsRefused(Exception):
    """The database is not marked as one for experiments."""


def refuse_unless_allowed() -> None:
    """Raise TrialsRefused unless ALLOW_EXPLAIN_DDL."""
    if not settings.ALLOW_EXPLAIN_DDL:
        raise TrialsRefused(
            "this drops and makes indexes in transactions that are rolled back, and locks the "
            "tables meanwhile; set ALLOW_EXPLAIN_DDL=true where that does no harm"
        )


@contextmanager
def rolled_back() -> Iterator[None]:
    """
    Take back whatever is done in the block, however it ends, Ctrl-C included.

    Until then nobody else reads a table of which an index was dropped. Raises TrialsRefused
    unless ALLOW_EXPLAIN_DDL; OperationalError where the lock is not to be had within 2 seconds.
    """
    refuse_unless_allowed()
    with transaction.atomic():
        try:
            run(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            yield
        finally:
            # Not needed after an exception; and atomic() itself rolls back after Ctrl-C.
            transaction.set_rollback(True)


@contextmanager
def hidden(collection: Collection[Any], index: str) -> Iterator[None]:
    """
    Hide an index of MongoDB from its planner for the block; MongoDB keeps it up to date.

    A process that is killed meanwhile leaves it hidden, and the next run shows it again. Raises
    TrialsRefused unless ALLOW_EXPLAIN_DDL.
    """
    refuse_unless_allowed()
    _hide(collection, index, is_hidden=True)
    try:
        yield
    finally:
        _hide(collection, index, is_hidden=False)


def show_hidden(collection: Collection[Any]) -> list[str]:
    """Show the planner what a killed run has left hidden; return the names."""
    left = [
        name for name, told in collection.index_information().items() if told.get("hidden", False)
    ]
    for name in left:
        _hide(collection, name, is_hidden=False)
    return left


@contextmanager
def temporary(collection: Collection[Any], name: str, keys: Keys, **options: Any) -> Iterator[str]:
    """
    Make an index of MongoDB for the block; yield its name, which begins with explain_.

    It is dropped however the block ends, Ctrl-C while it is being made included. A process that
    is killed meanwhile leaves it, and the next run drops it. Raises TrialsRefused unless
    ALLOW_EXPLAIN_DDL.
    """
    refuse_unless_allowed()
    trial = _COPY + name
    try:
        with pymongo.timeout(_BUILD_SECONDS):
            collection.create_index(list(keys), name=trial, **options)
        yield trial
    finally:
        _drop_of(collection, trial)


def drop_left(collection: Collection[Any]) -> list[str]:
    """Drop the indexes that a killed run has left; return their names."""
    left = [name for name in collection.index_information() if name.startswith(_COPY)]
    for name in left:
        _drop_of(collection, name)
    return left


def _drop_of(collection: Collection[Any], index: str) -> None:
    try:
        collection.drop_index(index)  # which also ends the making of it
    except OperationFailure as exc:
        if exc.code != _INDEX_NOT_FOUND:
            raise


def inserting(
    collection: Collection[Any], name: str, keys: Keys, *, rows: int, rounds: int
) -> tuple[Timing, Timing]:
    """
    Return how long inserting so many documents takes with an index, there or not, and without it.

    Into two copies of some of the collection, which are dropped; one after the other in each
    round, of which the first only warms up.
    """
    refuse_unless_allowed()
    copies = [collection.database[f"{_COPY}copy_{side}"] for side in ("with", "without")]
    times: list[list[float]] = [[], []]
    try:
        others = {
            other: told["key"]
            for other, told in collection.index_information().items()
            if other not in ("_id_", name)
        }
        for copy, wanted in zip(copies, ({**others, name: list(keys)}, others), strict=True):
            _fill(copy, collection, wanted)
        documents = list(copies[1].find({}, {"_id": 0}).limit(rows))
        for _ in range(rounds + 1):
            for copy, taken in zip(copies, times, strict=True):
                taken.append(_insert_many_ms(copy, documents))
    finally:
        for copy in copies:
            copy.drop()
    return summarize_runs(times[0][1:]), summarize_runs(times[1][1:])


def _insert_many_ms(copy: Collection[Any], documents: Sequence[Mapping[str, Any]]) -> float:
    fresh = [dict(one) for one in documents]  # each gets an _id of its own
    started = time.perf_counter()
    with pymongo.timeout(_BUILD_SECONDS):
        copy.insert_many(fresh, ordered=False)
    return (time.perf_counter() - started) * 1000


def _fill(copy: Collection[Any], source: Collection[Any], wanted: Mapping[str, Keys]) -> None:
    """Make indexes, without what is unique about them and without expiry; copy documents."""
    with pymongo.timeout(_BUILD_SECONDS):
        models = [pymongo.IndexModel(list(keys), name=name) for name, keys in wanted.items()]
        if models:
            copy.create_indexes(models)
        source.aggregate([{"$limit": _COPIED_MAX}, {"$out": copy.name}])  # which keeps indexes


def _hide(collection: Collection[Any], index: str, *, is_hidden: bool) -> None:
    change = {"name": index, "hidden": is_hidden}
    collection.database.command("collMod", collection.name, index=change)


def run(statement: str) -> None:
    """Run a statement made of names that the database itself told."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


def quoted(name: str) -> str:
    """Return an index's or table's name as SQL has it."""
    return str(connection.ops.quote_name(name))


def drop(indexes: Sequence[str]) -> None:
    """Drop these, in the transaction around."""
    for name in indexes:
        run(f"DROP INDEX {quoted(name)}")


def size_bytes(index: str) -> int:
    """Return how large an index is at present."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(%s::regclass)", [quoted(index)])
        return int(cursor.fetchone()[0])


def rebuilt_bytes(index: str) -> int:
    """Return how large an index would be after REINDEX: what it has beyond that is bloat."""
    with rolled_back():
        run(f"REINDEX INDEX {quoted(index)}")
        return size_bytes(index)


def insert_times(
    table: str, indexes: Sequence[Index], *, rows: int, rounds: int
) -> dict[str | None, Timing]:
    """
    Return how long inserting so many rows takes without each index, and under None with all.

    On a copy of the table with the same rows and indexes, which is rolled back as a whole: rows
    that are rolled back in the table itself would leave their space behind in every index. One
    after the other in each round, so that what slows the machine slows all of them; the first
    round only warms up.
    """
    names: list[str | None] = [None, *(one.name for one in indexes if not one.is_unique)]
    times: dict[str | None, list[float]] = {name: [] for name in names}
    with rolled_back():
        run(f"CREATE TABLE explain_copy AS SELECT * FROM {quoted(table)}")  # noqa: S608
        run(f"CREATE TEMPORARY TABLE explain_rows AS {_NEW_ROWS[table].format(rows)}")
        for one in indexes:
            run(_copied(one))
        for _ in range(rounds + 1):
            for name, taken in times.items():
                taken.append(_insert_ms(name))
    return {name: summarize_runs(taken[1:]) for name, taken in times.items()}


def _copied(index: Index) -> str:
    name = quoted(_COPY + index.name)
    return _BEGINNING.sub(rf"CREATE \1INDEX {name} ON explain_copy ", index.definition)


def _insert_ms(without: str | None) -> float:
    savepoint = transaction.savepoint()
    try:
        if without is not None:
            drop([_COPY + without])
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM explain_rows LIMIT 0")
            columns = ", ".join(column.name for column in cursor.description)
        started = time.perf_counter()
        run(f"INSERT INTO explain_copy ({columns}) SELECT {columns} FROM explain_rows")  # noqa: S608
        return (time.perf_counter() - started) * 1000
    finally:
        transaction.savepoint_rollback(savepoint)
