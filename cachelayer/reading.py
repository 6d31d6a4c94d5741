"""Reading through the cache: get_or_load, and what it answers when something fails."""

import contextlib
import enum
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.conf import settings
from django.db import connection

from cachelayer import store
from cachelayer.entries import Found
from cachelayer.failures import unavailable_store
from cachelayer.flight import Batches, Flight, Flights
from cachelayer.namespaces import Key

V = TypeVar("V")

_POLL_SECONDS_MIN = 0.002
_POLL_SECONDS_MAX = 0.050


class Bypass(enum.Enum):
    """Whether the caller wants the store's own answer, and whether the cache may keep it."""

    NO = "no"
    REFRESH = "refresh"
    NO_STORE = "no-store"


class Source(enum.Enum):
    """Where an answer came from."""

    HIT = "hit"
    LOADED = "loaded"  # and stored
    COLLAPSED = "collapsed"  # waited for another caller's load
    FENCED = "fenced"  # loaded, not stored: a tag was invalidated during the load
    BYPASSED = "bypassed"
    STALE = "stale"  # past its time, served because the store does not answer
    CACHE_DOWN = "cache-down"


@dataclass(frozen=True)
class Cached(Generic[V]):
    """A value (None: there is no such thing), where it came from, and its freshness left."""

    value: V | None
    source: Source
    remaining_seconds: int = 0


_flights = Flights()
_batches = Batches()


def get_or_load(
    key: Key[V], load: Callable[[], V | None], *, bypass: Bypass = Bypass.NO
) -> Cached[V]:
    """
    Return the value under key, from Redis where a valid copy is, else from load.

    A read that starts after a write's commit was answered never gets an older value. Over all
    processes one caller loads, the others wait for it, at most CACHE_LEASE_MS. load runs in
    this thread and returns None for "there is no such thing". Inside a transaction the cache
    is not used. Redis never makes this fail. Raises what load raises, except where the
    store does not answer and a copy past its time, but not invalidated, is at hand.
    """
    if bypass is Bypass.NO_STORE or connection.in_atomic_block:
        # What a transaction reads may be uncommitted, or older than what is cached.
        return Cached(load(), Source.BYPASSED)
    try:
        if bypass is Bypass.REFRESH:
            return _refresh(key, load)
        found = store.look(key)
        if found.fresh:
            return _hit(found)
        return _load_together(key, load, found)
    except store.CacheDown:
        return _load_without_cache(key, load, bypass)


def peek_many(keys: Sequence[Key[V]]) -> Sequence[Found[V] | None]:
    """Return what is cached under each key, in one round trip; None where Redis does not answer."""
    try:
        return store.look_many(keys)
    except store.CacheDown:
        return [None] * len(keys)


def _hit(found: Found[V], source: Source = Source.HIT) -> Cached[V]:
    return Cached(found.value, source, max(0, found.remaining_ms // 1000))


def _stale_or_raise(found: Found[V] | None, exc: BaseException) -> Cached[V]:
    """Serve an expired copy where its store is down; else raise exc. An invalidated one never."""
    if found is None or not found.servable_when_store_is_down or unavailable_store(exc) is None:
        raise exc
    return Cached(found.value, Source.STALE, -(-found.remaining_ms // 1000))


def _refresh(key: Key[V], load: Callable[[], V | None]) -> Cached[V]:
    begun = store.begin(key)
    try:
        value = load()
    except BaseException:
        _release(key, begun)
        raise
    _end(key, begun, value)
    return Cached(value, Source.BYPASSED)


def _load_together(key: Key[V], load: Callable[[], V | None], found: Found[V]) -> Cached[V]:
    """Lead the load of a missed key, or wait for the caller in this process who does."""
    deadline = time.monotonic() + settings.CACHE_LEASE_MS / 1000
    while True:
        flight, leads = _flights.join(key.entry_name)
        if leads:
            return _lead(flight, key, load, found, deadline)
        in_time = flight.wait(max(0.0, deadline - time.monotonic()))
        if not in_time:
            return _lead(Flight(), key, load, found, deadline)
        if flight.error is not None:
            return _stale_or_raise(found, flight.error)
        if flight.shared:
            cached: Cached[V] = flight.result
            return Cached(cached.value, Source.COLLAPSED, cached.remaining_seconds)
        found = store.look(key)
        if found.fresh:
            return _hit(found, Source.COLLAPSED)


def _lead(
    flight: Flight, key: Key[V], load: Callable[[], V | None], found: Found[V], deadline: float
) -> Cached[V]:
    try:
        begun, waited = _begin_with_lease(key, deadline)
        if begun.found.fresh:
            # Stored by another process. Followers look for themselves: one of them may have
            # come after an invalidation that this look did not see.
            _flights.close(key.entry_name, flight)
            flight.finish(None, shared=False)
            return _hit(begun.found, Source.COLLAPSED if waited else Source.HIT)
        try:
            value = load()
        except BaseException:
            _release(key, begun)
            raise
        _flights.close(key.entry_name, flight)  # before end: see Flights
        source = _end(key, begun, value)
    except store.CacheDown:
        _flights.close(key.entry_name, flight)
        flight.finish(None, shared=False)
        raise
    except BaseException as exc:  # noqa: BLE001  # followers must be woken whatever happened
        _flights.close(key.entry_name, flight)
        flight.fail(exc)
        return _stale_or_raise(found, exc)
    cached = Cached(value, source, key.namespace.ttl_seconds)
    flight.finish(cached, shared=source is Source.LOADED)
    return cached


def _end(key: Key[V], begun: store.Begun, value: V | None) -> Source:
    try:
        return Source.LOADED if store.end(key, begun, value) else Source.FENCED
    except store.CacheDown:
        return Source.CACHE_DOWN


def _begin_with_lease(key: Key[V], deadline: float) -> tuple[store.Begun, bool]:
    """
    Begin until the lease is ours, the value is there, or the deadline has passed.

    Return also whether another process was waited for. After the deadline the load goes on
    without the lease, which is safe: the stamps alone decide what may be stored.
    """
    pause = _POLL_SECONDS_MIN
    waited = False
    while True:
        begun = store.begin(key)
        if begun.leased and begun.found.fresh:
            store.release(key, begun)
        if begun.leased or begun.found.fresh or time.monotonic() >= deadline:
            return begun, waited
        waited = True
        _pause(pause)
        pause = min(pause * 2, _POLL_SECONDS_MAX)


def _release(key: Key[V], begun: store.Begun) -> None:
    with contextlib.suppress(store.CacheDown):  # then the lease runs out by itself
        store.release(key, begun)


def _load_without_cache(key: Key[V], load: Callable[[], V | None], bypass: Bypass) -> Cached[V]:
    """Load while Redis does not answer, sharing only loads that began after the caller came."""
    if bypass is Bypass.REFRESH:
        return Cached(load(), Source.BYPASSED)
    name = key.entry_name
    flight, first, leads = _batches.join(name)
    patience = settings.CACHE_LEASE_MS / 1000
    if not leads:
        if not flight.wait(2 * patience):
            return Cached(load(), Source.CACHE_DOWN)
        if flight.error is not None:
            raise flight.error
        return Cached(flight.result, Source.CACHE_DOWN)
    if first is not None:
        first.wait(patience)
        _batches.depart(name, flight)
    try:
        value = load()
    except BaseException as exc:
        _batches.land(name, flight)
        flight.fail(exc)
        raise
    _batches.land(name, flight)
    flight.finish(value, shared=True)
    return Cached(value, Source.CACHE_DOWN)


def _pause(seconds: float) -> None:
    """Wait up to so long, with full jitter, so that waiters do not come back together."""
    threading.Event().wait(seconds * secrets.randbelow(1001) / 1000)
