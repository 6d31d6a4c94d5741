"""Making cached values unservable: after the commit, by deleting the stamps of their tags."""

import contextlib
import math
import threading
from collections.abc import Iterable, Iterator
from typing import Final

import structlog
from django.db import DatabaseError, InterfaceError, connection, transaction

from cachelayer import metrics, outbox, protocol, slots, trust
from cachelayer.client import CacheDown
from cachelayer.later import Later
from cachelayer.models import Clearance
from cachelayer.namespace import Namespace

log = structlog.get_logger("cachelayer")

_LOOK_SECONDS: Final = 0.05  # between two looks of a write that waits


def _remove(row_ids: list[int]) -> None:
    try:
        outbox.remove(row_ids)
    except (DatabaseError, InterfaceError) as exc:
        reason = str(exc).split("\n")[0]
        log.info("outbox rows left to the relay", rows=len(row_ids), reason=reason)


# Rows whose tags are unlinked. One that is deleted late, or never because the process ended, is
# delivered once more: that costs a load, and nothing is stale.
delivered_rows: Final = Later("cache-removals", _remove)


class _Delivery:
    """
    What runs once the write is done: unlink the tags, then forget the row that names them.

    Where that is not confirmed by the server of the lease, the row stays, and the write is not
    answered before no process may believe what it has replaced: at most LEASE_SECONDS later.
    """

    def __init__(self, tags: list[str], row_id: int, *, of_intent: bool = False) -> None:
        self.tags = tags
        self.row_id = row_id
        self.of_intent = of_intent

    def __call__(self) -> None:
        """Deliver. Raises the driver's error where it is not known whether an intent is still there."""
        since = trust.clock()
        if self._unlinked():
            return
        if self.of_intent:
            self.row_id = outbox.release(self.row_id, self.tags)
            since = trust.clock()
        with metrics.WRITE_WAIT_SECONDS.time():
            self._wait(since)
        slots.overwrite(self.tags)

    def _unlinked(self) -> bool:
        """Unlink; return whether the server of the lease did, while this process held it."""
        trust.lease.ensure_started()
        try:
            server = protocol.unlink(self.tags)
        except CacheDown:
            return False
        except Exception:  # whatever it is, nothing is confirmed, so the write waits
            with contextlib.suppress(Exception):  # of a log on a full disk
                log.exception("not invalidated")
            return False
        if not trust.lease.counts(server):
            return False
        delivered_rows.add(self.row_id)
        return True

    def _wait(self, since: float) -> None:
        """
        Wait until the row is delivered, or all leases are over that were granted without it.

        since: the clock when the row was known to be committed.
        """
        end, rest_seconds = since + trust.LEASE_SECONDS, None
        self._wake_relay()
        while True:
            if rest_seconds is None:
                rest_seconds = trust.rest_seconds()
                end = min(end, trust.clock() + (math.inf if rest_seconds is None else rest_seconds))
            remaining_seconds = end - trust.clock()
            if remaining_seconds <= 0:
                return
            threading.Event().wait(min(remaining_seconds, _LOOK_SECONDS))
            if self._is_delivered() or self._unlinked():
                return

    def _is_delivered(self) -> bool:
        try:
            return not outbox.is_there(self.row_id)
        except (DatabaseError, InterfaceError):
            return False

    def _wake_relay(self) -> None:
        """Its process may reach a Redis that this one does not."""
        try:
            outbox.wake_relay()
        except (DatabaseError, InterfaceError):
            log.info("relay not woken")  # it looks once a second anyway


def invalidate(*tags: str) -> None:
    """
    Make every entry with any of the tags unservable, once the current transaction commits.

    Call it before any other on_commit hook is registered: a hook that raises drops the later
    ones. Outside of a transaction it takes effect at once. A rollback, also to a savepoint,
    takes it back. It never raises because of Redis: what cannot be delivered stays in the outbox,
    and the write is answered when no process believes what it replaced, at most 1.5 s later. Raises
    the driver's error where PostgreSQL does not answer; then the write fails as well.
    """
    distinct = sorted(set(tags))
    with transaction.atomic(savepoint=False):
        deliver_after_commit(distinct, outbox.add(distinct))


def deliver_after_commit(tags: list[str], row_id: int) -> None:
    """Unlink the tags of a row of the outbox once the current transaction commits; without one, now."""
    transaction.on_commit(_Delivery(tags, row_id), robust=True)


@contextlib.contextmanager
def around(*tags: str) -> Iterator[None]:
    """
    Invalidate the tags of a write to a store that shares no transaction with PostgreSQL.

    The block is that write: it is announced before, and the tags are unlinked after it, whether
    it succeeded or not, since one that timed out may have been done. After a crash in between
    the relay unlinks them, at most outbox.INTENT_SECONDS after the announcement. Not within a
    transaction. Raises the driver's error where PostgreSQL does not answer: before the block, and
    then nothing was written; or after it where Redis does not answer either, and then the write's
    outcome is not known.
    """
    distinct = sorted(set(tags))
    if connection.in_atomic_block:
        raise transaction.TransactionManagementError("an intent must be committed at once")
    delivery = _Delivery(distinct, outbox.add_intent(distinct), of_intent=True)
    try:
        yield
    finally:
        delivery()


def clear(namespaces: Iterable[Namespace], *, cleared_by: str) -> list[str]:
    """
    Make every entry of the namespaces unservable: one delete each, however many entries.

    Return their names. cleared_by, a user or a command, is kept in the log of clearances.
    """
    cleared = list(namespaces)
    names = [namespace.name for namespace in cleared]
    with transaction.atomic():
        invalidate(*(namespace.tag for namespace in cleared))
        Clearance.objects.create(cleared_by=cleared_by, namespaces=names)
    return names
