"""A PostgreSQL connection whose every wait for the server ends at a deadline."""

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import errors, pq

# Told of each connection that broke or fell silent; set by config.postgres.base.
when_lost: Callable[[Exception], None] = lambda exc: None  # noqa: E731


class ServerSilent(psycopg.OperationalError):
    """PostgreSQL took the statement and did not answer in time; the connection is given up."""


class DeadlineConnection(psycopg.Connection[Any]):
    """
    Give up on a server that neither answers nor closes (a frozen host, SIGSTOP).

    statement_timeout is the server's own clock and stops with it; TCP keepalives are answered
    by the kernel of a frozen server. So the client keeps time. The deadline is longer than
    statement_timeout, so that a live server answers first.
    """

    net_timeout_seconds = 2.5

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does, at most net_timeout_seconds; raise ServerSilent after that."""
        limit = self.net_timeout_seconds if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit)
        except errors._WaitTimeout as exc:  # private in psycopg, which is why its version is pinned
            self.pgconn.finish()
            silent = ServerSilent(f"no answer from PostgreSQL within {limit:g} s")
            when_lost(silent)
            raise silent from exc
        except psycopg.OperationalError as exc:
            if self.pgconn.status == pq.ConnStatus.BAD:
                when_lost(exc)
            raise
