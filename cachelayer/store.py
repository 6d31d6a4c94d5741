"""The four round trips of the cache protocol: look, begin, end, unlink. The only module that speaks to Redis."""

import functools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import redis
import structlog
from django.conf import settings
from django_redis import get_redis_connection

from cachelayer import entries, timings
from cachelayer.breaker import Breaker
from cachelayer.entries import Found
from cachelayer.namespaces import STAMP_TTL_SECONDS, Key

T = TypeVar("T")
V = TypeVar("V")
log = structlog.get_logger("cachelayer")

_STAMP_BYTES = 8  # random, never reused

# Compare the stamps, store, and release the lease as one step, so that "stored" means that no
# invalidation had completed. The entry would be safe without that: with an old stamp it is never
# served; but who waited for the load may be given its value only on that promise.
# KEYS: entry, lease, stamps...; ARGV: entry, lifetime in ms, lease token, stamps...
_END = """
local stored = 1
for i = 3, #KEYS do
  if redis.call('GET', KEYS[i]) ~= ARGV[i + 1] then stored = 0 break end
end
if stored == 1 then
  local reply = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  if type(reply) == 'table' and reply.err then stored = 0 end
end
if redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('UNLINK', KEYS[2]) end
return stored
"""


class CacheDown(Exception):
    """Redis did not answer, or is not asked while the breaker is open."""


class Begun(NamedTuple):
    """The stamps as they were before the load, and whether this caller holds the lease."""

    stamps: list[bytes | None]  # None: evicted within the round trip
    token: bytes
    leased: bool
    found: Found[Any]


def look(key: Key[V]) -> Found[V]:
    """Return what is cached under key, judged by the stamps of now: one MGET. Raises CacheDown."""
    started = time.perf_counter()
    entry, *stamps = _ask("look", lambda r: r.mget(key.entry_name, *key.stamp_names))
    found = entries.judge(key, entry, stamps)
    word = "HIT" if found.fresh else "MISS"
    _log(
        f"Cache {word}: {key.name}", "look", key.name, started, hit=found.fresh, reason=found.reason
    )
    return found


def look_many(keys: Sequence[Key[V]]) -> list[Found[V]]:
    """Return what is cached under each key, in their order: one MGET. Raises CacheDown."""
    if not keys:
        return []
    names = [name for key in keys for name in (key.entry_name, *key.stamp_names)]
    replies = iter(_ask("look", lambda r: r.mget(names)))
    return [
        entries.judge(key, next(replies), [next(replies) for _ in key.stamp_names]) for key in keys
    ]


def begin(key: Key[V]) -> Begun:
    """
    Read or make the stamps of key's tags, and try to take the lease: one pipeline.

    The entry is looked at again, since another loader may have stored it in the meantime.
    Raises CacheDown.
    """
    token = secrets.token_bytes(_STAMP_BYTES)

    def pipeline(client: redis.Redis) -> list[Any]:
        pipe = client.pipeline(transaction=False)
        for name in key.stamp_names:
            pipe.set(name, secrets.token_bytes(_STAMP_BYTES), ex=STAMP_TTL_SECONDS, nx=True)
            pipe.getex(name, ex=STAMP_TTL_SECONDS)
        pipe.set(key.lease_name, token, px=settings.CACHE_LEASE_MS, nx=True)
        pipe.get(key.entry_name)
        return pipe.execute()

    *stamp_replies, leased, entry = _ask("begin", pipeline)
    stamps = stamp_replies[1::2]
    return Begun(stamps, token, bool(leased), entries.judge(key, entry, stamps))


def end(key: Key[V], begun: Begun, value: V | None) -> bool:
    """
    Store a value loaded after begun, if no tag was invalidated since, and release the lease.

    Return whether it was stored: one script. Raises CacheDown.
    """
    if None in begun.stamps:
        release(key, begun)
        return False
    namespace = key.namespace
    seconds = namespace.absent_ttl_seconds if value is None else namespace.ttl_seconds
    fresh_ms = int(seconds * 1000 * _jitter())
    grace_ms = 0 if value is None else settings.CACHE_GRACE_SECONDS * 1000
    entry = entries.encode(key, value, stamps=begun.stamps, fresh_ms=fresh_ms)
    started = time.perf_counter()
    stored = bool(
        _ask(
            "end",
            lambda r: _end_script(r)(
                keys=[key.entry_name, key.lease_name, *key.stamp_names],
                args=[entry, fresh_ms + grace_ms, begun.token, *begun.stamps],
            ),
        )
    )
    _log(
        f"Cache {'SET' if stored else 'SET refused'}: {key.name}",
        "end",
        key.name,
        started,
        stored=stored,
    )
    return stored


def release(key: Key[V], begun: Begun) -> None:
    """Give the lease up without storing, after a load that raised. Raises CacheDown."""
    # A stamp that no one holds: nothing can be stored by this call.
    _ask(
        "release",
        lambda r: _end_script(r)(
            keys=[key.entry_name, key.lease_name, key.stamp_names[0]],
            args=[b"", 1, begun.token, b""],
        ),
    )


def unlink(stamp_names: Sequence[str]) -> None:
    """Delete stamps: one UNLINK, which works in a full Redis too. Raises CacheDown."""
    started = time.perf_counter()
    _ask("invalidate", lambda r: r.unlink(*stamp_names))
    _log("Cache INVALIDATE", "invalidate", list(stamp_names), started)


def leave_undelivered(stamp_names: Sequence[str], reason: Exception) -> None:
    """
    Keep stamps that could not be deleted, and distrust the cache until they are.

    The breaker opens, and closes only after they were unlinked.
    """
    with _undelivered_lock:
        _undelivered.update(stamp_names)
    breaker.failed(reason, opens=True)


def ping() -> None:
    """Ask Redis whether it is there, past the breaker. Raises redis.RedisError where it is not."""
    _client().ping()


def _recover() -> None:
    """Deliver the undelivered invalidations; raise redis.RedisError where Redis does not answer."""
    ping()
    with _undelivered_lock:
        waiting = list(_undelivered)
    if waiting:
        _client().unlink(*waiting)
        with _undelivered_lock:
            _undelivered.difference_update(waiting)


breaker = Breaker("Cache", _recover)
_undelivered: set[str] = set()
_undelivered_lock = threading.Lock()


@functools.cache
def _client() -> redis.Redis:
    client: redis.Redis = get_redis_connection("default")
    return client


@functools.cache
def _end_script(client: redis.Redis) -> Callable[..., Any]:
    return client.register_script(_END)


def _ask(operation: str, command: Callable[[redis.Redis], T]) -> T:
    """Run a command on Redis; count its time and its outcome. Raises CacheDown."""
    if breaker.is_open:
        raise CacheDown(operation)
    started = time.perf_counter()
    try:
        reply = command(_client())
    except redis.RedisError as exc:
        # A refused or broken connection is certain; a slow answer may be an accident.
        refused = isinstance(exc, redis.ConnectionError)
        breaker.failed(exc, opens=refused)
        raise CacheDown(operation) from exc
    finally:
        timings.add("redis", time.perf_counter() - started)
    breaker.succeeded()
    return reply


def _log(event: str, operation: str, key: str | list[str], started: float, **facts: Any) -> None:
    """Write one debug line of a cache operation."""
    if log.is_enabled_for(logging.DEBUG):
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        log.debug(event, operation=operation, key=key, duration_ms=duration_ms, **facts)


def _jitter() -> float:
    """Return 0.9 to 1.1, so that what was loaded together does not expire together."""
    return 0.9 + secrets.randbelow(2001) / 10_000
