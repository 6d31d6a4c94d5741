"""The statements of the experiment, a page by OFFSET and by cursor, and how they are explained."""

import statistics
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from config.explain.plan import Plan
from config.explain.postgres_plans import parse_plan
from config.stack.process import StackError

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
_POSITION: Final = (
    "SELECT created_at, id FROM {} WHERE user_id = %s"
    " ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET %s"
)
_COUNT: Final = "SELECT count(*) FROM {} WHERE user_id = %s"
Connection = psycopg.Connection[tuple[Any, ...]]


class Query(NamedTuple):
    """A statement with its parameters, on a connection."""

    connection: Connection
    statement: sql.Composed
    params: Sequence[Any]

    def row(self) -> tuple[Any, ...]:
        """Run it; return the only row. Raises StackError if there is none."""
        row = self.connection.execute(self.statement, self.params).fetchone()
        if row is None:
            raise StackError(f"no row: {self.statement.as_string(self.connection)}")
        return row

    def explain(self) -> Plan:
        """Run it under EXPLAIN (ANALYZE, BUFFERS)."""
        explain = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ")
        return parse_plan(self._replace(statement=explain + self.statement).row()[0][0], "")


class Notes(NamedTuple):
    """A table of notes, and the experiment's queries on it."""

    connection: Connection
    table: sql.Identifier = NOTES

    def query(self, text: str, *params: object) -> Query:
        """Return a query of the table, which stands in the text as {}."""
        return Query(self.connection, sql.SQL(text).format(self.table), params)

    def by_offset(self, depth: int, *, user: str = USER) -> Query:
        """Return the seed's statement: the page after depth rows."""
        return self.query(_BY_OFFSET, user, LIMIT, depth)

    def by_cursor(self, depth: int) -> Query:
        """Return the same page by keyset, after the last row of the page before."""
        created_at, note_id = self.query(_POSITION, USER, max(depth - 1, 0)).row()
        return self.query(_BY_CURSOR, USER, created_at, created_at, note_id, LIMIT)

    def pages(self, page: int) -> dict[str, Query]:
        """Return the queries by name: the first page, the deep one, and the deep one by cursor."""
        depth = depth_of(page)
        return {
            FIRST: self.by_offset(0),
            DEEP: self.by_offset(depth),
            CURSOR: self.by_cursor(depth),
        }

    def count_of_user(self, user: str) -> Query:
        """Return the query that counts a user's notes."""
        return self.query(_COUNT, user)

    def last_page(self) -> int:
        """Return the seed's page, or the last full one if the user has fewer notes."""
        notes = int(self.count_of_user(USER).row()[0])
        return max(1, min(PAGE, notes // LIMIT))


def depth_of(page: int) -> int:
    """Return how many rows precede a page."""
    return (page - 1) * LIMIT


def median_ms(plans: Sequence[Plan]) -> float:
    """Return the median execution time, in milliseconds."""
    return statistics.median(plan.execution_ms for plan in plans)


def scan_kinds(plan: Plan) -> list[str]:
    """Return how the plan reads its tables: Seq Scan, Index Scan, Bitmap Heap Scan, ..."""
    return list(dict.fromkeys(node.kind for node in plan.root.walk() if node.table))


def access_path(plan: Plan) -> str:
    """Return the scans and their indexes, such as Bitmap Heap Scan by idx_notes_user_id."""
    by = f" by {', '.join(sorted(plan.indexes))}" if plan.indexes else ""
    return ", ".join(scan_kinds(plan)) + by
