"""
The spool's ledger: of each segment that is gone, how many events it had acknowledged, and when.

One JSON object a line: {"segment", "minutes": {minute of Unix time: events}, "dropped", "at"}.
By it activity_reconcile tells whether what was acknowledged is stored.
"""

import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

_NAME: Final = "ledger.jsonl"
_MARK: Final = "dropped"  # a file whose time is that of the last loss: cheaper to look at
_MAX_BYTES: Final = 8 * 1_048_576  # some hundred million events; then the older half goes


class Entry(msgspec.Struct, frozen=True):
    """What one segment had acknowledged, by minute, and how many of them were dropped unshipped."""

    segment: str
    minutes: dict[int, int]
    dropped: int
    at: float  # Unix time at which it was written

    def since(self, minute: int) -> int:
        """Return how many events were acknowledged in that minute or after it."""
        return sum(number for when, number in self.minutes.items() if when >= minute)


def add(folder: Path, segment: str, seconds: Iterable[int], dropped: int) -> None:
    """Append an entry; seconds: of each event that the segment had acknowledged."""
    entry = Entry(segment, Counter(one // 60 for one in seconds), dropped, time.time())
    line = msgspec.json.encode(entry) + b"\n"
    descriptor = os.open(folder / _NAME, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_size > _MAX_BYTES:
            _halve(descriptor)
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
    if dropped:
        (folder / _MARK).touch(0o600)


def entries(folder: Path) -> dict[str, Entry]:
    """Return the entries by segment. One that was written twice, after a crash, counts once."""
    try:
        lines = (folder / _NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    found: dict[str, Entry] = {}
    for line in lines:
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except msgspec.DecodeError:
            continue  # cut off by a full disk
        found.setdefault(entry.segment, entry)
    return found


def dropped(folder: Path) -> int:
    """Return how many events were dropped, as far back as the ledger goes."""
    return sum(entry.dropped for entry in entries(folder).values())


def last_dropped_at(folder: Path) -> float:
    """Return when events were dropped last, in Unix time; 0 where none ever were."""
    try:
        return (folder / _MARK).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _halve(descriptor: int) -> None:
    held = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    kept = held[held.index(b"\n", len(held) // 2) + 1 :]
    os.ftruncate(descriptor, 0)
    os.write(descriptor, kept)
