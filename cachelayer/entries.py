"""The layout of a cached entry: its stamps, its times, and the value as msgpack."""

import time
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from cachelayer.namespaces import Key

V = TypeVar("V")
MissReason = Literal["absent", "expired", "invalidated", "schema", "corrupt"]


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    schema: int
    stamps: list[bytes | None]  # in the order of Key.stamp_names
    stored_at_ms: int  # Unix time
    fresh_ms: int  # lifetime, jitter included
    value: msgspec.Raw  # of the namespace's type; nil: the store has no such thing


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)


class Found(msgspec.Struct, Generic[V], frozen=True):
    """What one look into Redis brought: a value that may be served, or the reason for none."""

    reason: MissReason | None  # None: fresh
    value: V | None = None
    remaining_ms: int = 0  # freshness left; negative past the TTL
    age_ms: int = 0
    size_bytes: int = 0

    @property
    def fresh(self) -> bool:
        return self.reason is None

    @property
    def servable_when_store_is_down(self) -> bool:
        """Whether no write has replaced the value, though its time is over."""
        return self.reason in (None, "expired")


def encode(key: Key[V], value: V | None, *, stamps: Sequence[bytes | None], fresh_ms: int) -> bytes:
    """Return an entry's bytes; stamps in the order of key.stamp_names, fresh_ms its lifetime."""
    raw = msgspec.Raw(key.namespace.encoder.encode(value))
    return _encoder.encode(
        _Wire(key.namespace.schema, list(stamps), int(time.time() * 1000), fresh_ms, raw)
    )


def judge(key: Key[V], entry: Any, stamps: list[Any]) -> Found[V]:
    """
    Return whether an entry may be served, given the stamps that Redis holds now.

    entry and stamps are bytes or None, as Redis replied. Every stamp must be exactly the one that the entry carries: this comparison is the
    cache's whole claim (docs/caching-strategy.md). Unreadable bytes are a miss.
    """
    if entry is None:
        return Found("absent")
    try:
        wire = _decoder.decode(entry)
        if wire.schema != key.namespace.schema:
            return Found("schema")
        if wire.stamps != stamps:
            return Found("invalidated")
        value = key.namespace.decoder.decode(wire.value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Found("corrupt")
    age_ms = int(time.time() * 1000) - wire.stored_at_ms
    remaining_ms = wire.fresh_ms - age_ms
    return Found(None if remaining_ms > 0 else "expired", value, remaining_ms, age_ms, len(entry))
