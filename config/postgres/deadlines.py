"""A PostgreSQL connection whose every wait for the server ends at a deadline."""

import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import errors, pq

# Called for each connection that broke or fell silent; set by config.postgres.outages.
when_lost: Callable[[Exception], None] = lambda exc: None  # noqa: E731

# Called with the error of each write that a read-only server refused; set by the same.
when_read_only: Callable[[Exception], None] = lambda exc: None  # noqa: E731

# Of a deadline: what statement_timeout leaves, after which a live server has given up itself.
_CERTAIN_SHARE: Final = 0.8


class ServerSilent(psycopg.OperationalError):
    """PostgreSQL accepted the statement but did not answer in time; the connection is given up."""


class AnswerLate(ServerSilent):
    """PostgreSQL did not answer in the time that a wait for the pool had left; it may be healthy."""


class DeadlineConnection(psycopg.Connection[Any]):
    """
    Give up on a server that neither answers nor closes (a frozen host, SIGSTOP).

    A connection may be given less time than its class has; missing that deadline proves nothing.

    statement_timeout is the server's own clock and stops with it; TCP keepalives are answered
    by the kernel of a frozen server. So the client keeps the time. The deadline is longer than
    statement_timeout, so that a live server answers first.
    """

    net_timeout_seconds = 2.5
    reports_loss = True

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does, at most net_timeout_seconds; then raise ServerSilent or AnswerLate."""
        limit = self.net_timeout_seconds if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit)
        except errors._WaitTimeout as exc:  # private in psycopg, which is why its version is pinned
            abort(self.pgconn)
            is_certain = limit >= type(self).net_timeout_seconds * _CERTAIN_SHARE
            late = ServerSilent if is_certain else AnswerLate
            silent = late(f"no answer from PostgreSQL within {limit:g} s")
            self._report(silent)
            raise silent from exc
        except errors.ReadOnlySqlTransaction as exc:
            if self.reports_loss:
                when_read_only(exc)
            raise
        except psycopg.OperationalError as exc:
            if self.pgconn.status == pq.ConnStatus.BAD:
                self._report(exc)
            raise

    def _report(self, exc: Exception) -> None:
        if self.reports_loss:
            when_lost(exc)


class ProbeConnection(DeadlineConnection):
    """A connection for probing whether the server answers."""

    reports_loss = False


class ReplicaConnection(DeadlineConnection):
    """A connection to a standby, which says nothing about the primary: not its loss, nor that it is read-only."""

    reports_loss = False


def abort(pgconn: pq.abc.PGconn) -> None:
    """
    Close the connection, and have the kernel forget what the server has not acknowledged.

    Else it would go on sending that for minutes (socket(7), SO_LINGER): behind a partition that ends, a write
    that was answered with 503 would overwrite what was written after it.
    """
    with socket.socket(fileno=os.dup(pgconn.socket)) as duplicate:
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pgconn.finish()


def is_broken(connection: psycopg.Connection[Any]) -> bool:
    """
    Return whether an idle connection was closed from the other side; costs no round trip.

    A server has nothing to say to an idle client. What can be read is the end of the connection,
    or its announcement (or, seldom, a changed setting: then a whole one is given up).
    """
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))
