"""Making cached values unservable: after the commit, by deleting the stamps of their tags."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

import structlog
from django.db import DatabaseError, InterfaceError, connection, transaction

from cachelayer import outbox, protocol
from cachelayer.client import CacheDown, breaker
from cachelayer.later import Later
from cachelayer.models import Clearance
from cachelayer.namespace import Namespace

log = structlog.get_logger("cachelayer")


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
    """What runs once the write is done: unlink the tags, then forget the row that names them."""

    def __init__(self, tags: list[str], row_id: int, *, of_intent: bool = False) -> None:
        self.tags = tags
        self.row_id = row_id
        self.of_intent = of_intent

    def __call__(self) -> None:
        # While the breaker probes, its drain may have passed this row already: then try, too. While
        # it waits to probe, the drain is still to come, and will find the row.
        if breaker.waits_to_probe:
            self._leave_to_relay()
            # An intent's row may be younger than the look above: then look again.
            if not self.of_intent or breaker.waits_to_probe:
                return
        try:
            protocol.unlink(self.tags, past_breaker=True)
        except CacheDown as exc:
            try:
                self._leave_to_relay()
            finally:
                # Distrust, from before this write is answered, and until a drain that begins after
                # the row is there.
                breaker.failed(exc, opens=True)
            return
        delivered_rows.add(self.row_id)

    def _leave_to_relay(self) -> None:
        """
        Wake the relay: its process may reach a Redis that this one does not.

        Raises the driver's error where it is not known whether an intent is still there.
        """
        if self.of_intent:
            outbox.release(self.row_id, self.tags)
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
    and is delivered before any process that noticed trusts the cache again. Raises the driver's
    error where PostgreSQL does not answer; then the write fails as well.
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
