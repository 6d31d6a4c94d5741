"""The statements that really ran on PostgreSQL, by pg_stat_statements or by the site's own count."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db import DatabaseError, connection, transaction

from config.observability import query_stats, statements

_COUNTED: Final = """
SELECT query, calls, total_exec_time FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_NUMBERED: Final = re.compile(r"\$\d+")
_SQUASHED: Final = re.compile(
    r"/\*, \.\.\. \*/"
)  # how PostgreSQL 18 abbreviates a list: IN ($1 /*, ... */)
_ENDPOINT: Final = re.compile(r"/\*endpoint='([^']*)'")
_NAME_CHARACTERS: Final = 120
_KINDS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, kw_only=True)
class QueryStats:
    """The shape of a statement, its endpoints, its number of calls and their total time."""

    statement: str  # as config.observability.statements.sql_shape returns it
    fingerprint: str
    endpoints: tuple[str, ...]
    calls: int
    total_ms: float

    @property
    def name(self) -> str:
        """The endpoints, or the statement if they are unknown, and the fingerprint."""
        text = ", ".join(self.endpoints) or self.statement
        name = text if len(text) <= _NAME_CHARACTERS else f"{text[:_NAME_CHARACTERS]}..."
        return f"{name} ({self.fingerprint})"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The recorded queries, the most expensive first, and the source of the counts."""

    source: str
    queries: list[QueryStats]


def load_workload() -> Workload:
    """Return the workload. Raises CacheDown if only the site's own count, kept in Redis, has it."""
    counted = _by_the_server()
    if counted is not None:
        return Workload(source="pg_stat_statements", queries=_grouped(counted))
    rows = [
        (row["statement"], row["endpoint"], row["calls"], row["total_ms"])
        for row in query_stats.STATEMENTS.rows()
    ]
    return Workload(source="the site's own count", queries=_grouped(rows))


def _by_the_server() -> list[tuple[str, str, int, float]] | None:
    """Return the counts of pg_stat_statements; None if it is not installed or not loaded."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('pg_stat_statements') IS NOT NULL")
            if not cursor.fetchone()[0]:
                return None
            cursor.execute(_COUNTED)
            rows = cursor.fetchall()
    except DatabaseError:
        return None
    return [
        (_shape(query), _endpoint(query), int(calls), float(total_ms))
        for query, calls, total_ms in rows
        if query  # NULL for another user's statement that we may not see
    ]


def _shape(query: str) -> str:
    """Return a query normalized by PostgreSQL in the form of the site's own shapes."""
    text = _SQUASHED.sub("", query).replace("%", "%%")
    return statements.sql_shape(_NUMBERED.sub("%s", text))


def _endpoint(query: str) -> str:
    match = _ENDPOINT.search(query)
    return match[1] if match else ""


def _grouped(rows: Iterable[tuple[str, str, int, float]]) -> list[QueryStats]:
    shapes: dict[str, list[tuple[str, str, int, float]]] = defaultdict(list)
    for row in rows:
        if row[0].split(" ", 1)[0].upper() in _KINDS:
            shapes[statements.fingerprint("postgres", row[0])].append(row)
    workload = [
        QueryStats(
            # Of the pages of one list, the slowest: a deep one, if there is any.
            statement=max(same, key=lambda row: row[3] / max(row[2], 1))[0],
            fingerprint=fingerprint,
            endpoints=tuple(sorted({row[1] for row in same if row[1]})),
            calls=sum(row[2] for row in same),
            total_ms=sum(row[3] for row in same),
        )
        for fingerprint, same in shapes.items()
    ]
    return sorted(workload, key=lambda query: query.total_ms, reverse=True)
