"""A copy of the notes that grows and gets indexes, so that the notes themselves are left alone."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import psycopg
from psycopg import sql

from loadtests.experiments.query_plans.indexes import COMPOSITE
from loadtests.experiments.query_plans.plans import Connection, one

NAME: Final = "query_plans_scratch"
SCHEMA: Final = sql.Identifier(NAME)
TABLE: Final = sql.Identifier(NAME, "notes")
USER_ID: Final = sql.SQL("(user_id)")
CREATED_AT: Final = sql.SQL("(created_at DESC)")
USER_CREATED: Final = sql.SQL("(user_id, created_at DESC)")
FOUR: Final = {
    "idx_notes_user_id": (USER_ID, "btree"),
    "idx_notes_created_at": (CREATED_AT, "btree"),
    "idx_notes_title_search": (sql.SQL("(to_tsvector('english', title))"), "gin"),
    COMPOSITE: (USER_CREATED, "btree"),
}

# Copies of a note lie within an hour of it, so that no two share a place in the order.
_GROW: Final = """
INSERT INTO {}
SELECT gen_random_uuid(), user_id, title, content,
       created_at - random() * interval '1 hour', updated_at, version
  FROM generate_series(1, %s), public.notes LIMIT %s
"""


@contextmanager
def table(url: str) -> Iterator[Connection]:
    """Yield a connection beside an empty table like notes, without an index; drop it at the end."""
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            _drop(connection)  # what a killed run has left
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(SCHEMA))
            made = "CREATE UNLOGGED TABLE {} (LIKE public.notes INCLUDING DEFAULTS)"
            connection.execute(sql.SQL(made).format(TABLE))
            yield connection
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            _drop(connection)


def _drop(connection: Connection) -> None:
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(SCHEMA))


def grow(connection: Connection, rows: int) -> None:
    """Add rows until there are so many, and let the planner know."""
    there = one(connection, sql.SQL("SELECT count(*) FROM {}").format(TABLE))[0]
    source = one(connection, sql.SQL("SELECT count(*) FROM public.notes"))[0]
    missing = rows - there
    connection.execute(sql.SQL(_GROW).format(TABLE), [-(-missing // source), missing])
    connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(TABLE))


@contextmanager
def index(
    connection: Connection, name: str, on: sql.Composable, *, kind: str = "btree"
) -> Iterator[tuple[int, float]]:
    """Make an index for the block; yield its size in bytes and how many ms it took to build."""
    made = sql.SQL("CREATE INDEX {} ON {} USING {} {}").format(
        sql.Identifier(name), TABLE, sql.Identifier(kind), on
    )
    began = time.perf_counter()
    connection.execute(made)
    built_ms = (time.perf_counter() - began) * 1000
    try:
        yield size_bytes(connection, name), built_ms
    finally:
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(named(name)))


@contextmanager
def like_the_notes(connection: Connection, *, titles: bool = True) -> Iterator[dict[str, int]]:
    """Make the seed's four indexes, or the three of rows, for the block; yield their sizes."""
    with ExitStack() as made:
        yield {
            name: made.enter_context(index(connection, name, on, kind=kind))[0]
            for name, (on, kind) in FOUR.items()
            if titles or kind == "btree"
        }


def named(index_name: str) -> sql.Identifier:
    """Return the name of an index of the copy, which has the same name as one of the notes."""
    return sql.Identifier(NAME, index_name)


def size_bytes(connection: Connection, name: str) -> int:
    """Return how large an index of the copy is."""
    asked = sql.SQL("SELECT pg_relation_size(%s::regclass)")
    return int(one(connection, asked, [f"{NAME}.{name}"])[0])
