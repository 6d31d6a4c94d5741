"""How long the current request has spent in each store."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ledger: ContextVar[dict[str, float] | None] = ContextVar("store_timings", default=None)


@contextmanager
def ledger() -> Iterator[dict[str, float]]:
    """Collect, until the end of the block, the seconds spent by store name."""
    spent: dict[str, float] = {}
    token = _ledger.set(spent)
    try:
        yield spent
    finally:
        _ledger.reset(token)


def add(store: str, seconds: float) -> None:
    """Add seconds spent in a store to the current ledger; outside of one, do nothing."""
    spent = _ledger.get()
    if spent is not None:
        spent[store] = spent.get(store, 0.0) + seconds
