"""The four round trips of the cache protocol, look, begin, end and unlink, as Redis commands."""

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeVar

import redis
import structlog

from cachelayer import client, entries, hooks, hosts, metrics, slots
from cachelayer.conf import config
from cachelayer.entries import HEAD_BYTES, Lookup
from cachelayer.later import Later
from cachelayer.namespace import STAMP_MARGIN_SECONDS, Key, record_name
from cachelayer.trust import execute

V = TypeVar("V")
log = structlog.get_logger("cachelayer")

# Why a read missed and when a tag was invalidated are kept so long; but of a thing that was not
# there, and is not in its store either, only as long as a stamp that no entry carries.
_RECORD_SECONDS = 3600

# Read or make the stamps, try to take the lease, and look at the entry again. A script, since one
# command costs the client half of what a pipeline of as many does.
# KEYS: lease, entry, record of the miss, stamps...
# ARGV: lease token and its lifetime, the record ('': none) and its lifetime, that of new stamps, new stamps...;
# in ms. Returns whether each stamp was made ('1' or '0' each), whether the lease was taken, entry, stamps...
_BEGIN = """
local made, stamps = '', {}
for i = 4, #KEYS do
  local is_new = redis.call('SET', KEYS[i], ARGV[i + 2], 'PX', ARGV[5], 'NX')
  made = made .. (is_new and '1' or '0')
  stamps[i - 3] = redis.call('GET', KEYS[i])
end
local leased = redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX')
if ARGV[3] ~= '' then redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4]) end
return {made, leased and 1 or 0, redis.call('GET', KEYS[2]), unpack(stamps)}
"""

# Compare the stamps, store, and release the lease as one step, so that "stored" means that no
# invalidation had completed. The entry would be safe without that: with an old stamp it is never
# served; but who waited for the load may be given its value only on that promise.
# Each stamp outlives the entry; one that other entries carry keeps a longer life. Whatever changes a
# stamp kills copies in the first level, also the one that this load makes. So a stamp is made with
# the life that it needs if a value is there, and a quarter more, lest each entry of a tag prolongs
# it; only where nothing was stored, or the thing is absent, the stamps made for that are cut short.
# KEYS: entry, lease, record of the miss, stamps...
# ARGV: entry ('': none), its lifetime, lease token, stamps' least and new lifetimes, the record's, the
# lifetime of stamps that were made for nothing, which this load has made ('1' or '0' each), stamps...; in ms
_END = """
local stored = ARGV[1] == '' and 0 or 1
for i = 4, #KEYS do
  if redis.call('GET', KEYS[i]) ~= ARGV[i + 5] then stored = 0 break end
end
if stored == 1 then
  local reply = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  if type(reply) == 'table' and reply.err then stored = 2 end
end
if stored == 1 and redis.call('PTTL', KEYS[3]) < tonumber(ARGV[6]) then
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
end
local most = stored == 1 and ARGV[5] or ARGV[7]
for i = 4, #KEYS do
  local left = redis.call('PTTL', KEYS[i])
  if stored == 1 and left < tonumber(ARGV[4]) then
    redis.call('PEXPIRE', KEYS[i], ARGV[5])
  elseif left > tonumber(most) and ARGV[8]:sub(i - 3, i - 3) == '1'
    and redis.call('GET', KEYS[i]) == ARGV[i + 5] then
    redis.call('PEXPIRE', KEYS[i], most)
  end
end
if redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('UNLINK', KEYS[2]) end
return stored
"""
Outcome = Literal["fenced", "stored", "refused"]
_OUTCOMES: tuple[Outcome, ...] = ("fenced", "stored", "refused")  # what the script's numbers mean


class LoadTicket(NamedTuple):
    """The stamps as they were before the load, and whether this caller holds the lease."""

    stamps: list[bytes | None]  # None: evicted within the round trip
    made: list[bool]  # which of them were missing
    token: bytes
    leased: bool
    lookup: Lookup[Any]
    jitter: float  # of the lifetime of what is loaded

    @property
    def carried(self) -> list[bytes]:
        """The stamps of an entry; one that was evicted meanwhile equals nothing that may be there now."""
        return [b"" if stamp is None else stamp for stamp in self.stamps]

    def lifetime_ms(self, key: Key[Any], value: Any) -> int:
        """Return for how long the loaded value is fresh."""
        return _fresh_ms(key, self.jitter, is_absent=value is None)


def look(key: Key[V]) -> Lookup[V]:
    """Return what is cached under key, judged by the stamps of now: one MGET. Raises CacheDown."""
    started = time.perf_counter()
    with hooks.observe("look", key.namespace.name) as report:
        entry, *stamps = execute("look", lambda r: r.mget(key.entry_name, *key.stamp_names))
        lookup = entries.judge(key, entry, stamps)
        report(lookup.reason or "hit")
    _log_look(key, lookup, started)
    return lookup


def look_head(key: Key[V]) -> Lookup[V]:
    """
    Return the same without the body, which is not read: one pipeline. Raises CacheDown.

    The entry's head is read before the stamps, so what they allow is allowed at that later
    time. A header longer than a head reads as corrupt.
    """
    started = time.perf_counter()

    def pipeline(r: redis.Redis) -> list[Any]:
        pipe = r.pipeline(transaction=False)
        pipe.getrange(key.entry_name, 0, HEAD_BYTES - 1)
        pipe.mget(*key.stamp_names)
        return pipe.execute()

    with hooks.observe("look", key.namespace.name) as report:
        head, stamps = execute("look", pipeline)
        lookup: Lookup[V] = entries.judge(key, head or None, stamps)
        report(lookup.reason or "hit")
    _log_look(key, lookup, started)
    return lookup


def look_many(keys: Sequence[Key[V]]) -> list[Lookup[V]]:
    """Return what is cached under each key, in their order: one MGET. Raises CacheDown."""
    if not keys:
        return []
    names = [name for key in keys for name in (key.entry_name, *key.stamp_names)]
    with hooks.observe("look", keys[0].namespace.name) as report:
        replies = iter(execute("look", lambda r: r.mget(names)))
        lookups = [
            entries.judge(key, next(replies), [next(replies) for _ in key.stamp_names])
            for key in keys
        ]
        report(_outcome_of_all([lookup.reason or "hit" for lookup in lookups]))
    return lookups


def begin(key: Key[V], *, reason: str = "") -> LoadTicket:
    """
    Read or make the stamps of key's tags, and try to take the lease: one script.

    The entry is looked at again, since another loader may have stored it in the meantime.
    reason is recorded as why the key was missed. Raises CacheDown.
    """
    token, jitter = client.new_stamp(), entries.jitter()
    record = record_name("missed", key.name)
    names = [key.lease_name, key.entry_name, record, *key.stamp_names]
    record_seconds = STAMP_MARGIN_SECONDS if reason == "absent" else _RECORD_SECONDS
    arguments = [
        *(token, config().LEASE_MS),
        *(_recorded(reason) if reason else "", record_seconds * 1000),
        _new_stamp_ms(key, jitter),
        *(client.new_stamp() for _ in key.stamp_names),
    ]
    with hooks.observe("begin", key.namespace.name) as report:
        made, leased, entry, *stamps = execute(
            "begin", lambda r: _begin_script(r)(names, arguments)
        )
        lookup = entries.judge(key, entry, stamps)
        report("found" if lookup.fresh else "leased" if leased else "unleased")
    is_made = [digit == ord("1") for digit in made]
    return LoadTicket(stamps, is_made, token, bool(leased), lookup, jitter)


def begin_many(keys: Sequence[Key[V]]) -> list[LoadTicket]:
    """
    Read or make the stamps of all keys, without leases: one pipeline. Raises CacheDown.

    A pipeline of scripts would have to ask first whether Redis knows them.
    """
    jitters = [entries.jitter() for _ in keys]

    def pipeline(r: redis.Redis) -> list[Any]:
        pipe = r.pipeline(transaction=False)
        for key, jitter in zip(keys, jitters, strict=True):
            _read_or_make(pipe, key, jitter)
        return pipe.execute()

    with hooks.observe("begin", keys[0].namespace.name) as report:
        replies = iter(execute("begin", pipeline))
        report("unleased")
    tickets = []
    for key, jitter in zip(keys, jitters, strict=True):
        pairs = [(bool(next(replies)), next(replies)) for _ in key.tags]
        made, stamps = [made for made, _ in pairs], [stamp for _, stamp in pairs]
        tickets.append(LoadTicket(stamps, made, b"", False, Lookup("absent"), jitter))
    return tickets


def end(key: Key[V], ticket: LoadTicket, value: V | None, *, load_ms: float = 0.0) -> Outcome:
    """
    Store a value if no tag was invalidated since its ticket was drawn, and release the lease.

    Return what became of it: one script. Raises CacheDown.
    """
    return end_many([(key, ticket, value)], load_ms=load_ms)[0]


def end_many(
    loaded: Sequence[tuple[Key[V], LoadTicket, V | None]], *, load_ms: float = 0.0
) -> list[Outcome]:
    """Store several values by one pipeline; otherwise as end. Raises CacheDown."""
    for hook in hooks.before_store:
        hook()
    started = time.perf_counter()
    calls = [_end_call(key, ticket, value, load_ms) for key, ticket, value in loaded]

    def pipeline(r: redis.Redis) -> list[Any]:
        if len(calls) == 1:
            return [_end_script(r)(*calls[0])]
        pipe = r.pipeline(transaction=False)
        for names, arguments in calls:
            _end_script(r)(names, arguments, client=pipe)
        return pipe.execute()

    with hooks.observe("end", loaded[0][0].namespace.name) as report:
        outcomes = [_OUTCOMES[int(reply)] for reply in execute("end", pipeline)]
        report(_outcome_of_all(outcomes))
    for (key, _, _), outcome in zip(loaded, outcomes, strict=True):
        metrics.loads(key.namespace.name, outcome).inc()
        word = "SET" if outcome == "stored" else f"SET {outcome}"
        _log(f"Cache {word}: {key.name}", "end", key.name, started, stored=outcome == "stored")
    return outcomes


def release(key: Key[V], ticket: LoadTicket) -> None:
    """Give the lease up without storing, after a load that raised. Raises CacheDown."""
    call = _script_call(key, ticket, b"", 0, 0, 0, 0)
    client.execute("release", lambda r: _end_script(r)(*call))


def unlink(tags: Sequence[str], *, past_breaker: bool = False) -> str:
    """
    Delete the stamps of tags, and the entries to purge: one UNLINK, which works in a full
    Redis too. Then kill the copies in the first level: on this host by its slots, on others by
    their acknowledgements. Return the server that unlinked. Raises CacheDown.

    When each was deleted is recorded a moment later, where there is room.
    """
    for hook in hooks.before_unlink:
        hook(tags)
    started = time.perf_counter()
    invalidation = hosts.Invalidation(tags)
    reply = client.execute("invalidate", invalidation.run, past_breaker=past_breaker)
    server = client.replied()
    if isinstance(reply, redis.RedisError):
        raise client.CacheDown("invalidate") from reply
    invalidation.judge(reply, slots.overwrite(tags))
    invalidation.await_hosts()
    metrics.INVALIDATED_TAGS.inc(len(tags))
    invalidated_tags.add((tuple(tags), _recorded("")))
    _log("Cache INVALIDATE", "invalidate", list(tags), started)
    return server


def _record_invalidated(invalidations: Sequence[tuple[Sequence[str], str]]) -> None:
    """Record when each tag was invalidated last: one pipeline for many writes, of many to the same lists."""
    last = {tag: recorded for tags, recorded in invalidations for tag in tags}

    def pipeline(r: redis.Redis) -> Any:
        pipe = r.pipeline(transaction=False)
        for tag, recorded in last.items():
            pipe.set(record_name("invalidated", tag), recorded, ex=_RECORD_SECONDS)
        return pipe.execute(raise_on_error=False)

    with contextlib.suppress(client.CacheDown):  # a record is for people; what it is about was done
        client.execute("record", pipeline, past_breaker=True)


invalidated_tags: Final = Later("cache-records", _record_invalidated)


def _read_or_make(pipe: Any, key: Key[Any], jitter: float) -> None:
    """Add two commands for each stamp: make it where it is missing, for the life of a value, then read it."""
    for name in key.stamp_names:
        pipe.set(name, client.new_stamp(), px=_new_stamp_ms(key, jitter), nx=True)
        pipe.get(name)


def _new_stamp_ms(key: Key[Any], jitter: float) -> int:
    """Return the lifetime of a new stamp: that which a value's entry needs."""
    _, new_ms = _stamp_lifetimes_ms(_fresh_ms(key, jitter, is_absent=False), is_absent=False)
    return new_ms


def _fresh_ms(key: Key[Any], jitter: float, *, is_absent: bool) -> int:
    namespace = key.namespace
    seconds = namespace.absent_ttl_seconds if is_absent else namespace.ttl_seconds
    return int(seconds * 1000 * jitter)


def _grace_ms(*, is_absent: bool) -> int:
    return 0 if is_absent else config().GRACE_SECONDS * 1000


def _stamp_lifetimes_ms(fresh_ms: int, *, is_absent: bool) -> tuple[int, int]:
    """Return what a stamp must live at least for an entry that carries it, and what it is given then."""
    least = fresh_ms + _grace_ms(is_absent=is_absent) + STAMP_MARGIN_SECONDS * 1000
    return least, least if is_absent else least * 5 // 4


def _end_call(
    key: Key[V], ticket: LoadTicket, value: V | None, load_ms: float
) -> tuple[list[str], list[Any]]:
    fresh_ms, is_absent = ticket.lifetime_ms(key, value), value is None
    entry = entries.encode(key, value, stamps=ticket.carried, fresh_ms=fresh_ms, load_ms=load_ms)
    lifetime_ms = fresh_ms + _grace_ms(is_absent=is_absent)
    lifetimes_ms = _stamp_lifetimes_ms(fresh_ms, is_absent=is_absent)
    record_ms = 0 if is_absent else _RECORD_SECONDS * 1000
    return _script_call(key, ticket, entry, lifetime_ms, *lifetimes_ms, record_ms)


def _script_call(
    key: Key[Any],
    ticket: LoadTicket,
    entry: bytes,
    entry_ms: int,
    least_ms: int,
    new_ms: int,
    record_ms: int,
) -> tuple[list[str], list[Any]]:
    """Return KEYS and ARGV of the script."""
    names = [key.entry_name, key.lease_name, record_name("missed", key.name), *key.stamp_names]
    lifetimes_ms = [least_ms, new_ms, record_ms, STAMP_MARGIN_SECONDS * 1000]
    made = "".join("1" if made else "0" for made in ticket.made)
    return names, [entry, entry_ms, ticket.token, *lifetimes_ms, made, *ticket.carried]


@functools.cache
def _begin_script(connection: redis.Redis) -> Callable[..., Any]:
    return connection.register_script(_BEGIN)


@functools.cache
def _end_script(connection: redis.Redis) -> Callable[..., Any]:
    return connection.register_script(_END)


def _outcome_of_all(outcomes: Sequence[str]) -> str:
    """Return the outcome of an operation on several keys: mixed, where theirs differ."""
    return outcomes[0] if len(set(outcomes)) == 1 else "mixed"


def _recorded(what: str) -> str:
    return f"{int(time.time() * 1000)} {what}"


def log_copy(key: Key[Any]) -> None:
    """Log that key was found in the first level, as look does; that took no time worth a figure."""
    if log.is_enabled_for(logging.DEBUG):
        event = f"Cache HIT: {key.name}"
        log.debug(event, operation="copy", key=key.name, hit=True, reason=None)


def _log_look(key: Key[Any], lookup: Lookup[Any], started: float) -> None:
    word = "HIT" if lookup.fresh else "MISS"
    event = f"Cache {word}: {key.name}"
    _log(event, "look", key.name, started, hit=lookup.fresh, reason=lookup.reason)


def _log(event: str, operation: str, key: str | list[str], started: float, **facts: Any) -> None:
    """Write one debug line of a cache operation."""
    if log.is_enabled_for(logging.DEBUG):
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        log.debug(event, operation=operation, key=key, duration_ms=duration_ms, **facts)
