"""The indexes of the notes, gone for a while, as after manage.py migrate notes 0001."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import sql

from config.stack.process import StackError
from loadtests.experiments.query_plans.plans import Connection

COMPOSITE: Final = "idx_notes_user_created"
NAMES: Final = ("idx_notes_user_id", "idx_notes_created_at", "idx_notes_title_search", COMPOSITE)


def definitions(connection: Connection) -> dict[str, str]:
    """Return the CREATE INDEX of each. Raises StackError where one is missing."""
    found: dict[str, str] = dict(
        connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes"
            " WHERE schemaname = 'public' AND tablename = 'notes' AND indexname = ANY(%s)",
            [list(NAMES)],
        ).fetchall()
    )
    missing = [name for name in NAMES if name not in found]
    if missing:
        raise StackError(f"{', '.join(missing)}: missing, so there is nothing to compare with")
    return {name: found[name] for name in NAMES}


@contextmanager
def dropped(url: str) -> Iterator[None]:
    """Drop the four indexes for the block, and make them again, each way in one transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        kept = definitions(connection)
    try:
        with psycopg.connect(url) as connection:
            for name in kept:
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
        yield
    finally:
        with psycopg.connect(url) as connection:
            for definition in kept.values():
                made = definition.replace("INDEX", "INDEX IF NOT EXISTS", 1)
                connection.execute(made.encode())
