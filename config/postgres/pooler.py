"""
PgBouncer in transaction mode before PostgreSQL: whether DATABASE_URL leads to one, and whether it fits.

Each transaction may have another session there, so LISTEN, advisory locks and settings of a session need
DATABASE_DIRECT_URL, the alias cachelayer.session.DIRECT (docs/adr/0029-a-pooler-in-transaction-mode.md).
"""

from collections.abc import Iterator
from typing import Any, Final

import psycopg
from django.core import checks
from django.db import DEFAULT_DB_ALIAS, connections

from config.postgres import server
from config.postgres.deadlines import DeadlineConnection, ProbeConnection

# The pooler's alias in a command, whose default database is PostgreSQL itself.
POOLED: Final = "pooled"

_ATTEMPTS: Final = (
    5  # a busy pooler may lend another session than the one that has just been returned
)
_BACKEND: Final = "SELECT pg_backend_pid()"
_DATABASE: Final = (
    "SELECT (SELECT system_identifier FROM pg_control_system()), current_database()::text"
)
_TIMEOUT: Final = "SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'"


def is_configured() -> bool:
    """Return whether DATABASE_DIRECT_URL is set, in a command."""
    return POOLED in connections


def is_in_transaction_mode(using: str) -> bool:
    """
    Return whether the connections of a database share sessions. Raises psycopg.Error without an answer.

    A pooler gives its clients a process id of its own making, since cancelling goes by it. Where there is
    one, a second client that gets the session of a first, which stays connected, proves the mode.
    """
    with server.connect(ProbeConnection, using=using, autocommit=True) as first:
        if _value(first, _BACKEND) == first.info.backend_pid:
            return False
        with server.connect(ProbeConnection, using=using, autocommit=True) as second:
            return any(
                _value(first, _BACKEND) == _value(second, _BACKEND) for _ in range(_ATTEMPTS)
            )


def check_urls() -> Iterator[checks.CheckMessage]:
    """Yield what is wrong with the two URLs. Raises psycopg.Error where a server does not answer."""
    if is_in_transaction_mode(DEFAULT_DB_ALIAS):
        variable = "DATABASE_DIRECT_URL" if is_configured() else "DATABASE_URL"
        yield checks.Error(
            f"{variable} leads to a connection pooler in transaction mode, where LISTEN and advisory locks "
            "do not work: edits in psql would not be invalidated.",
            hint="Set DATABASE_DIRECT_URL to PostgreSQL itself.",
            id="config.E001",
        )
    elif is_configured():
        yield from _check_pooler()


def _check_pooler() -> Iterator[checks.CheckMessage]:
    with (
        server.connect(ProbeConnection, using=POOLED) as pooled,
        server.connect(ProbeConnection) as direct,
    ):
        if pooled.execute(_DATABASE).fetchone() != direct.execute(_DATABASE).fetchone():
            yield checks.Error(
                "DATABASE_URL and DATABASE_DIRECT_URL lead to different databases.",
                hint="The second is the same database, past the pooler.",
                id="config.E002",
            )
        timeout_ms = _value(pooled, _TIMEOUT)
    longest_ms = int(DeadlineConnection.net_timeout_seconds * 1000) - 1
    if not 0 < timeout_ms <= longest_ms:
        yield checks.Warning(
            f"The pooler's sessions have a statement_timeout of {timeout_ms} ms: a long statement goes on "
            "after its request was answered.",
            hint=f"Set 1 to {longest_ms} ms there, such as connect_query='SET statement_timeout = 2000'.",
            id="config.W003",
        )


def _value(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
