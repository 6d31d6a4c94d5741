"""Reading through the cache: get_or_load, get_many, and what they answer when something fails."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from django.db import connection

from cachelayer import counts, first_level, metrics, protocol, refresh, trust
from cachelayer.client import CacheDown
from cachelayer.entries import Bypass, Cached, Lookup, Source
from cachelayer.first_level import Guard, copies
from cachelayer.load import (
    load_all,
    load_many,
    load_past_cache,
    load_together,
    load_without_cache,
)
from cachelayer.namespace import Key
from cachelayer.slots import clock

V = TypeVar("V")


class _Copy(NamedTuple, Generic[V]):
    """A value in the first level: its guard, and its ends in the nanoseconds of slots.clock."""

    value: V | None
    guard: Guard
    end: int  # of the copy
    fresh_until: int  # of the entry that it was made of

    def cached(self) -> Cached[V]:
        now = clock()
        seconds = (self.fresh_until - now) // 1_000_000_000
        fresh_ms = (self.end - now) // 1_000_000
        return Cached(self.value, Source.FIRST_LEVEL, seconds, False, self.guard, fresh_ms)


class CachedRead(NamedTuple, Generic[V]):
    """One value that is read through the cache: its key, and what loads it on a miss."""

    key: Key[V]
    load: Callable[[], V | None]

    def get(
        self, *, bypass: Bypass = Bypass.NO, accepts_head: Callable[[V], bool] | None = None
    ) -> Cached[V]:
        """Return the value, as get_or_load does."""
        return get_or_load(self.key, self.load, bypass=bypass, accepts_head=accepts_head)


def get_or_load(
    key: Key[V],
    load: Callable[[], V | None],
    *,
    bypass: Bypass = Bypass.NO,
    accepts_head: Callable[[V], bool] | None = None,
) -> Cached[V]:
    """
    Return the value under key, from this process or from Redis where a valid copy is, else from load.

    A read that starts after a write's commit was answered never gets an older value. Over all
    processes one caller loads, the others wait for it, at most LEASE_MS (cachelayer.conf). load runs in
    this thread, later perhaps once more in a background thread, and returns None for "there is
    no such thing". Inside a transaction the cache is not used. Redis never makes this fail.
    With accepts_head the head of a copy is read first; where accepts_head approves of it, that is
    the value, and its body is not to be used. Raises what load raises, except where the store does not answer
    and a copy past its time, but not invalidated, is at hand; and Overloaded where Redis is away
    and as many loads are running as the store may be given.
    """
    if bypass is not Bypass.NO or connection.in_atomic_block:
        _count(key, "bypass")
        # What a transaction reads may be uncommitted, or older than what is cached.
        keep = bypass is Bypass.REFRESH and not connection.in_atomic_block
        return load_past_cache(key, load, keep=keep)
    copy: _Copy[V] | None = copies.get(key.entry_name)
    if copy is not None:
        metrics.FIRST_LEVEL_HITS.inc()
        _count(key, "hit")
        protocol.log_copy(key)
        return copy.cached()
    return _look_or_load(key, load, accepts_head)


def _look_or_load(
    key: Key[V], load: Callable[[], V | None], accepts_head: Callable[[V], bool] | None
) -> Cached[V]:
    """Do what get_or_load does, without the first level but for keeping there what is found."""
    guard = first_level.guard_of(key)
    result: str = "degraded"
    try:
        # A copy is made of the whole value, which the next caller finds without a round trip.
        if accepts_head is not None and guard is None:
            head = protocol.look_head(key)
            if head.fresh and head.value is not None and accepts_head(head.value):
                result = ""
                return hit(key, head, load, head_only=True)
        lookup = protocol.look(key)
        if lookup.reason is None:
            result = ""  # counted there
            return _kept(key, hit(key, lookup, load, guard=guard), lookup)
        result = lookup.reason
        cached = dataclasses.replace(load_together(key, load, lookup), missed=lookup)
        if cached.source is Source.STALE:
            result = "stale"
    except CacheDown as exc:
        result = "degraded"
        cached = _load_without_cache(key, load, exc)
    finally:
        if result:
            _count(key, result)
    return cached


def _load_without_cache(key: Key[V], load: Callable[[], V | None], reason: CacheDown) -> Cached[V]:
    cached = load_without_cache(key, load)
    if isinstance(reason, trust.Untrusted):
        return dataclasses.replace(cached, source=Source.UNTRUSTED)
    return cached


def hit(
    key: Key[V],
    lookup: Lookup[V],
    load: Callable[[], V | None] | None = None,
    *,
    head_only: bool = False,
    guard: Guard | None = None,
    is_verified: bool | None = None,
) -> Cached[V]:
    """
    Return the answer of a fresh entry; start its background refresh where it is time.

    is_verified: whether the look was under the lease; None: it was this thread's last reply.
    """
    _count(key, "hit")
    if load is not None and lookup.value is not None and lookup.wants_refresh:
        refresh.refresh(key, load)
    seconds = lookup.remaining_ms // 1000
    if not (trust.is_verified() if is_verified is None else is_verified):
        return Cached(lookup.value, Source.UNVERIFIED, seconds, head_only)
    return Cached(lookup.value, Source.HIT, seconds, head_only, guard, lookup.copy_ms)


def _kept(key: Key[V], cached: Cached[V], lookup: Lookup[V]) -> Cached[V]:
    """Keep the value of a hit in the first level, where it may be; return the same."""
    guard = cached.guard
    if guard is not None and cached.source is Source.HIT:
        now = clock()
        copy = _Copy(
            cached.value,
            guard,
            now + cached.fresh_ms * 1_000_000,
            now + lookup.remaining_ms * 1_000_000,
        )
        copies.put(key.entry_name, copy, lookup.size_bytes, guard, cached.fresh_ms / 1000)
    return cached


def peek_many(keys: Sequence[Key[V]]) -> Sequence[Lookup[V] | None]:
    """Return what is cached under each key, in one round trip; None where Redis does not answer."""
    try:
        return protocol.look_many(keys)
    except CacheDown:
        return [None] * len(keys)


def get_many(
    keys: Sequence[Key[V]], load: Callable[[Sequence[Key[V]]], Sequence[V | None]]
) -> list[Cached[V]]:
    """
    Return the value under each key, as get_or_load does, but all misses by one load.

    load is given the missed keys and returns their values in the same order, None for what
    there is not. Four round trips at most, however many keys; no one waits for other loaders,
    so a key may be loaded twice at the same time, which is safe. Raises what load raises.
    """
    if connection.in_atomic_block:
        return [Cached(value, Source.BYPASSED) for value in _loaded(keys, load, "bypass")]
    try:
        lookups = protocol.look_many(keys)
        is_verified = trust.is_verified()  # of this look, not of what follows
        missed = [key for key, lookup in zip(keys, lookups, strict=True) if not lookup.fresh]
        tickets = protocol.begin_many(missed) if missed else []
    except CacheDown:
        return [Cached(value, Source.CACHE_DOWN) for value in _loaded(keys, load, "degraded")]
    loaded = iter(load_many(missed, tickets, load) if missed else [])
    results = []
    for key, lookup in zip(keys, lookups, strict=True):
        results.append(hit(key, lookup, is_verified=is_verified) if lookup.fresh else next(loaded))
        if lookup.reason is not None:
            _count(key, lookup.reason)
    return results


def _loaded(
    keys: Sequence[Key[V]],
    load: Callable[[Sequence[Key[V]]], Sequence[V | None]],
    result: str,
) -> Sequence[V | None]:
    for key in keys:
        _count(key, result)
    return load_all(keys, load)


def _count(key: Key[V], result: str) -> None:
    counts.count(key.namespace.name, key.name, result)
