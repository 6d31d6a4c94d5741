"""
What a process keeps of what it has answered, for as long as nothing of it was invalidated.

The rules are those of docs/adr/0023-the-first-level.md.
"""

import functools
import operator
import threading
from collections.abc import Callable, Hashable
from time import clock_gettime_ns
from typing import Any, Final

from django.db import connection

from cachelayer import slots, trust
from cachelayer.conf import config
from cachelayer.host_clock import SINCE_BOOT
from cachelayer.namespace import Key
from cachelayer.slots import EPOCH, LISTENING, REASON, SERVER, clock

_NANOSECONDS: Final = 1_000_000_000
# What a copy takes beside its payload: guard, slot values, its place in a table.
OVERHEAD_BYTES: Final = 1_000
_LARGEST_SHARE: Final = 8  # a payload larger than this part of the bound is not kept


class Guard:
    """
    What must not have changed since before the look in Redis began.

    That is the generation of trust, the epoch, and the slots of all tags and of the key. values are what read,
    applied to the words of the file of slots, returned then.
    """

    __slots__ = ("generation", "read", "values")

    def __init__(self, generation: int, read: Callable[[Any], Any], values: Any) -> None:
        self.generation = generation
        self.read = read
        self.values = values


def guard_of(key: Key[Any]) -> Guard | None:
    """
    Return the guard of what is about to be looked up under key, to be drawn before the look.

    None: nothing may be kept, because the level is off, or within a transaction.
    """
    words = slots.words
    if words is None or not clock() < words[LISTENING] or not config().FIRST_LEVEL_BYTES:
        return None
    generation = trust.generation
    if not trust.holds() or connection.in_atomic_block:
        return None
    # Of the key itself too: what is purged, or refreshed by a reader, has no other copies left.
    read = operator.itemgetter(EPOCH, *map(slots.slot_of, key.tags), slots.slot_of(key.purge))
    values = read(words)
    # After the epoch was read: a listener that goes over to another server says so, then ends it.
    return Guard(generation, read, values) if _hears_the_server(words) else None


def reason_off() -> str | None:
    """Return why no copy may be served, None where it may."""
    words = slots.words
    if not config().FIRST_LEVEL_BYTES:
        return "FIRST_LEVEL_BYTES is 0"
    if words is None:
        return "no file of slots"
    if not clock() < words[LISTENING]:
        return slots.REASONS[words[REASON] % len(slots.REASONS)]
    if not trust.holds():
        return "no lease"
    if not _hears_the_server(words):
        return "the listener hears another server"
    return None


def _hears_the_server(words: "memoryview[int]") -> bool:
    """Return whether the listener is connected to the server of the lease: both stay so for a copy's life."""
    return words[SERVER] == _number_of_server(trust.lease.server)


_number_of_server = functools.lru_cache(8)(slots.number_of)


# A copy: payload, its end in clock()'s time, the guard's three parts, its size in bytes.
_Copy = tuple[Any, int, int, Callable[[Any], Any], Any, int]


class Copies:
    """
    Copies of one process, bounded in bytes by FIRST_LEVEL_BYTES.

    Of two tables the young one is filled until it has half of the bytes; then the old one is
    dropped, and the young one takes its place. A copy that is served from the old one moves to the
    young one, so what is read stays.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()  # of the tables and their sizes; get does without
        self._young: dict[Hashable, _Copy] = {}
        self._old: dict[Hashable, _Copy] = {}
        self._young_bytes = self._old_bytes = 0
        self.evictions = 0

    def get(self, key: Hashable) -> Any | None:
        """Return the payload kept under key, where it may be served now."""
        copy = self._young.get(key)
        if copy is None:
            copy = self._old.get(key)
            if copy is None:
                return None
            self._rejuvenate(key, copy)
        payload, end, generation, read, values, _ = copy
        words = slots.words
        if words is None:
            return None
        # In this order, so that all of it held when the clock was read: a generation is one
        # unbroken lease, and slots never have an earlier value again.
        now = clock_gettime_ns(SINCE_BOOT)
        if (
            now < words[LISTENING] and now < trust.lease.deadline * 1e9
        ):  # trust.holds(), by one clock
            if now < end and generation == trust.generation and read(words) == values:
                return payload
            self._discard(key, copy)
        return None

    def put(
        self, key: Hashable, payload: Any, size_bytes: int, guard: Guard, fresh_seconds: float
    ) -> bool:
        """
        Keep a payload, which is not None and will not change, for at most so long.

        Return whether it is kept: not where it is too large, or not fresh any more.
        """
        bound = config().FIRST_LEVEL_BYTES
        size = size_bytes + OVERHEAD_BYTES
        if fresh_seconds <= 0 or size > bound // _LARGEST_SHARE:
            return False
        end = clock() + int(fresh_seconds * _NANOSECONDS)
        with self._changing:
            self._remove(key)
            self._add(
                key, (payload, end, guard.generation, guard.read, guard.values, size), bound // 2
            )
        return True

    def sweep(self) -> None:
        """Drop the copies that may never be served again: what was purged leaves memory so."""
        words, now = slots.words, clock()
        for table in (self._young, self._old):
            for key, copy in list(table.items()):
                _, end, generation, read, values, _ = copy
                if (
                    words is None
                    or now >= end
                    or generation != trust.generation
                    or read(words) != values
                ):
                    self._discard(key, copy)

    def clear(self) -> None:
        """Drop all copies."""
        with self._changing:
            self._young, self._old = {}, {}
            self._young_bytes = self._old_bytes = 0

    def figures(self) -> dict[str, int]:
        """Return how many copies there are in this process, their bytes, and how many were evicted."""
        return {
            "copies": len(self._young) + len(self._old),
            "bytes": self._young_bytes + self._old_bytes,
            "evictions": self.evictions,
        }

    def _add(self, key: Hashable, copy: _Copy, most_bytes: int) -> None:
        if self._young_bytes + copy[-1] > most_bytes:
            self.evictions += len(self._old)
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young[key] = copy
        self._young_bytes += copy[-1]

    def _remove(self, key: Hashable) -> None:
        copy = self._young.pop(key, None)
        if copy is not None:
            self._young_bytes -= copy[-1]
        copy = self._old.pop(key, None)
        if copy is not None:
            self._old_bytes -= copy[-1]

    def _discard(self, key: Hashable, copy: _Copy) -> None:
        with self._changing:
            if self._young.get(key) is copy or self._old.get(key) is copy:
                self._remove(key)

    def _rejuvenate(self, key: Hashable, copy: _Copy) -> None:
        with self._changing:
            if self._old.get(key) is copy:
                self._remove(key)
                self._add(key, copy, config().FIRST_LEVEL_BYTES // 2)


copies = Copies()
