"""Making cached values unservable: after the commit, by deleting the stamps of their tags."""

from collections.abc import Iterable

from django.db import transaction

from cachelayer import store
from cachelayer.namespaces import Namespace, stamp_name


class _Invalidation:
    """The hook that runs after the commit; while it waits, its tags are known to be written."""

    def __init__(self, tags: frozenset[str]) -> None:
        self.tags = tags

    def __call__(self) -> None:
        names = [stamp_name(tag) for tag in sorted(self.tags)]
        try:
            store.unlink(names)
        except store.CacheDown as exc:
            store.leave_undelivered(names, exc)


def invalidate(*tags: str) -> None:
    """
    Make every entry with any of the tags unservable, once the current transaction commits.

    Call it before any other on_commit hook is registered: a hook that raises drops the later
    ones. Outside of a transaction it takes effect at once. A rollback, also to a savepoint,
    takes it back. It never raises because of Redis: what cannot be delivered is kept and
    delivered before this process trusts the cache again.
    """
    transaction.on_commit(_Invalidation(frozenset(tags)), robust=True)


def clear(namespaces: Iterable[Namespace]) -> None:
    """Make every entry of the namespaces unservable: one delete each, however many entries."""
    invalidate(*(namespace.tag for namespace in namespaces))
