"""
Counting reads: in this process without a lock, then in the metrics and for popularity.

A hit in the first level takes microseconds; a counter that all processes share, or a lock, would
cost it as much again. So it adds to a Tally, and flush moves what has been added on.
"""

import atexit
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from cachelayer import metrics

FLUSH_SECONDS: Final = 0.25  # how far behind the counts of other processes may be
_KEYS_PENDING_MAX: Final = 10_000  # beyond that, new keys are not counted one by one


class Tally:
    """
    A count that any thread adds to by next(tally.add), which is one step of the interpreter.

    One that nobody holds any more leaves to the next take() what was not reported yet.
    """

    __slots__ = ("__weakref__", "_reported", "add", "of")

    def __init__(self, namespace: str, name: str) -> None:
        self.add = itertools.count()
        self.of = namespace, name
        self._reported = 0

    def take(self) -> int:
        """Return how much was added since the last call; for one thread at a time."""
        total = next(self.add)
        added, self._reported = total - self._reported, total + 1
        return added

    def __del__(self) -> None:
        if added := self.take():
            _left_behind.append((self.of, added))


_left_behind: deque[tuple[tuple[str, str], int]] = deque()
_hits: dict[str, Tally] = {}  # by namespace
_hits_of_keys: WeakValueDictionary[tuple[str, str], Tally] = WeakValueDictionary()
_reads: Counter[tuple[str, str]] = (
    Counter()
)  # by namespace and logical name, of what is to be flushed to Redis
_results: Counter[tuple[str, str]] = Counter()  # by namespace and result
_counting = threading.Lock()  # of both counters, and of take()
# What else moves what it has counted to the metrics by then. It must not raise.
flushed_besides: list[Callable[[], None]] = []


def count(namespace: str, name: str, result: str) -> None:
    """Count one read of a logical name; result is one of metrics.RESULTS."""
    metrics.reads(namespace, result).inc()
    with _counting:
        _results[namespace, result] += 1
        _add((namespace, name), 1)


def hits(namespace: str, name: str) -> tuple[Tally, Tally]:
    """Return the tallies of hits of a namespace and of a logical name; a hit adds to both."""
    with _counting:
        of_namespace = _hits.get(namespace)
        if of_namespace is None:
            of_namespace = _hits[namespace] = Tally(namespace, "")
        of_key = _hits_of_keys.get((namespace, name))
        if of_key is None:
            of_key = _hits_of_keys[namespace, name] = Tally(namespace, name)
        return of_namespace, of_key


def flush() -> None:
    """Add what the tallies have to the metrics, where all processes see it."""
    for flush_other in flushed_besides:
        flush_other()
    with _counting:
        for namespace, tally in _hits.items():
            if added := tally.take():
                metrics.reads(namespace, "hit").inc(added)
                metrics.FIRST_LEVEL_HITS.inc(added)
                _results[namespace, "hit"] += added


def take() -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """Return, and forget, the reads by (namespace, logical name) and by (namespace, result)."""
    global _reads, _results
    flush()
    with _counting:
        for tally in list(_hits_of_keys.values()):
            if added := tally.take():
                _add(tally.of, added)
        while _left_behind:
            _add(*_left_behind.popleft())
        reads, results = _reads, _results
        _reads, _results = Counter(), Counter()
    return reads, results


def _add(key: tuple[str, str], number: int) -> None:
    if len(_reads) < _KEYS_PENDING_MAX or key in _reads:
        _reads[key] += number


atexit.register(flush)
