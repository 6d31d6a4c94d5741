"""The notes without their indexes, and a copy of them that grows and gets other indexes."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import psycopg
from psycopg import sql

from config.stack.process import StackError
from loadtests.experiments.query_plans.queries import Connection, Notes

COMPOSITE: Final = "idx_notes_user_created"
NAME: Final = "query_plans_scratch"
SCHEMA: Final = sql.Identifier(NAME)
TABLE: Final = sql.Identifier(NAME, "notes")
USER_ID: Final = "(user_id)"
CREATED_AT: Final = "(created_at DESC)"
USER_CREATED: Final = "(user_id, created_at DESC)"
TITLE_SEARCH: Final = "idx_notes_title_search"
SEED_INDEXES: Final = {
    "idx_notes_user_id": USER_ID,
    "idx_notes_created_at": CREATED_AT,
    TITLE_SEARCH: "USING gin (to_tsvector('english', title))",
    COMPOSITE: USER_CREATED,
}

# Copies of a note are dated within an hour of it, so that no two have the same position.
_GROW: Final = """
INSERT INTO {}
SELECT gen_random_uuid(), user_id, title, content,
       created_at - random() * interval '1 hour', updated_at, version
  FROM generate_series(1, %s), public.notes LIMIT %s
"""


def definitions(connection: Connection) -> dict[str, str]:
    """Return the CREATE INDEX of each of the seed's four. Raises StackError if one is missing."""
    rows = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'public' AND tablename = 'notes' AND indexname = ANY(%s)",
        [list(SEED_INDEXES)],
    ).fetchall()
    missing = sorted(set(SEED_INDEXES) - {name for name, _ in rows})
    if missing:
        raise StackError(f"{', '.join(missing)}: missing, so there is nothing to compare with")
    return dict(rows)


@contextmanager
def without_indexes(url: str) -> Iterator[None]:
    """Drop the seed's four for the block, as migrate notes 0001 would, and create them again."""
    with psycopg.connect(url, autocommit=True) as connection:
        dropped = definitions(connection)
    try:
        with psycopg.connect(url) as connection:
            for name in dropped:
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
        yield
    finally:
        with psycopg.connect(url) as connection:
            for definition in dropped.values():
                statement = definition.replace("INDEX", "INDEX IF NOT EXISTS", 1)
                connection.execute(statement.encode())


@contextmanager
def table(url: str) -> Iterator[Notes]:
    """Create an empty table like notes, without an index; yield it; drop it at the end."""
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            _drop(connection)  # of a killed run
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(SCHEMA))
            create = "CREATE UNLOGGED TABLE {} (LIKE public.notes INCLUDING DEFAULTS)"
            connection.execute(sql.SQL(create).format(TABLE))
            yield Notes(connection, TABLE)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            _drop(connection)


def _drop(connection: Connection) -> None:
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(SCHEMA))


def grow(copy: Notes, rows: int) -> None:
    """Add rows up to that number, and update the planner's statistics."""
    copied, source = (
        notes.query("SELECT count(*) FROM {}").row()[0] for notes in (copy, Notes(copy.connection))
    )
    missing = rows - copied
    copy.connection.execute(sql.SQL(_GROW).format(TABLE), [-(-missing // source), missing])
    analyze(copy)


def analyze(copy: Notes) -> None:
    """Update the planner's statistics of the copy, those of indexed expressions included."""
    copy.connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(TABLE))


@contextmanager
def index(copy: Notes, name: str, definition: str) -> Iterator[tuple[int, float]]:
    """
    Create an index of the copy for the block; yield its size in bytes and its build time in ms.

    definition is what follows the table's name in CREATE INDEX.
    """
    create = sql.SQL("CREATE INDEX {} ON {} ").format(sql.Identifier(name), TABLE)
    create += sql.SQL(definition)
    began = time.perf_counter()
    copy.connection.execute(create)
    built_ms = (time.perf_counter() - began) * 1000
    try:
        yield size_bytes(copy, name), built_ms
    finally:
        copy.connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(named(name)))


@contextmanager
def seed_indexes(copy: Notes, *, titles: bool = True) -> Iterator[dict[str, int]]:
    """Create the seed's indexes for the block, with or without that of titles; yield their sizes."""
    with ExitStack() as created:
        yield {
            name: created.enter_context(index(copy, name, definition))[0]
            for name, definition in SEED_INDEXES.items()
            if titles or name != TITLE_SEARCH
        }


def named(index_name: str) -> sql.Identifier:
    """Return the identifier of an index of the copy, which is called like one of the notes."""
    return sql.Identifier(NAME, index_name)


def size_bytes(copy: Notes, name: str) -> int:
    """Return the size of an index of the copy."""
    return int(copy.query("SELECT pg_relation_size(%s::regclass)", f"{NAME}.{name}").row()[0])
