"""The database backend of settings.DATABASES: Django finds DatabaseWrapper here by name."""

import threading
import time
from collections import Counter
from typing import Any

import psycopg
from django.core.management.base import CommandError
from django.db.backends.postgresql import base, operations
from psycopg import IsolationLevel
from psycopg_pool import PoolTimeout

from cachelayer import counts
from config import tracing
from config.postgres import deadlines, metrics, outages, replica
from config.postgres.outages import breaker


class CircuitOpen(psycopg.OperationalError):
    """PostgreSQL has not answered recently; the breaker probes it in the background."""


class PoolExhausted(psycopg.OperationalError):
    """Every connection stayed in use for the whole acquire timeout; PostgreSQL itself answers."""


class NoConnection(psycopg.OperationalError):
    """The pool had no connection to lend, and PostgreSQL does not answer."""


class PreparingCursor(base.ServerBindingCursor):
    """A cursor that sends parameters apart from their statement, so that it can be prepared."""


class DatabaseOperations(operations.DatabaseOperations):
    """Django's, for cursors of either kind."""

    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        """Return a statement with its values, as DEBUG logs it and tests count it."""
        if isinstance(cursor, PreparingCursor):  # which sends them apart
            return str(self.compose_sql(sql, params))
        return super().last_executed_query(cursor, sql, params)


_lent: Counter[str] = Counter()  # connections by the alias of their pool
_lent_lock = threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    """Fail at once while PostgreSQL is known to be silent, instead of waiting for the pool."""

    ops_class = DatabaseOperations
    _lent_at: float | None = None  # by time.perf_counter(); None: there is nothing to give back
    _prepares = False  # whether the cursor that is being made is to

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """
        Return a connection of the pool that is not visibly broken; of a replica, a new connection.

        Raises CircuitOpen while the breaker is open, PoolExhausted or NoConnection where none gets
        free within POSTGRES_POOL_ACQUIRE_SECONDS.
        """
        if self.alias == replica.ALIAS:
            self.isolation_level = IsolationLevel.READ_COMMITTED  # as Django's own would set it
            return deadlines.ReplicaConnection.connect(**conn_params)
        if not self.pool:
            return super().get_new_connection(conn_params)
        started = time.perf_counter()
        try:
            connection = self._intact_connection(conn_params)
        except PoolTimeout as exc:
            raise self._acquire_error(exc) from exc
        finally:
            waited = time.perf_counter() - started
            metrics.acquire_seconds.append(waited)
            tracing.add_wait("postgres", "(waited for a connection)", started, waited)
        with _lent_lock:
            _lent[self.alias] += 1
        self._lent_at = started + waited
        # One budget for both: who has waited for the pool waits so much less for the answer.
        longest = deadlines.DeadlineConnection.net_timeout_seconds
        connection.net_timeout_seconds = max(longest - waited, longest / 5)
        return connection

    def prepared_cursor(self) -> Any:
        """
        Return a cursor that has PostgreSQL parse and plan a statement once for each connection.

        The text of the statement must be the same each time, and the type of each parameter be clear from it. It is
        an ordinary cursor behind a pooler, whose sessions are not the connections' own, and where cursors are traced.
        """
        self._prepares = True
        try:
            return self.cursor()
        finally:
            self._prepares = False

    def create_cursor(self, name: str | None = None) -> Any:
        """Return a cursor of the driver."""
        connection = self.connection
        if (
            self._prepares
            and connection.prepare_threshold is not None
            and connection.cursor_factory is base.Cursor
        ):
            return PreparingCursor(connection)  # type: ignore[call-arg]  # its stubs are psycopg2's
        return super().create_cursor(name)

    def prepare_database(self) -> None:
        """Do what Django does before it migrates a database. Raises CommandError for the replica."""
        if self.alias == replica.ALIAS:
            raise CommandError(
                "The replica is never migrated: it gets the primary's schema by replication."
            )
        super().prepare_database()

    def _intact_connection(self, conn_params: dict[str, Any]) -> Any:
        """Take connections until one is intact: a restart breaks every idle one."""
        while True:
            if breaker.is_open:
                metrics.ERRORS.labels(CircuitOpen.__name__).inc()
                raise CircuitOpen("PostgreSQL does not answer")
            connection = super().get_new_connection(conn_params)
            if not deadlines.is_broken(connection):
                return connection
            connection.close()
            self.pool.putconn(connection)  # which discards it, and has another made
            metrics.REPLACED.inc()
            broken = psycopg.OperationalError("PostgreSQL has closed an idle connection")
            if outages.lost(broken):  # no time is left for another
                metrics.ERRORS.labels(NoConnection.__name__).inc()
                raise NoConnection("PostgreSQL does not answer") from broken

    def _acquire_error(self, exc: PoolTimeout) -> psycopg.OperationalError:
        """
        Count that the pool had no connection to lend, and return the error that says why.

        If all are in use, that is load, not a sign that PostgreSQL is down: the requests that hold
        connections continue, and the next one waits its turn.
        """
        is_unknown = _lent[self.alias] < self.pool.max_size and outages.lost(exc)
        reason = NoConnection if breaker.is_open or is_unknown else PoolExhausted
        metrics.ERRORS.labels(reason.__name__).inc()
        return reason(f"no connection to PostgreSQL within {self.pool.timeout:g} s")

    def _commit(self) -> None:
        """Commit; in the request's trace this is a statement like any other."""
        started = time.perf_counter()
        try:
            super()._commit()  # type: ignore[misc]  # Django's own
        finally:
            tracing.add_statement("postgres", "COMMIT", started, time.perf_counter() - started)

    def _close(self) -> None:
        """Return the connection to the pool; it is counted once, even if the pool does not accept it."""
        try:
            super()._close()  # type: ignore[misc]  # Django's own
        finally:
            if self._lent_at is not None:
                with _lent_lock:
                    _lent[self.alias] -= 1
                metrics.hold_seconds.append(time.perf_counter() - self._lent_at)
                self._lent_at = None


def _show_pools() -> None:
    """Set the gauges of the pools, which would cost each loan of a connection more than the loan itself."""
    pools: Any = DatabaseWrapper._connection_pools  # type: ignore[attr-defined]  # Django's, by alias
    stats = [pool.get_stats() for pool in list(pools.values())]
    metrics.CONNECTIONS.set(sum(each["pool_size"] for each in stats))
    metrics.WAITING.set(sum(each["requests_waiting"] for each in stats))
    metrics.IN_USE.set(sum(_lent.values()))


counts.flushed_besides.append(_show_pools)
