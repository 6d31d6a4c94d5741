"""
The spool's ledger: for each deleted segment, how many events it had acknowledged, and when.

One JSON object a line: {"segment", "minutes": {minute of Unix time: events}, "dropped", "at",
"set_aside"}. activity_reconcile compares it with MongoDB.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

_NAME: Final = "ledger.jsonl"
_MARK: Final = "dropped"  # a file whose time is that of the last loss: cheaper to look at
_MAX_BYTES: Final = 8 * 1_048_576  # some hundred million events; then the older half goes


class Entry(msgspec.Struct, frozen=True):
    """
    What one segment had acknowledged, by minute.

    dropped: how many of them were deleted unshipped; set_aside: how many could not be read, or were
    refused by MongoDB.
    """

    segment: str
    minutes: dict[int, int]
    dropped: int
    at: float  # Unix time at which it was written
    set_aside: int = 0

    def since(self, minute: int) -> int:
        """Return how many events were acknowledged in that minute or after it."""
        return sum(number for when, number in self.minutes.items() if when >= minute)


_entry: Final = msgspec.json.Decoder(Entry)


def add(
    folder: Path, segment: str, seconds: Iterable[int], dropped: int, *, set_aside: int = 0
) -> None:
    """
    Append an entry; seconds: of each event that the segment had acknowledged.

    Raises OSError; then there is no entry.
    """
    minutes = Counter(moment // 60 for moment in seconds)
    entry = Entry(segment, minutes, dropped, time.time(), set_aside)
    line = msgspec.json.encode(entry) + b"\n"
    path = folder / _NAME
    with _locked(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # a full disk has cut the last one off
        if size > _MAX_BYTES:
            _replace(path, _newer_half(descriptor, size) + line)
        else:
            _write_whole(descriptor, line)
    if dropped:
        (folder / _MARK).touch(0o600)


def entries(folder: Path) -> dict[str, Entry]:
    """
    Return the entries by segment.

    Of one that was written twice the last counts: a process died before it had deleted the segment,
    or somebody gave a file that was set aside its name back.
    """
    try:
        lines = (folder / _NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    by_segment: dict[str, Entry] = {}
    for line in lines:
        try:
            entry = _entry.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # cut off by a full disk, or damaged
        by_segment[entry.segment] = entry
    return by_segment


def dropped(folder: Path) -> int:
    """Return how many events were dropped, as far back as the ledger goes."""
    return sum(entry.dropped for entry in entries(folder).values())


def last_dropped_at(folder: Path) -> float:
    """Return when events were dropped last, in Unix time; 0 where none ever were."""
    try:
        return (folder / _MARK).stat().st_mtime
    except FileNotFoundError:
        return 0.0


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open the ledger for appending, under a lock, and not one that was replaced meanwhile."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _newer_half(descriptor: int, size: int) -> bytes:
    content = os.pread(descriptor, size, 0)
    return content[content.find(b"\n", size // 2) + 1 :]


def _replace(path: Path, content: bytes) -> None:
    """Put new content in the file's place, all or nothing, whatever dies meanwhile."""
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        _write_whole(descriptor, content)
        os.fsync(descriptor)  # else a power failure may leave the new name with nothing in it
    finally:
        os.close(descriptor)
    beside.rename(path)


def _write_whole(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) < len(data):
        raise OSError(errno.ENOSPC, "the disk is full")
