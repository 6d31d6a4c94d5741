"""What a read answers: the value, and where it came from."""

import enum
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


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
    FENCED = "fenced"  # loaded, not stored: a tag was invalidated during the load, or Redis is full
    BYPASSED = "bypassed"
    STALE = "stale"  # past its time, served because the store does not answer
    CACHE_DOWN = "cache-down"


@dataclass(frozen=True, slots=True)
class Cached(Generic[V]):
    """A value (None: there is no such thing), where it came from, and its freshness left."""

    value: V | None
    source: Source
    remaining_seconds: int = 0
    head_only: bool = False  # whether the value's body was left unread


class Overloaded(Exception):
    """Redis does not answer, and as many loads run as the store is to be asked at once."""
