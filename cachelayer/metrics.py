"""
What is counted of the cache, in this process; cachelayer.stats adds the processes up.

With PROMETHEUS_MULTIPROC_DIR set, each process keeps its counts in files there, so that those of
a worker that died are not lost.
"""

import functools
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram

# A round trip on loopback takes 0.1 ms, a timeout 100 ms, a load up to the statement timeout.
_BUCKETS: Final = (
    *(0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0),
)
# How a call may end: exactly one of these is counted for each read.
MISSES: Final = ("absent", "expired", "invalidated", "epoch", "corrupt")
RESULTS: Final = ("hit", "stale", *MISSES, "bypass", "degraded")

_READS = Counter("cachelayer_reads", "Reads, by how they ended", ["namespace", "result"])
_LOADS = Counter("cachelayer_loads", "Loads, by what became of them", ["namespace", "outcome"])
_WAITS = Counter("cachelayer_waits", "Reads that waited for another's load", ["namespace"])
_LOAD_SECONDS = Histogram(
    "cachelayer_load_seconds", "Duration of a load", ["namespace"], buckets=_BUCKETS
)
_OPERATION_SECONDS = Histogram(
    "cachelayer_operation_seconds", "Duration of a round trip", ["operation"], buckets=_BUCKETS
)
INVALIDATED_TAGS: Final = Counter("cachelayer_invalidated_tags", "Tags whose stamps were deleted")
EPOCHS: Final = Counter(
    "cachelayer_epochs",
    "Times that all namespaces were cleared for another server, or a long outbox",
)
LEASE_CHANGES: Final = Counter("cachelayer_lease_changes", "Leases begun and lapsed", ["to"])
LEASE_HELD: Final = Gauge(
    "cachelayer_lease_held",
    "1 where every process may believe Redis",
    multiprocess_mode="livemin",
)
RENEWAL_SECONDS: Final = Histogram(
    "cachelayer_lease_renewal_seconds", "Duration of a renewal of the trust lease", buckets=_BUCKETS
)
WRITE_WAIT_SECONDS: Final = Histogram(
    "cachelayer_write_wait_seconds",
    "Time that a write whose invalidation was not confirmed waited before it was answered",
    buckets=_BUCKETS,
)
ACKNOWLEDGEMENT_SECONDS: Final = Histogram(
    "cachelayer_acknowledgement_seconds",
    "Time that an invalidation waited for other hosts to acknowledge it",
    buckets=_BUCKETS,
)
HOSTS_ON: Final = Gauge(
    "cachelayer_hosts_on",
    "Hosts whose first level is on, in the register that a process saw last",
    multiprocess_mode="livemostrecent",
)
FIRST_LEVEL_HITS: Final = Counter(
    "cachelayer_first_level_hits", "Reads answered from a process's own copies"
)
FIRST_LEVEL_EVICTIONS: Final = Counter(
    "cachelayer_first_level_evictions", "Copies dropped because others needed their place"
)
FIRST_LEVEL_PROCESSES: Final = Gauge(
    "cachelayer_first_level_processes", "Processes that keep copies", multiprocess_mode="livesum"
)
FIRST_LEVEL_COPIES: Final = Gauge(
    "cachelayer_first_level_copies", "Copies in all processes", multiprocess_mode="livesum"
)
FIRST_LEVEL_BYTES: Final = Gauge(
    "cachelayer_first_level_bytes",
    "Bytes of the copies in all processes",
    multiprocess_mode="livesum",
)
FIRST_LEVEL_ON: Final = Gauge(
    "cachelayer_first_level_on", "1 where copies may be served", multiprocess_mode="livemin"
)
OVERLOADS: Final = Counter(
    "cachelayer_overloads", "Reads refused because too many loads ran without Redis"
)
BREAKER_CHANGES: Final = Counter("cachelayer_breaker_changes", "Changes of the breaker", ["to"])
BREAKER_OPEN: Final = Gauge(
    "cachelayer_breaker_open",
    "1 where any process distrusts Redis",
    multiprocess_mode="livemax",
)
THREAD_FAILURES: Final = Counter(
    "cachelayer_thread_failures", "Unexpected errors that ended a background thread", ["thread"]
)
THREAD_FAILED_AT: Final = Gauge(
    "cachelayer_thread_failed_timestamp_seconds",
    "Unix time at which a background thread last failed",
    ["thread"],
    multiprocess_mode="max",
)
RELAYED_ROWS: Final = Counter("cachelayer_relayed_rows", "Outbox rows delivered by a relay")


@functools.cache
def reads(namespace: str, result: str) -> Any:
    """Return the counter of a namespace's reads that ended so; result is one of RESULTS."""
    return _READS.labels(namespace, result)


@functools.cache
def loads(namespace: str, outcome: str) -> Any:
    """Return the counter of loads: stored, fenced, refused (Redis full), failed or unstored."""
    return _LOADS.labels(namespace, outcome)


@functools.cache
def waits(namespace: str) -> Any:
    """Return the counter of reads that took another's load."""
    return _WAITS.labels(namespace)


@functools.cache
def load_seconds(namespace: str) -> Any:
    """Return the histogram of a namespace's loads."""
    return _LOAD_SECONDS.labels(namespace)


@functools.cache
def operation_seconds(operation: str) -> Any:
    """Return the histogram of a round trip: look, begin, end, invalidate, ..."""
    return _OPERATION_SECONDS.labels(operation)


def breaker_changed(is_open: bool) -> None:
    """Count a change of the breaker, and show its state."""
    BREAKER_CHANGES.labels("open" if is_open else "closed").inc()
    BREAKER_OPEN.set(1 if is_open else 0)


def lease_changed(is_held: bool) -> None:
    """Count a lease that began in this process, or lapsed, and show it."""
    LEASE_CHANGES.labels("held" if is_held else "none").inc()
    LEASE_HELD.set(1 if is_held else 0)
