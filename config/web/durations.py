"""
How long requests take, by route, method, status class and cache level: measured without a lock.

A hit at the edge takes microseconds, and would wait for a metric that all processes share. So a
duration is only appended to a queue of this process, which is one step of the interpreter; flush
moves what has been appended to the histogram.
"""

import functools
import threading
from bisect import bisect_left
from collections import Counter, deque
from typing import Any, Final

from prometheus_client import Histogram

from cachelayer import counts
from cachelayer.entries import Source

# A hit at the edge takes 0.02 ms, one of Redis 2 ms, a load up to the statement timeout of 2 s.
BUCKETS: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0),
)
REQUEST_SECONDS: Final = Histogram(
    "http_request_duration_seconds",
    "Duration of a request, with its wait for a thread",
    ["route", "method", "status", "cache"],
    buckets=BUCKETS,
)
# RFC 9110, 9.1, and RFC 5789; others are what clients invent, and no label.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_NONE: Final = "none"

_queues: dict[tuple[str, str, str, str], deque[float]] = {}
_flushing = threading.Lock()


def append(response: Any, method: str, seconds: float) -> None:
    """
    Add the duration of a request that was not answered from a copy.

    response.route and response.cache_source are those that middleware and view have set; a
    response without a status is the gateway's refusal of a body.
    """
    source: Source | None = getattr(response, "cache_source", None)
    _queue(
        getattr(response, "route", ""),
        method,
        getattr(response, "status_code", 400),
        source.value if source else _NONE,
    ).append(seconds)


@functools.cache
def of_copies(route: str, source: Source) -> dict[str, tuple[deque[float], deque[float]]]:
    """Return the queues of what the edge answers of a route: by method, in full and by a 304."""
    return {
        method: (
            _queue(route, method, 200, source.value),
            _queue(route, method, 304, source.value),
        )
        for method in ("GET", "HEAD")
    }


def _queue(route: str, method: str, status: int, cache: str) -> deque[float]:
    labels = (
        route or _NONE,
        method if method in _METHODS else "other",
        f"{status // 100}xx",
        cache,
    )
    return _queues.setdefault(labels, deque())


def flush() -> None:
    """Move what has been appended to the histogram, where all processes see it."""
    with _flushing:
        for labels, queue in list(_queues.items()):
            seconds = [queue.popleft() for _ in range(len(queue))]
            if seconds:
                _observe(REQUEST_SECONDS.labels(*labels), seconds)


def _observe(histogram: Any, seconds: list[float]) -> None:
    """
    Observe all durations in as many steps as there are buckets.

    Histogram.observe would take two locks for each of them. Its parts are private, which is why
    prometheus-client is pinned.
    """
    for bucket, number in Counter(bisect_left(BUCKETS, each) for each in seconds).items():
        histogram._buckets[bucket].inc(number)
    histogram._sum.inc(sum(seconds))


counts.flushed_besides.append(flush)
