"""The database backend of settings.DATABASES: Django finds DatabaseWrapper here by name."""

import time
from typing import Any

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base
from psycopg_pool import PoolTimeout

from cachelayer.breaker import Breaker
from config.postgres import deadlines, metrics


def _recover() -> None:
    """Ask a new connection; then let each pool throw out those that the outage has broken."""
    with deadlines.DeadlineConnection.connect(settings.DATABASE_URL, connect_timeout=2) as asked:
        asked.execute("SELECT 1")
    pools = base.DatabaseWrapper._connection_pools  # type: ignore[attr-defined]  # Django's own
    for pool in list(pools.values()):
        pool.check()


# A frozen PostgreSQL would hold every thread of the site for its whole deadline, those too that
# cached reads need. The first probe comes at once: one lost connection is no outage.
breaker = Breaker("PostgreSQL", _recover, first_seconds=0.05, longest_seconds=1.0)


def _lost(exc: Exception) -> None:
    # The probe itself throws out what broke before it: that is no new failure.
    if not breaker.is_probing:
        breaker.failed(exc, opens=True)


deadlines.when_lost = _lost


class NotAsked(psycopg.OperationalError):
    """PostgreSQL did not answer lately, and is asked again in the background."""


class DatabaseWrapper(base.DatabaseWrapper):
    """Fail at once while PostgreSQL is known to be silent, instead of waiting for the pool."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection of the pool. Raises NotAsked, or PoolTimeout where none gets free."""
        if not self.pool:
            return super().get_new_connection(conn_params)
        if breaker.is_open:
            raise NotAsked("PostgreSQL does not answer")
        started = time.monotonic()
        metrics.WAITING.inc()
        try:
            connection = super().get_new_connection(conn_params)
        except PoolTimeout as exc:
            metrics.ERRORS.labels("PoolTimeout").inc()
            breaker.failed(exc, opens=True)
            raise
        finally:
            metrics.WAITING.dec()
        metrics.IN_USE.inc()
        metrics.CONNECTIONS.set(self.pool.get_stats().get("pool_size", 0))
        # One budget for both: who has waited for the pool waits so much less for the answer.
        waited = time.monotonic() - started
        longest = deadlines.DeadlineConnection.net_timeout_seconds
        connection.net_timeout_seconds = max(longest - waited, longest / 5)
        return connection

    def _close(self) -> None:
        """Give the connection back to the pool."""
        is_pooled = self.connection is not None and bool(self.pool)
        super()._close()  # type: ignore[misc]  # Django's own
        if is_pooled:
            metrics.IN_USE.dec()
