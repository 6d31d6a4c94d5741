"""The statements that really ran on PostgreSQL: by pg_stat_statements, else by the site's own count."""

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
_SQUASHED: Final = re.compile(r"/\*, \.\.\. \*/")  # PostgreSQL 18 of a list: IN ($1 /*, ... */)
_ENDPOINT: Final = re.compile(r"/\*endpoint='([^']*)'")
_NAME_CHARACTERS: Final = 120
_KINDS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A statement's shape, for which endpoints it ran, how often, and for how long in all."""

    statement: str  # as config.observability.statements.sql_shape has it
    fingerprint: str
    endpoints: tuple[str, ...]
    calls: int
    total_ms: float

    @property
    def name(self) -> str:
        """The endpoints, or the statement where they are not known, and the fingerprint."""
        told = ", ".join(self.endpoints) or self.statement
        short = told if len(told) <= _NAME_CHARACTERS else f"{told[:_NAME_CHARACTERS]}..."
        return f"{short} ({self.fingerprint})"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What ran, the most expensive first, and who counted it."""

    source: str
    ran: list[Ran]


def postgres() -> Workload:
    """Return what ran. Raises CacheDown where only the site's own count could tell, and cannot."""
    counted = _by_the_server()
    if counted is not None:
        return Workload(source="pg_stat_statements", ran=_grouped(counted))
    rows = [
        (row["statement"], row["endpoint"], row["calls"], row["total_ms"])
        for row in query_stats.STATEMENTS.rows()
    ]
    return Workload(source="the site's own count", ran=_grouped(rows))


def _by_the_server() -> list[tuple[str, str, int, float]] | None:
    """Return what pg_stat_statements has counted; None where it is not there, or not loaded."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('pg_stat_statements') IS NOT NULL")
            if not cursor.fetchone()[0]:
                return None
            cursor.execute(_COUNTED)
            told = cursor.fetchall()
    except DatabaseError:
        return None
    return [
        (_shape(query), _endpoint(query), int(calls), float(total_ms))
        for query, calls, total_ms in told
        if query  # NULL of another user's, for who may not see it
    ]


def _shape(query: str) -> str:
    """Return a query as PostgreSQL has normalized it in the form of the site's own shapes."""
    text = _SQUASHED.sub("", query).replace("%", "%%")
    return statements.sql_shape(_NUMBERED.sub("%s", text))


def _endpoint(query: str) -> str:
    found = _ENDPOINT.search(query)
    return found[1] if found else ""


def _grouped(rows: Iterable[tuple[str, str, int, float]]) -> list[Ran]:
    shapes: dict[str, list[tuple[str, str, int, float]]] = defaultdict(list)
    for row in rows:
        if row[0].split(" ", 1)[0].upper() in _KINDS:
            shapes[statements.fingerprint("postgres", row[0])].append(row)
    found = [
        Ran(
            # Of pages of one list, that which took longest: a deep one, if there is any.
            statement=max(same, key=lambda row: row[3] / max(row[2], 1))[0],
            fingerprint=fingerprint,
            endpoints=tuple(sorted({row[1] for row in same if row[1]})),
            calls=sum(row[2] for row in same),
            total_ms=sum(row[3] for row in same),
        )
        for fingerprint, same in shapes.items()
    ]
    return sorted(found, key=lambda one: one.total_ms, reverse=True)
