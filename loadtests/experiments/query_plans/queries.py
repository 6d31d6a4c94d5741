"""The statements of the experiment, a page by OFFSET and by cursor, and how they are explained."""

import statistics
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from config.explain.plan import Plan
from config.explain.postgres_plans import parse_plan
from config.explain.variants import explain_runs
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
    """A statement and its parameters."""

    statement: sql.SQL | sql.Composed
    params: Sequence[Any] = ()


def query(text: str, *params: object, table: sql.Identifier = NOTES) -> Query:
    """Return a query of the table, which stands in the text as {}."""
    return Query(sql.SQL(text).format(table), params)


def by_offset(depth: int, *, table: sql.Identifier = NOTES, user: str = USER) -> Query:
    """Return the seed's statement: the page after depth rows."""
    return query(_BY_OFFSET, user, LIMIT, depth, table=table)


def by_cursor(connection: Connection, depth: int, *, table: sql.Identifier = NOTES) -> Query:
    """Return the same page by keyset, after the last row of the page before."""
    created_at, note_id = row(connection, query(_POSITION, USER, max(depth - 1, 0), table=table))
    return query(_BY_CURSOR, USER, created_at, created_at, note_id, LIMIT, table=table)


def pages(connection: Connection, page: int, *, table: sql.Identifier = NOTES) -> dict[str, Query]:
    """Return the queries by name: the first page, the deep one, and the deep one by cursor."""
    depth = depth_of(page)
    return {
        FIRST: by_offset(0, table=table),
        DEEP: by_offset(depth, table=table),
        CURSOR: by_cursor(connection, depth, table=table),
    }


def count_of_user(user: str, *, table: sql.Identifier = NOTES) -> Query:
    """Return the query that counts a user's notes."""
    return query(_COUNT, user, table=table)


def last_page(connection: Connection, *, table: sql.Identifier = NOTES) -> int:
    """Return the seed's page, or the last full one where the user has fewer notes."""
    notes = int(row(connection, count_of_user(USER, table=table))[0])
    return max(1, min(PAGE, notes // LIMIT))


def depth_of(page: int) -> int:
    """Return how many rows precede a page."""
    return (page - 1) * LIMIT


def row(connection: Connection, query: Query) -> tuple[Any, ...]:
    """Return the only row of a query. Raises StackError where there is none."""
    row = connection.execute(*query).fetchone()
    if row is None:
        raise StackError(f"no row: {query.statement.as_string(connection)}")
    return row


class BoundQuery(NamedTuple):
    """A query of a connection, which config.explain.variants can run."""

    connection: Connection
    query: Query

    def explain(self) -> Plan:
        """Run it under EXPLAIN (ANALYZE, BUFFERS)."""
        statement = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {}")
        explained = Query(statement.format(self.query.statement), self.query.params)
        return parse_plan(row(self.connection, explained)[0][0], "")


def explain(connection: Connection, query: Query, *, runs: int) -> list[Plan]:
    """Run a query once to warm up, then that many times; return the plans of those."""
    return explain_runs(BoundQuery(connection, query), runs=runs)


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
