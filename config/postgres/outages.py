"""PostgreSQL's breakers, for reads and writes, and what a single broken connection means."""

import threading
import time
from typing import Any, Final

import psycopg
import structlog
from django.db.backends.postgresql import base
from psycopg import errors

from cachelayer.circuit_breaker import Breaker
from config.postgres import deadlines, metrics, server

log = structlog.get_logger("postgres")

_PATIENCE_SECONDS: Final = 0.5  # of 3 s until a 503, of which a wait for the pool may take 2
_ANSWERED_SECONDS: Final = 0.2  # a server that answered just now is not probed again
# How a server that is alive refuses one more connection (SQLSTATE 53300, which libpq hides), and a pooler.
_FULL: Final = (
    *("too many clients", "too many connections", "remaining connection slots"),
    *("no more connections allowed", "query_wait_timeout"),
)


def _probe() -> None:
    """Query on a new connection. Raises psycopg.Error if the server does not answer."""
    try:
        with server.connect(deadlines.ProbeConnection) as probe:
            probe.execute("SELECT 1")
    except psycopg.OperationalError as exc:
        # A full server is not down: the holders of its connections are served, so they may continue.
        if not any(sign in str(exc) for sign in _FULL):
            raise
        log.warning("PostgreSQL takes no further connection", reason=str(exc).split("\n")[0])


def _recover() -> None:
    """Probe; then have each pool discard the connections that the outage has broken."""
    _probe()
    for pool in _pools():
        pool.check()


def _pools() -> list[Any]:
    pools = base.DatabaseWrapper._connection_pools  # type: ignore[attr-defined]  # Django's own
    return list(pools.values())


def _recover_writing() -> None:
    """
    Check on a new connection whether it may write; then replace the older connections.

    A session keeps the default with which it began, and one with a demoted server stays there.
    """
    with server.connect(deadlines.ProbeConnection) as session:
        if server.is_read_only(session):
            raise errors.ReadOnlySqlTransaction("PostgreSQL is read-only")
    for pool in _pools():
        pool.drain()


# A frozen PostgreSQL would block every thread of the site for its whole deadline, including those
# that cached reads need.
breaker = Breaker("PostgreSQL", _recover, first_seconds=0.05, longest_seconds=1.0)

# Open, it turns nothing away: the server itself refuses a write, and at once. It is there for what
# has to be done when writes are possible again.
writing = Breaker(
    "Writing to PostgreSQL", _recover_writing, first_seconds=0.05, longest_seconds=1.0
)

_probing = threading.Lock()
_answered_at = 0.0


def lost(exc: Exception) -> bool:
    """
    Open the breaker if a lost connection means that the server is down; return whether that is not known yet.

    A connection that times out means that the server does not answer. One that broke, or that the
    pool could not open, may be due to a restart: then one thread probes the server at once for all
    that wait here, at most _PATIENCE_SECONDS, since the request must be answered in time. One that had
    little time left after a wait for the pool may just run a long statement: nobody waits for that probe.
    """
    if breaker.is_open:
        return False  # the probe itself discards what broke before it: that is not a new failure
    if isinstance(exc, deadlines.ServerSilent) and not isinstance(exc, deadlines.AnswerLate):
        breaker.failed(exc, opens=True)
        return False
    probe = threading.Thread(target=_open_unless_answered, args=[exc], daemon=True)
    probe.start()
    if not isinstance(exc, deadlines.AnswerLate):
        probe.join(_PATIENCE_SECONDS)
    return probe.is_alive()


def _open_unless_answered(exc: Exception) -> None:
    """Probe the server, one thread for all; open the breaker if it does not answer."""
    global _answered_at
    with _probing:
        if _is_known():
            return
        try:
            _probe()
        except (psycopg.Error, OSError):  # the second for want of descriptors
            breaker.failed(exc, opens=True)
        else:
            _answered_at = time.monotonic()


def _is_known() -> bool:
    """Return whether another thread has probed while this one waited for its turn."""
    return breaker.is_open or time.monotonic() - _answered_at < _ANSWERED_SECONDS


def _refused(exc: Exception) -> None:
    writing.failed(exc, opens=True)


breaker.when_changed = metrics.BREAKER_OPEN.set
writing.when_changed = metrics.READ_ONLY.set
deadlines.when_lost = lost
deadlines.when_read_only = _refused
