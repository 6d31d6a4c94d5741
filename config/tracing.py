"""The trace of the current request: its time in each store, in total and step by step."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.http import HttpRequest

from cachelayer import client as cache_client

STEPS_MAX: Final = 200  # of one request; later ones are only counted


class Step(NamedTuple):
    """
    A statement, or a wait.

    statement is what was sent to the store, in the driver's own form and with all values: it is
    described, without them, only if the step is stored. started_at is of time.perf_counter().
    """

    store: str
    statement: Any
    started_at: float
    seconds: float


class RequestTrace(dict[str, float]):
    """Seconds by store, and the steps that took them; endpoint() names the request's route."""

    def __init__(self, request_id: str = "", endpoint: Callable[[], str] = str) -> None:
        super().__init__()
        self.request_id = request_id
        self.endpoint = endpoint
        self.started_at = time.perf_counter()
        self.steps: list[Step] = []
        self.left_out = 0

    def append(self, step: Step) -> None:
        """Add a step, or count it where there are STEPS_MAX already."""
        if len(self.steps) < STEPS_MAX:
            self.steps.append(step)
        else:
            self.left_out += 1


_current: ContextVar[RequestTrace | None] = ContextVar("request_trace", default=None)

# Called with each statement slower than SLOW_QUERY_MS and the trace of its request (None: it ran
# outside of a request); set by config.observability.slow_queries. It must not raise.
when_slow: Callable[[RequestTrace | None, Step], None] = lambda trace, step: None  # noqa: E731


def endpoint_of(request: HttpRequest) -> str:
    """Return the name of the request's route; empty before it is resolved, and where none fits."""
    match = getattr(request, "resolver_match", None)
    return match.view_name or match.route if match else ""


@contextmanager
def trace_request(
    request_id: str = "", endpoint: Callable[[], str] = str
) -> Iterator[RequestTrace]:
    """Collect every statement and wait until the end of the block."""
    trace = RequestTrace(request_id, endpoint)
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def add_statement(store: str, statement: Any, started_at: float, seconds: float) -> None:
    """Add a statement to the trace of the current request, if any; report it where it was slow."""
    trace = _current.get()
    step = Step(store, statement, started_at, seconds)
    if trace is not None:
        trace[store] = trace.get(store, 0.0) + seconds
        trace.append(step)
    if seconds * 1000 > settings.SLOW_QUERY_MS:
        when_slow(trace, step)


def add_seconds(store: str, seconds: float) -> None:
    """Add time of the current request, if any, in a store that it used by no statement of its own."""
    trace = _current.get()
    if trace is not None:
        trace[store] = trace.get(store, 0.0) + seconds


def add_wait(store: str, description: str, started_at: float, seconds: float) -> None:
    """Add a wait that the store did not cause, such as for a connection, as a step only."""
    trace = _current.get()
    if trace is not None:
        trace.append(Step(store, description, started_at, seconds))


def _add_redis_operation(operation: str, started_at: float, seconds: float) -> None:
    add_statement("redis", operation, started_at, seconds)


cache_client.observers.append(_add_redis_operation)
