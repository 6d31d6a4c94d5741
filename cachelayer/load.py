"""Who loads a value that is not cached, and who waits for whom."""

import contextlib
import functools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from cachelayer import first_level, hooks, metrics, protocol, slots, trust
from cachelayer.client import CacheDown
from cachelayer.conf import config
from cachelayer.entries import Cached, Lookup, Overloaded, Source, soft_ttl_ms
from cachelayer.failures import unavailable_store
from cachelayer.first_level import Guard
from cachelayer.namespace import Key
from cachelayer.single_flight import Batches, Flight, Flights

V = TypeVar("V")

_POLL_SECONDS_MIN = 0.002
_POLL_SECONDS_MAX = 0.050

_flights = Flights()
_batches = Batches()


def load_past_cache(key: Key[V], load: Callable[[], V | None], *, keep: bool) -> Cached[V]:
    """Load whatever is cached; keep: store that, if Redis answers. Raises what load raises."""
    if not keep:
        return Cached(_observed(key, load), Source.BYPASSED)
    try:
        ticket = protocol.begin(key)
    except CacheDown:
        return Cached(_observed(key, load), Source.BYPASSED)
    value = load_with_ticket(key, load, ticket)
    slots.overwrite([key.purge])  # the copies are of what was there before
    return Cached(value, Source.BYPASSED)


def load_with_ticket(
    key: Key[V], load: Callable[[], V | None], ticket: protocol.LoadTicket
) -> V | None:
    """Load and store, after begin; return the value."""
    value, load_ms = _timed(key, load, ticket)
    _end(key, ticket, value, load_ms)
    return value


def load_many(
    keys: Sequence[Key[V]],
    tickets: Sequence[protocol.LoadTicket],
    load: Callable[[Sequence[Key[V]]], Sequence[V | None]],
) -> list[Cached[V]]:
    """Load all keys by one call, after their tickets, and store the values by one pipeline."""
    started = time.perf_counter()
    values = load_all(keys, load)
    load_ms = (time.perf_counter() - started) * 1000 / len(keys)
    try:
        outcomes = protocol.end_many(list(zip(keys, tickets, values, strict=True)), load_ms=load_ms)
    except CacheDown:
        return [Cached(value, Source.CACHE_DOWN) for value in values]
    return [
        _answer(key, value, _source(outcome), ticket)
        for key, value, outcome, ticket in zip(keys, values, outcomes, tickets, strict=True)
    ]


def load_all(
    keys: Sequence[Key[V]], load: Callable[[Sequence[Key[V]]], Sequence[V | None]]
) -> Sequence[V | None]:
    """Return what load returns. Raises what it raises."""
    with hooks.observe("load", keys[0].namespace.name if keys else "") as report:
        values = load(keys)
        report("loaded")
    return values


def load_together(key: Key[V], load: Callable[[], V | None], lookup: Lookup[V]) -> Cached[V]:
    """
    Lead the load of a missed key, or wait for the caller in this process who does.

    A value that is stored, or found stored, may be kept in the first level under the guard that is
    returned with it. Raises CacheDown, or what the load raised.
    """
    if hooks.single_flight_scope.get() == "none":
        ticket = protocol.begin(key)
        value, load_ms = _timed(key, load, ticket)
        return _ended(key, ticket, value, load_ms)
    deadline = time.monotonic() + config().LEASE_MS / 1000
    while True:
        flight, leads = _flights.join(key.entry_name)
        if leads:
            return _lead(flight, key, load, lookup, deadline)
        in_time = flight.wait(max(0.0, deadline - time.monotonic()))
        if not in_time:
            return _lead(Flight(), key, load, lookup, deadline)
        if flight.error is not None:
            return _stale_or_raise(key, lookup, flight.error)
        if flight.shared:
            metrics.waits(key.namespace.name).inc()
            cached: Cached[V] = flight.result
            return Cached(cached.value, Source.COLLAPSED, cached.remaining_seconds)
        guard = first_level.guard_of(key)
        lookup = protocol.look(key)
        if lookup.fresh:
            return _cached(key, lookup, Source.COLLAPSED, guard)


def _lead(
    flight: Flight,
    key: Key[V],
    load: Callable[[], V | None],
    lookup: Lookup[V],
    deadline: float,
) -> Cached[V]:
    try:
        ticket, waited, guard = _begin_with_lease(key, deadline, lookup.reason or "")
        if ticket.lookup.fresh:
            # Stored by another process. Followers look for themselves: one of them may have
            # come after an invalidation that this look did not see.
            _flights.close(key.entry_name, flight)
            flight.finish(None, shared=False)
            source = Source.COLLAPSED if waited else Source.HIT
            return _cached(key, ticket.lookup, source, guard)
        value, load_ms = _timed(key, load, ticket)
        _flights.close(key.entry_name, flight)  # before end: see Flights
        cached = _ended(key, ticket, value, load_ms)
    except CacheDown:
        _flights.close(key.entry_name, flight)
        flight.finish(None, shared=False)
        raise
    except BaseException as exc:  # noqa: BLE001  # followers must be woken whatever happened
        _flights.close(key.entry_name, flight)
        flight.fail(exc)
        return _stale_or_raise(key, lookup, exc)
    # Unverified, a follower may have a promise that its leader has not: it looks for itself.
    flight.finish(cached, shared=cached.source is Source.LOADED and trust.is_verified())
    return cached


def _begin_with_lease(
    key: Key[V], deadline: float, reason: str
) -> tuple[protocol.LoadTicket, bool, Guard | None]:
    """
    Begin until the lease is ours, the value is there, or the deadline has passed.

    Return also whether another process was waited for, and the guard of a value that is there. After the
    deadline the load goes on without the lease, which is safe: the stamps alone decide what may be stored.
    """
    pause = _POLL_SECONDS_MIN
    waited = False
    while True:
        guard = first_level.guard_of(key)
        ticket = protocol.begin(key, reason=reason)
        if ticket.leased and ticket.lookup.fresh:
            protocol.release(key, ticket)
        if ticket.leased or ticket.lookup.fresh or time.monotonic() >= deadline:
            return ticket, waited, guard
        if hooks.single_flight_scope.get() == "process":
            return ticket, waited, guard
        waited, reason = True, ""
        # Full jitter, so that waiters do not come back together.
        threading.Event().wait(pause * random.random())  # noqa: S311
        pause = min(pause * 2, _POLL_SECONDS_MAX)


def _timed(
    key: Key[Any], load: Callable[[], V | None], ticket: protocol.LoadTicket
) -> tuple[V | None, float]:
    """Load; return the value and the milliseconds that it took. After an error give the lease up."""
    started = time.perf_counter()
    try:
        value = _observed(key, load)
    except BaseException:
        metrics.loads(key.namespace.name, "failed").inc()
        with contextlib.suppress(CacheDown):  # then the lease runs out by itself
            protocol.release(key, ticket)
        raise
    seconds = time.perf_counter() - started
    metrics.load_seconds(key.namespace.name).observe(seconds)
    return value, seconds * 1000


def _ended(key: Key[V], ticket: protocol.LoadTicket, value: V | None, load_ms: float) -> Cached[V]:
    """
    End a load; return the answer, with a guard where its value was stored.

    To be stored and still valid then is as good as to be found by a look that began there, so the
    guard is drawn before the end. One from before the load would not hold: the listener hears of
    the stamps that begin has made, and overwrites their slots.
    """
    guard = first_level.guard_of(key)
    return _answer(key, value, _end(key, ticket, value, load_ms), ticket, guard)


def _end(key: Key[V], ticket: protocol.LoadTicket, value: V | None, load_ms: float) -> Source:
    try:
        return _source(protocol.end(key, ticket, value, load_ms=load_ms))
    except CacheDown:
        metrics.loads(key.namespace.name, "unstored").inc()
        return Source.CACHE_DOWN


def _source(outcome: protocol.Outcome) -> Source:
    return Source.LOADED if outcome == "stored" else Source.FENCED


def _answer(
    key: Key[V],
    value: V | None,
    source: Source,
    ticket: protocol.LoadTicket,
    guard: Guard | None = None,
) -> Cached[V]:
    lifetime_ms = ticket.lifetime_ms(key, value)
    if source is not Source.LOADED:
        return Cached(value, source, lifetime_ms // 1000)
    copy_ms = int(soft_ttl_ms(lifetime_ms))  # it was stored just now
    return Cached(value, source, lifetime_ms // 1000, False, guard, copy_ms)


def _cached(
    key: Key[V], lookup: Lookup[V], source: Source, guard: Guard | None = None
) -> Cached[V]:
    seconds = lookup.remaining_ms // 1000
    if source is Source.COLLAPSED:
        metrics.waits(key.namespace.name).inc()
    if not trust.is_verified():
        source, guard = Source.UNVERIFIED, None
    return Cached(lookup.value, source, seconds, False, guard, lookup.copy_ms)


def _stale_or_raise(key: Key[V], lookup: Lookup[V], exc: BaseException) -> Cached[V]:
    """Serve an expired copy where its store is down; an invalidated one only where that is declared."""
    servable = lookup.reason == "expired" or (
        lookup.reason == "invalidated" and key.namespace.serves_invalidated
    )
    if not servable or unavailable_store(exc) is None:
        raise exc
    return Cached(lookup.value, Source.STALE, -(-lookup.remaining_ms // 1000))


def load_without_cache(key: Key[V], load: Callable[[], V | None]) -> Cached[V]:
    """
    Load while Redis does not answer, sharing only loads that began after the caller came.

    Raises Overloaded where LOADS_MAX loads run and none ends in time, or what load raises.
    """
    name = key.entry_name
    flight, first, leads = _batches.join(name)
    patience = config().LEASE_MS / 1000
    if not leads:
        if not flight.wait(2 * patience):
            return Cached(_bounded(key, load), Source.CACHE_DOWN)
        if flight.error is not None:
            raise flight.error
        return Cached(flight.result, Source.CACHE_DOWN)
    if first is not None:
        first.wait(patience)
        _batches.depart(name, flight)
    try:
        value = _bounded(key, load)
    except BaseException as exc:
        _batches.land(name, flight)
        flight.fail(exc)
        raise
    _batches.land(name, flight)
    flight.finish(value, shared=True)
    return Cached(value, Source.CACHE_DOWN)


def _bounded(key: Key[V], load: Callable[[], V | None]) -> V | None:
    with _slot():
        metrics.loads(key.namespace.name, "unstored").inc()
        return _observed(key, load)


def _observed(key: Key[V], load: Callable[[], V | None]) -> V | None:
    """Return what load returns."""
    with hooks.observe("load", key.namespace.name) as report:
        value = load()
        report("absent" if value is None else "loaded")
    return value


_first_use = threading.Lock()  # else threads that come first at once have a semaphore each


@functools.cache
def _made_slots() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(config().LOADS_MAX)


def _slots() -> threading.BoundedSemaphore:
    with _first_use:
        return _made_slots()


@contextlib.contextmanager
def _slot() -> Iterator[None]:
    """Hold one of the LOADS_MAX slots. Raises Overloaded where none gets free in time."""
    slots = _slots()
    if not slots.acquire(timeout=config().LOADS_WAIT_MS / 1000):
        metrics.OVERLOADS.inc()
        raise Overloaded("Redis does not answer, and the store behind it is busy: try again soon.")
    try:
        yield
    finally:
        slots.release()
