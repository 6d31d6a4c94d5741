"""Reading through the cache: get_or_load, get_many, and what they answer when something fails."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import connection

from cachelayer import metrics, popularity, protocol, refresh
from cachelayer.answers import Bypass, Cached, Source
from cachelayer.client import CacheDown
from cachelayer.entries import Found
from cachelayer.http import Representation
from cachelayer.load import load_many, load_past_cache, load_together, load_without_cache
from cachelayer.namespace import Key

V = TypeVar("V")
Accepts = Callable[[Representation], bool]
Tried = tuple[Cached[Representation] | None, Found[Representation] | None]  # see try_hit


def get_or_load(
    key: Key[V],
    load: Callable[[], V | None],
    *,
    bypass: Bypass = Bypass.NO,
    looked: Found[V] | None = None,
) -> Cached[V]:
    """
    Return the value under key, from Redis where a valid copy is, else from load.

    A read that starts after a write's commit was answered never gets an older value. Over all
    processes one caller loads, the others wait for it, at most CACHE_LEASE_MS. load runs in
    this thread, later perhaps once more in a background thread, and returns None for "there is
    no such thing". Inside a transaction the cache is not used. Redis never makes this fail.
    looked is what peek has just brought, so that it is not asked twice. Raises what load raises,
    except where the store does not answer and a copy past its time, but not invalidated, is at
    hand; and Overloaded where Redis is away and the store is asked as much as it may be.
    """
    if bypass is not Bypass.NO or connection.in_atomic_block:
        _count(key, "bypass")
        # What a transaction reads may be uncommitted, or older than what is cached.
        keep = bypass is Bypass.REFRESH and not connection.in_atomic_block
        return load_past_cache(key, load, keep=keep)
    result: str = "degraded"
    try:
        found = looked or protocol.look(key)
        if found.reason is None:
            result = ""  # counted there
            return hit(key, found, load)
        result = found.reason
        cached = load_together(key, load, found)
        if cached.source is Source.STALE:
            result = "stale"
    except CacheDown:
        result = "degraded"
        cached = load_without_cache(key, load)
    finally:
        if result:
            _count(key, result)
    return cached


def try_hit(
    key: Key[V],
    load: Callable[[], V | None],
    *,
    accepts: Callable[[V], bool],
    head_only: bool = False,
) -> tuple[Cached[V] | None, Found[V] | None]:
    """
    Return a fresh copy that accepts approves of, by one round trip and nothing else.

    Where there is none, return instead what was found, for get_or_load's looked: then the
    round trip is not made twice. head_only leaves the body unread; it is empty then.
    """
    if connection.in_atomic_block:
        return None, None
    try:
        found = protocol.look_head(key) if head_only else protocol.look(key)
    except CacheDown:
        return None, None
    if found.reason is None and found.value is not None and accepts(found.value):
        return hit(key, found, load), None
    return None, None if head_only else found


def hit(key: Key[V], found: Found[V], load: Callable[[], V | None] | None = None) -> Cached[V]:
    """Return the answer of a fresh entry; start its background refresh where it is time."""
    _count(key, "hit")
    if load is not None and found.value is not None and found.wants_refresh:
        refresh.refresh(key, load)
    return Cached(found.value, Source.HIT, found.remaining_ms // 1000)


def peek_many(keys: Sequence[Key[V]]) -> Sequence[Found[V] | None]:
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
        found = protocol.look_many(keys)
        missed = [key for key, one in zip(keys, found, strict=True) if not one.fresh]
        begun = protocol.begin_many(missed) if missed else []
    except CacheDown:
        return [Cached(value, Source.CACHE_DOWN) for value in _loaded(keys, load, "degraded")]
    loaded = iter(load_many(missed, begun, load) if missed else [])
    answers = []
    for key, one in zip(keys, found, strict=True):
        answers.append(hit(key, one) if one.fresh else next(loaded))
        if one.reason is not None:
            _count(key, one.reason)
    return answers


def _loaded(
    keys: Sequence[Key[V]],
    load: Callable[[Sequence[Key[V]]], Sequence[V | None]],
    result: str,
) -> Sequence[V | None]:
    for key in keys:
        _count(key, result)
    return load(keys)


def _count(key: Key[V], result: str) -> None:
    namespace = key.namespace.name
    metrics.reads(namespace, result).inc()
    popularity.count(namespace, key.name, result)
