"""
Reads from a PostgreSQL standby, DATABASE_REPLICA_URL: lists of the admin, exports and plans (ADR 0026).

Never a load of the cache, nor what a view of the API answers: a standby lags, and its value would be
stored as if it were new. So there is no router: the caller names the database, by `using`.
"""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
import structlog
from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    Error,
    InterfaceError,
    OperationalError,
    connection,
    connections,
)
from psycopg import errors

from cachelayer.circuit_breaker import Breaker
from config.postgres import metrics, server
from config.postgres.deadlines import ProbeConnection, ReplicaConnection

log = structlog.get_logger("postgres")

ALIAS: Final = "replica"

# The kinds of postgres_replica_reads: that the replica was used, and why the primary was.
USED: Final = "used"
LAGGING: Final = "lagging"
SILENT: Final = "silent"
NOT_STANDBY: Final = "not_standby"  # promoted: it may have left the primary behind
OTHER_CLUSTER: Final = "other_cluster"
FAILED: Final = "failed"  # under the read, which then went to the primary

_COMMAND_SECONDS: Final = 86_400.0  # a command waits as long as its work takes
_T = TypeVar("_T")
_Query = Callable[[str, Sequence[Any]], Any]  # runs a statement, and returns its row

# How far the primary has written, by its own clock. It may be read-only itself (a failover).
_POSITION: Final = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
       clock_timestamp(), (SELECT system_identifier FROM pg_control_system())
"""
# What a standby has received says nothing once it is cut off: it then has replayed all of that. Nor
# does the time of its last transaction while the primary is idle: it then grows without a lag. So what it
# has replayed is compared with the primary's position, and the time counts only if that is behind.
_STANDBY: Final = """
SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()),
       CASE WHEN pg_last_wal_replay_lsn() >= %s::pg_lsn THEN 0
            ELSE extract(epoch FROM %s::timestamptz - pg_last_xact_replay_timestamp()) END::float
"""


class State(NamedTuple):
    """Whether the replica is used, else why not; and how far it lags, in seconds, None if unknown."""

    kind: str
    lag_seconds: float | None = None


def is_configured() -> bool:
    """Return whether DATABASE_REPLICA_URL is set."""
    return ALIAS in connections


def choose() -> str:
    """
    Return the alias of the database for a read: the replica if it lags little, else the primary.

    Inside a transaction the primary: the read may depend on what the transaction wrote. Counts the
    choice. Raises what the primary raises if that does not answer: a replica is no failover.
    """
    if not is_configured() or connection.in_atomic_block:
        return DEFAULT_DB_ALIAS
    state = _state(_query_primary, _query_replica)
    metrics.REPLICA_READS.labels(state.kind).inc()
    return ALIAS if state.kind == USED else DEFAULT_DB_ALIAS


def run(read: Callable[[str], _T]) -> _T:
    """
    Return read(using), with the alias that choose returns; read fetches its rows itself.

    If the replica fails under it (its connection breaks, a recovery conflict cancels it, a new column
    is not there yet), it is run once more, on the primary.
    """
    using = choose()
    if using == DEFAULT_DB_ALIAS:
        return read(using)
    try:
        return read(using)
    except (DatabaseError, InterfaceError) as exc:
        if not _is_of_replica(exc):
            raise
        metrics.REPLICA_READS.labels(FAILED).inc()
        log.warning("read of the replica failed", reason=str(exc).split("\n")[0])
        connections[ALIAS].close()
    return read(DEFAULT_DB_ALIAS)


def state() -> State | None:
    """
    Return the present state, by connections of its own; None if no replica is configured.

    Raises psycopg.Error if the primary does not answer.
    """
    if not is_configured():
        return None
    return _state(_query_by_probe(DEFAULT_DB_ALIAS), _query_by_probe(ALIAS))


def execute_wrapper(wrapper: Callable[..., Any]) -> AbstractContextManager[None]:
    """Return a context in which a wrapper is around each statement on the replica of this thread."""
    return connections[ALIAS].execute_wrapper(wrapper) if is_configured() else _NO_REPLICA


_NO_REPLICA: Final = contextlib.nullcontext()


def _state(query_primary: _Query, query_standby: _Query) -> State:
    if breaker.is_open:
        return State(SILENT)
    lsn, now, cluster = query_primary(_POSITION, ())
    try:
        is_standby, standby_cluster, seconds = query_standby(_STANDBY, (lsn, now))
    except (Error, psycopg.Error) as exc:
        breaker.failed(exc, opens=True)
        connections[ALIAS].close()
        return State(SILENT)
    if cluster != standby_cluster:
        return State(OTHER_CLUSTER)
    if not is_standby:
        return State(NOT_STANDBY)
    lag = None if seconds is None else max(0.0, seconds)
    is_current = lag is not None and lag <= settings.REPLICA_LAG_MAX_SECONDS
    return State(USED if is_current else LAGGING, lag)


def _query_primary(sql: str, params: Sequence[Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()


def _query_replica(sql: str, params: Sequence[Any]) -> Any:
    """Query within the deadline of a probe, which a command has for this statement alone."""
    replica = connections[ALIAS]
    replica.ensure_connection()
    session: ReplicaConnection = replica.connection
    session.net_timeout_seconds = ReplicaConnection.net_timeout_seconds
    with replica.cursor() as cursor:
        cursor.execute(sql, params)
        row = cursor.fetchone()
    if not settings.SERVES_REQUESTS:
        session.net_timeout_seconds = _COMMAND_SECONDS
    return row


def _query_by_probe(using: str) -> _Query:
    def query(sql: str, params: Sequence[Any]) -> Any:
        with server.connect(ProbeConnection, using=using) as probe:
            return probe.execute(sql, params).fetchone()

    return query


def _is_of_replica(exc: Exception) -> bool:
    """Return whether the primary might do better. A statement beyond its time limit would take as long there."""
    cause = exc.__cause__
    if isinstance(cause, errors.QueryCanceled):
        return False
    is_behind = isinstance(cause, (errors.UndefinedColumn, errors.UndefinedTable))
    return is_behind or isinstance(exc, (OperationalError, InterfaceError))


def _recover() -> None:
    _query_by_probe(ALIAS)("SELECT 1", ())


# Open, no read waits for a replica that does not answer.
breaker = Breaker("PostgreSQL replica", _recover, first_seconds=1.0, longest_seconds=10.0)
