"""The statements that the experiment asks: a page by OFFSET, and by cursor."""

from collections.abc import Sequence
from typing import Any, Final

from psycopg import sql

from loadtests.experiments.query_plans.plans import Connection, Statement, one

LIMIT: Final = 20
PAGE: Final = 500
USER: Final = "abc"
FIRST: Final = "first page"
DEEP: Final = "deep page"
CURSOR: Final = "deep page by cursor"
NOTES: Final = sql.Identifier("public", "notes")

_BY_OFFSET: Final = (
    "SELECT * FROM {} WHERE user_id = %s ORDER BY created_at DESC LIMIT %s OFFSET %s"
)
_BY_CURSOR: Final = (
    "SELECT * FROM {} WHERE user_id = %s AND created_at <= %s AND (created_at < %s OR id < %s)"
    " ORDER BY created_at DESC, id DESC LIMIT %s"
)
_NEIGHBOUR: Final = (
    "SELECT created_at, id FROM {} WHERE user_id = %s"
    " ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET %s"
)
_COUNT: Final = "SELECT count(*) FROM {} WHERE user_id = %s"

Asked = tuple[Statement, Sequence[Any]]


def by_offset(depth: int, *, table: sql.Identifier = NOTES, user: str = USER) -> Asked:
    """Return the seed's statement: a page behind so many rows."""
    return sql.SQL(_BY_OFFSET).format(table), (user, LIMIT, depth)


def by_cursor(connection: Connection, depth: int, *, table: sql.Identifier = NOTES) -> Asked:
    """Return the same page by keyset, behind the row that the page before ended with."""
    at, note_id = one(connection, sql.SQL(_NEIGHBOUR).format(table), (USER, max(depth - 1, 0)))
    return sql.SQL(_BY_CURSOR).format(table), (USER, at, at, note_id, LIMIT)


def questions(
    connection: Connection, page: int, *, table: sql.Identifier = NOTES
) -> dict[str, Asked]:
    """Return what is asked: the first page, the deep one, and the deep one by cursor."""
    depth = depth_of(page)
    return {
        FIRST: by_offset(0, table=table),
        DEEP: by_offset(depth, table=table),
        CURSOR: by_cursor(connection, depth, table=table),
    }


def count(connection: Connection, *, table: sql.Identifier = NOTES, user: str = USER) -> int:
    """Return how many notes a user has."""
    return int(one(connection, sql.SQL(_COUNT).format(table), (user,))[0])


def last_page(notes: int) -> int:
    """Return the seed's page, or the last whole one where the user has fewer notes."""
    return max(1, min(PAGE, notes // LIMIT))


def depth_of(page: int) -> int:
    """Return how many rows lie before a page."""
    return (page - 1) * LIMIT
