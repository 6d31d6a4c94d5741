"""What the current request has done in each store: the seconds in all, and step by step."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from django.conf import settings

STEPS_MAX: Final = 200  # of one request; what comes after is only counted


class Step(NamedTuple):
    """
    One statement, or one wait.

    statement is what the store was told, in the driver's own form and with all values: it is
    described, without them, only if the step is kept. started_at is of time.perf_counter().
    """

    store: str
    statement: Any
    started_at: float
    seconds: float


class Ledger(dict[str, float]):
    """Seconds by store, and the steps that took them; endpoint() names what was asked for."""

    def __init__(self, request_id: str = "", endpoint: Callable[[], str] = str) -> None:
        super().__init__()
        self.request_id = request_id
        self.endpoint = endpoint
        self.started_at = time.perf_counter()
        self.steps: list[Step] = []
        self.left_out = 0


_ledger: ContextVar[Ledger | None] = ContextVar("store_timings", default=None)

# Told of each statement slower than SLOW_QUERY_MS, and whose it was (None: of no request);
# set by config.observability.slow_queries. It must not raise.
when_slow: Callable[[Ledger | None, Step], None] = lambda ledger, step: None  # noqa: E731


@contextmanager
def ledger(request_id: str = "", endpoint: Callable[[], str] = str) -> Iterator[Ledger]:
    """Collect, until the end of the block, what is done in the stores."""
    spent = Ledger(request_id, endpoint)
    token = _ledger.set(spent)
    try:
        yield spent
    finally:
        _ledger.reset(token)


def add(store: str, statement: Any, started_at: float, seconds: float) -> None:
    """Add one statement to the current ledger where there is one; tell of it where it was slow."""
    spent = _ledger.get()
    if spent is not None:
        spent[store] = spent.get(store, 0.0) + seconds
        _append(spent, Step(store, statement, started_at, seconds))
    if seconds * 1000 > settings.SLOW_QUERY_MS:
        when_slow(spent, Step(store, statement, started_at, seconds))


def waited(store: str, what: str, started_at: float, seconds: float) -> None:
    """Add a wait that the store has no part in, such as for a connection, as a step alone."""
    spent = _ledger.get()
    if spent is not None:
        _append(spent, Step(store, what, started_at, seconds))


def _append(spent: Ledger, step: Step) -> None:
    if len(spent.steps) < STEPS_MAX:
        spent.steps.append(step)
    else:
        spent.left_out += 1
