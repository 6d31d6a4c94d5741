"""
Histograms that are observed without a lock.

Histogram.observe takes two locks that all threads share, and writes to a file that all processes
do. On the way of a request a value is only appended to a queue of this process, which is one step
of the interpreter; flush moves what has been appended to the histograms (cachelayer.counts calls it).
"""

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from cachelayer import counts

_queues: list[tuple[deque[float], Callable[[], Any]]] = []
_flushing: Final = threading.Lock()


def queue_of(histogram: Callable[[], Any]) -> deque[float]:
    """Return a new queue whose values flush observes by what histogram() returns, once there are any."""
    queue: deque[float] = deque()
    _queues.append((queue, histogram))
    return queue


def flush() -> None:
    """Move what has been appended to the histograms, where all processes see it."""
    with _flushing:
        for queue, histogram in list(_queues):
            values = [queue.popleft() for _ in range(len(queue))]
            if values:
                observe_all(histogram(), values)


def observe_all(histogram: Any, values: list[float]) -> None:
    """
    Observe all values in as many steps as there are buckets.

    The parts of a histogram are private, which is why prometheus-client is pinned.
    """
    bounds = histogram._upper_bounds
    for bucket, number in Counter(bisect_left(bounds, each) for each in values).items():
        histogram._buckets[bucket].inc(number)
    histogram._sum.inc(sum(values))


counts.flushed_besides.append(flush)
