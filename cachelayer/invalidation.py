"""Making cached values unservable: after the commit, by deleting the stamps of their tags."""

from collections.abc import Iterable

import structlog
from django.db import DatabaseError, InterfaceError, transaction

from cachelayer import outbox, store
from cachelayer.client import CacheDown, breaker
from cachelayer.models import Clearance
from cachelayer.namespaces import Namespace

log = structlog.get_logger("cachelayer")


class _Delivery:
    """The hook that runs after the commit: unlink the tags, then forget the row that names them."""

    def __init__(self, tags: list[str], row_id: int) -> None:
        self.tags = tags
        self.row_id = row_id

    def __call__(self) -> None:
        # While the breaker probes, its drain may have passed this row already: then try, too. While
        # it waits to probe, the drain is still to come, and will find the row. Read in this order.
        if breaker.is_open and not breaker.is_probing:
            _leave_to_relay()
            return
        try:
            store.unlink(self.tags, past_breaker=True)
        except CacheDown as exc:
            breaker.failed(exc, opens=True)  # distrust, from before this write is answered
            _leave_to_relay()
            return
        try:
            outbox.remove([self.row_id])
        except (DatabaseError, InterfaceError) as exc:
            log.info("outbox row left to the relay", reason=str(exc).split("\n")[0])


def invalidate(*tags: str) -> None:
    """
    Make every entry with any of the tags unservable, once the current transaction commits.

    Call it before any other on_commit hook is registered: a hook that raises drops the later
    ones. Outside of a transaction it takes effect at once. A rollback, also to a savepoint,
    takes it back. It never raises because of Redis: what cannot be delivered stays in the outbox,
    and is delivered before any process that noticed trusts the cache again. Raises the driver's
    error where PostgreSQL does not answer; then the write fails as well.
    """
    wanted = sorted(set(tags))
    with transaction.atomic(savepoint=False):
        row_id = outbox.add(wanted)
        transaction.on_commit(_Delivery(wanted, row_id), robust=True)


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


def _leave_to_relay() -> None:
    """Wake the relay: its process may reach a Redis that this one does not."""
    try:
        outbox.wake_relay()
    except (DatabaseError, InterfaceError):
        log.info("relay not woken")  # it looks once a second anyway
