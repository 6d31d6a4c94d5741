"""The background work that each process does for the cache: lease, relay, tidy up, count, warm."""

import threading
from multiprocessing.util import Finalize
from typing import Any

import structlog

from cachelayer import (
    client,
    counts,
    invalidation,
    popularity,
    protocol,
    relay,
    trust,
    upkeep,
    warming,
)
from cachelayer.namespace import Namespace, declared
from cachelayer.supervision import supervise

log = structlog.get_logger("cachelayer")


def start() -> None:
    """
    Start the background threads of this process; call it once, after any fork.

    Until the first of them has a lease, what is cached is not served. Requests do not wait for that.
    """
    trust.lease.start()
    relay.start_in_background()
    invalidation.delivered_rows.start_in_background()
    protocol.invalidated_tags.start_in_background()
    upkeep.start_in_background()
    supervise("cache-counts", _count)
    supervise("cache-warming", _warm)
    # Besides counts' own atexit, which multiprocessing leaves out in a process that it has forked.
    Finalize(None, counts.flush, exitpriority=0)


def _count() -> None:
    """Flush the counts: to the metrics often, to Redis now and then."""
    pause = threading.Event()
    while True:
        for _ in range(round(popularity.FLUSH_SECONDS / counts.FLUSH_SECONDS)):
            pause.wait(counts.FLUSH_SECONDS)
            counts.flush()
        _flush_to_redis()


def _flush_to_redis() -> None:
    try:
        popularity.flush()
    except client.CacheDown:
        log.debug("counts of reads lost")  # the breaker logs it; counts only rank


def _warm() -> None:
    """Load the most read keys, once the cache is used; one process does it for all."""
    pause = threading.Event()
    while not trust.lease.is_usable:
        pause.wait(0.1)
    try:
        if warming.take_turn():
            loaded = {
                namespace.name: _warmed(namespace) for namespace in declared() if namespace.warms
            }
            log.info("cache warmed", operation="warm", loaded=loaded)
    except client.CacheDown as exc:
        log.info("cache not warmed", operation="warm", reason=str(exc).split("\n")[0])


def _warmed(namespace: Namespace[Any]) -> int:
    """Return how many values were loaded; 0 where their store fails: the others are still warmed."""
    try:
        return warming.warm(namespace)
    except client.CacheDown:
        raise
    except Exception as exc:  # noqa: BLE001  # whatever a load raises: requests will meet the same error
        reason = f"{type(exc).__name__}: {exc}".split("\n")[0]
        log.info("namespace not warmed", operation="warm", namespace=namespace.name, reason=reason)
        return 0
