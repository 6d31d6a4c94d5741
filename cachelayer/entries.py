"""
What is stored, and what a read returns.

A cached entry is a header with its stamps and times, and the value's bytes after it.
"""

import enum
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import msgspec

from cachelayer.first_level import Guard
from cachelayer.namespace import Key, Namespace

V = TypeVar("V")
MissReason = Literal["absent", "expired", "invalidated", "epoch", "corrupt"]

# A head, read alone, is so long; a header that does not fit is read with its body.
HEAD_BYTES = 1024
_LENGTH_BYTES = 2  # of the header, big-endian, before it
# Past this share of its lifetime an entry is served and loaded again in the background.
_SOFT_SHARE = 0.8


class Bypass(enum.Enum):
    """Whether the caller wants the store's own answer, and whether the cache may keep it."""

    NO = "no"
    REFRESH = "refresh"
    NO_STORE = "no-store"


class Source(enum.Enum):
    """Where an answer came from."""

    HIT = "hit"
    FIRST_LEVEL = "first-level"  # a hit in this process's own copies
    LOADED = "loaded"  # and stored
    COLLAPSED = "collapsed"  # waited for another caller's load
    FENCED = "fenced"  # loaded, not stored: a tag was invalidated during the load, or Redis is full
    BYPASSED = "bypassed"
    STALE = "stale"  # past its time, served because the store does not answer
    CACHE_DOWN = "cache-down"
    UNTRUSTED = "untrusted"  # Redis may not be believed at present
    UNVERIFIED = "unverified"  # a hit whose stamps are right, while PostgreSQL does not answer


@dataclass(frozen=True, slots=True)
class Cached(Generic[V]):
    """A value (None: there is no such thing), where it came from, and its freshness left."""

    value: V | None
    source: Source
    remaining_seconds: int = 0
    head_only: bool = False  # whether the value's body was left unread
    guard: Guard | None = None  # under which the value, or a reply made of it, may be kept
    fresh_ms: int = 0  # for at most so long
    missed: "Lookup[V] | None" = field(default=None, compare=False)  # the look that was a miss


class Overloaded(Exception):
    """Redis does not answer, and as many loads are running as the store may be given."""


class _Header(msgspec.Struct, array_like=True, frozen=True):
    schema: int
    stamps: list[bytes | None]  # in the order of Key.stamp_names
    stored_at_ms: int  # Unix time
    fresh_ms: int  # lifetime, jitter included
    load_ms: float  # what the load took
    origin: str  # from what to load it again, where its name does not tell
    absent: bool  # the store has no such thing
    head: list[str | None] | None  # what split() gave; None: the body is msgpack


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Header)


class Lookup(msgspec.Struct, Generic[V], frozen=True):
    """What one look into Redis brought: a value that may be served, or the reason for none."""

    reason: MissReason | None  # None: fresh
    value: V | None = None
    remaining_ms: int = 0  # freshness left; negative past the TTL
    age_ms: int = 0
    size_bytes: int = 0
    load_ms: float = 0.0
    origin: str = ""
    stale_tags: tuple[str, ...] = ()  # whose stamps are no longer the entry's

    @property
    def fresh(self) -> bool:
        return self.reason is None

    @property
    def copy_ms(self) -> int:
        """For how long a copy may be served: to the soft TTL, so that readers still refresh the entry."""
        return max(0, int(self._soft_ttl_ms) - self.age_ms)

    @property
    def wants_refresh(self) -> bool:
        """
        Whether the value should be loaded again before its time is over.

        XFetch (Vattani et al., VLDB 2015, with beta 1) around the soft TTL: the dearer the load,
        the earlier, and each reader decides by chance, so that they do not come together.
        """
        chance = -math.log(1.0 - random.random())  # noqa: S311  # spreads load, hides nothing
        return self.age_ms + self.load_ms * chance >= self._soft_ttl_ms

    @property
    def _soft_ttl_ms(self) -> float:
        return soft_ttl_ms(self.age_ms + self.remaining_ms)


def encode(
    key: Key[V],
    value: V | None,
    *,
    stamps: Sequence[bytes | None],
    fresh_ms: int,
    load_ms: float = 0.0,
) -> bytes:
    """Return an entry's bytes; stamps in the order of key.stamp_names, fresh_ms its lifetime."""
    head, body = _split(value)
    header = _encoder.encode(
        _Header(
            key.namespace.schema,
            list(stamps),
            int(time.time() * 1000),
            fresh_ms,
            round(load_ms, 2),
            key.origin() if key.origin else "",
            value is None,
            head,
        )
    )
    return len(header).to_bytes(_LENGTH_BYTES, "big") + header + body


def judge(key: Key[V], entry: Any, stamps: list[Any]) -> Lookup[V]:
    """
    Return whether an entry may be served, given the stamps that Redis holds now.

    entry and stamps are bytes or None, as Redis replied. Every stamp must be exactly the one
    that the entry carries: this comparison is the cache's whole claim
    (docs/caching-strategy.md). Unreadable bytes are a miss.
    """
    return _judge(key, entry, stamps, header_only=False)


def judge_header(key: Key[V], beginning: Any, stamps: list[Any]) -> Lookup[V]:
    """Return the same of an entry's beginning, with its whole header: without the value, and of that size."""
    return _judge(key, beginning, stamps, header_only=True)


def _judge(key: Key[V], entry: Any, stamps: list[Any], *, header_only: bool) -> Lookup[V]:
    if entry is None:
        return Lookup("absent")
    try:
        end = _LENGTH_BYTES + int.from_bytes(entry[:_LENGTH_BYTES], "big")
        header = _decoder.decode(entry[_LENGTH_BYTES:end])
        if header.schema != key.namespace.schema:
            return Lookup("epoch", size_bytes=len(entry), origin=header.origin)
        value = (
            None if header.absent or header_only else _join(key.namespace, header.head, entry[end:])
        )
    except (msgspec.MsgspecError, ValueError, TypeError):  # ValueError: of UTF-8 too
        return Lookup("corrupt", size_bytes=len(entry))
    age_ms = int(time.time() * 1000) - header.stored_at_ms
    remaining_ms = header.fresh_ms - age_ms
    reason: MissReason | None = None if remaining_ms > 0 else "expired"
    stale_tags: tuple[str, ...] = ()
    if header.stamps != stamps or None in stamps:
        stale_tags = _differing(key, header.stamps, stamps)
        reason = "epoch" if key.namespace.tag in stale_tags else "invalidated"
    return Lookup(
        reason,
        value,
        remaining_ms,
        age_ms,
        len(entry),
        header.load_ms,
        header.origin,
        stale_tags,
    )


def _differing(key: Key[V], carried: list[bytes | None], now: list[Any]) -> tuple[str, ...]:
    if len(carried) != len(now):
        return key.tags
    return tuple(
        tag
        for tag, had, has in zip(key.tags, carried, now, strict=True)
        if had is None or had != has
    )


def _split(value: Any) -> tuple[list[str | None] | None, bytes]:
    if value is None:
        return None, b""
    if hasattr(value, "split"):
        head, body = value.split()
        return head, body
    return None, _encoder.encode(value)


def _join(namespace: Namespace[V], head: list[str | None] | None, body: bytes) -> V:
    if head is None:
        return namespace.decoder.decode(body)
    joined: V = namespace.value_type.join(head, body)  # type: ignore[attr-defined]  # has split, so it has join
    return joined


def soft_ttl_ms(lifetime_ms: int) -> float:
    """Return the age from which on an entry of that lifetime is refreshed, and no copy is served."""
    return lifetime_ms * _SOFT_SHARE


def jitter() -> float:
    """
    Return 0.9 to 1.0, so that what was loaded together does not expire together.

    Not above: a lifetime is what is promised at most, to clients and of personal data.
    """
    return random.uniform(0.9, 1.0)  # noqa: S311  # spreads load, hides nothing
