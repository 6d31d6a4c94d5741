"""A PostgreSQL connection whose every wait for the server ends at a deadline."""

import select
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import errors, pq

# Called for each connection that broke or fell silent; returns whether it is not known yet if the server is
# down; set by config.postgres.outages.
when_lost: Callable[[Exception], bool] = lambda exc: False  # noqa: E731

# Called with the error of each write that a read-only server refused; set by the same.
when_read_only: Callable[[Exception], None] = lambda exc: None  # noqa: E731

# Of a deadline: what statement_timeout leaves, after which a live server has given up itself.
_CERTAIN_SHARE: Final = 0.8
# Values of target_session_attrs under which any host that is reached is as good as another.
_OF_ONE_KIND: Final = ("primary", "read-write", "standby")
# The address reached last, by all of them: else a host that is gone costs each new connection connect_timeout.
_reached: dict[tuple[str, ...], tuple[str, str]] = {}


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
    may_be_down = False  # whether it was lost, and it is not known yet whether the server is down

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Any:
        """Connect as psycopg does; of several hosts of a kind first to the one that was reached last."""
        hosts, ports, kind, numbers = (
            str(parameters.get(name) or "")
            for name in ("host", "port", "target_session_attrs", "hostaddr")
        )
        if "," not in hosts or kind not in _OF_ONE_KIND or numbers:
            return super().connect(conninfo, **parameters)
        each_port = ports.split(",") if "," in ports else [ports] * (hosts.count(",") + 1)
        addresses = list(zip(hosts.split(","), each_port, strict=True))
        last = _reached.get((hosts, ports, kind))
        addresses.sort(key=lambda address: address != last)
        parameters["host"] = ",".join(host for host, _ in addresses)
        parameters["port"] = ",".join(port for _, port in addresses)
        connection = super().connect(conninfo, **parameters)
        host, port = connection.info.host, str(connection.info.port)
        # Libpq has a default for a port that is left out, and for a host: of that none is remembered.
        for address in addresses:
            if address[0] == host and address[1] in ("", port):
                _reached[hosts, ports, kind] = address
        return connection

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
            self.may_be_down = when_lost(exc)


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
    borrowed = socket.socket(fileno=pgconn.socket)  # a duplicate would need a free descriptor
    try:
        borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        borrowed.detach()
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
