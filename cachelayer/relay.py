"""Delivering what writers could not: edits past the service, and what a crash or an outage left behind."""

import contextlib
import threading
import time
from typing import Any, Final

import psycopg
import structlog
from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from redis.exceptions import RedisError

from cachelayer import client, idempotency, outbox, popularity, trust
from cachelayer.client import CacheDown
from cachelayer.conf import config
from cachelayer.namespace import declared
from cachelayer.session import session_alias
from cachelayer.supervision import supervise

log = structlog.get_logger("cachelayer")

_LOCK_KEY: Final = 0x6361_6368_656C_6179  # names the one leader; ASCII "cachelay"
_POLL_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.2  # where Redis does not answer
_FAILURES_MAX: Final = 2  # to deliver, in a row: 0.4 s where Redis hangs, less where it refuses
_VACANCY: Final = "cachelayer_vacancy"  # the channel on which a leader tells that it leads no more
# Rows that wait so long have no leader, or a frozen one: whoever sees them delivers them.
_OVERDUE_SECONDS: Final = 3.0
_HOUSEKEEPING_SECONDS: Final = 60.0


class Relay:
    """
    Delivers the outbox until it is stopped: woken by NOTIFY, and every second.

    Of all processes that run one, the holder of an advisory lock delivers; the others wait for
    the lock, and step in where rows are overdue. Whoever cannot deliver gives the lock up and
    tells the others, since it may be its own link to Redis alone that is cut; and nobody takes it
    who does not reach Redis, or has no lease, without which nothing counts as delivered. Its connection is its own: LISTEN and the lock live and die with it.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._next_housekeeping = 0.0
        self._failures = 0  # in a row, to deliver
        self.leads = False

    def stop(self) -> None:
        """Have run return within a second."""
        self.stopping.set()

    def run(self) -> None:
        """Relay until stop; survive whatever becomes of the servers."""
        trust.lease.start()
        while not self.stopping.is_set():
            listening = own_connection()
            try:
                self._relay(listening)
            except (DatabaseError, InterfaceError, psycopg.Error) as exc:  # notifies: psycopg's own
                log.info("relay lost its connection", reason=str(exc).split("\n")[0])
                self._pause(_POLL_SECONDS)
            finally:
                self.leads = False
                listening.close()
                connections.close_all()

    def _relay(self, listening: BaseDatabaseWrapper) -> None:
        with listening.cursor() as cursor:
            cursor.execute(f"LISTEN {_VACANCY}")
            while not self.stopping.is_set():
                woken = True  # by taking the lead
                if self.leads:
                    woken = _wait_for_notice(listening)
                else:
                    self._try_to_lead(cursor)
                if self.leads:
                    self._lead(cursor, also_not_due=woken)
                else:
                    self._stand_by(listening)
                connections.close_all()

    def _try_to_lead(self, cursor: Any) -> None:
        if not trust.holds():
            return
        try:
            client.ping()
        except RedisError:
            return
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK_KEY])
        (self.leads,) = cursor.fetchone()
        if self.leads:
            self._failures = 0
            cursor.execute("LISTEN cachelayer_outbox")

    def _lead(self, cursor: Any, *, also_not_due: bool) -> None:
        """Deliver what waits; give the lead up where Redis does not take it."""
        while not self._deliver(also_not_due=also_not_due):
            self._failures += 1
            if self._failures >= _FAILURES_MAX:
                cursor.execute("UNLISTEN cachelayer_outbox")
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK_KEY])
                self.leads = False
                cursor.execute(f"NOTIFY {_VACANCY}")
                log.info("relay gave the lead up", operation="relay", reason="Redis")
                self._pause(_RETRY_SECONDS)
                return
            # The rows are still there, and the breaker has logged it; the next try may succeed.
            self._pause(_RETRY_SECONDS)
        self._failures = 0
        if time.monotonic() > self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + _HOUSEKEEPING_SECONDS
            # Between batches comes what has been written since: no invalidation waits for old keys.
            while idempotency.remove_expired() and self._deliver(also_not_due=False):
                pass
            with contextlib.suppress(CacheDown):  # ranks are no reason to give the lead up
                popularity.decay([namespace.name for namespace in declared()])

    def _stand_by(self, listening: BaseDatabaseWrapper) -> None:
        if outbox.depth_and_age()[1] > _OVERDUE_SECONDS:
            self._deliver(also_not_due=False)
        connections.close_all()  # requests may be waiting for the pool's
        _wait_for_notice(listening)

    def _deliver(self, *, also_not_due: bool) -> bool:
        """Deliver all that waits; return False where Redis does not answer."""
        try:
            while outbox.deliver(also_not_due=also_not_due):
                pass
        except CacheDown:
            return False
        return True

    def _pause(self, seconds: float) -> None:
        """Wait, and hold no connection of the pool meanwhile, which requests may be waiting for."""
        connections.close_all()
        self.stopping.wait(seconds)


def start_in_background() -> Relay:
    """Run a relay in a supervised thread of this process."""
    relay = Relay()
    supervise("cache-relay", relay.run, stopping=relay.stopping)
    return relay


def own_connection() -> BaseDatabaseWrapper:
    """Return a connection outside of any pool, whose session lasts, without the deadline of requests."""
    own = connections[session_alias()].copy()
    own.settings_dict["OPTIONS"] = {
        **{name: value for name, value in own.settings_dict["OPTIONS"].items() if name != "pool"},
        "application_name": f"{config().NAME} relay",
        **trust.KEEPALIVES,
    }
    return own


def _wait_for_notice(listening: BaseDatabaseWrapper) -> bool:
    """Wait for a NOTIFY, at most a second; return whether one came. Takes all that wait."""
    notices = listening.connection.notifies(timeout=_POLL_SECONDS, stop_after=1)
    return any(True for _ in notices)
