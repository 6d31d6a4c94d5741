"""
The spool: events on the local disk from when they are acknowledged until MongoDB has them.

A segment is one file of one process: a header, then records. A record is the CRC-32 of a BSON
document, and the document, which begins with its own length and its _id. The header says up to
where the segment was shipped. Its writer holds a lock on it (flock), which the kernel takes away
when the process dies, however it dies: whoever gets the lock may ship the rest and delete it.

Events outlive their process, MongoDB and a restart. They are not synced one by one, so that a
power failure may take those that the kernel had not written and the shipper not shipped yet
(docs/adr/0007-the-spool.md).
"""

import contextlib
import errno
import fcntl
import os
import secrets
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import bson
import structlog
from bson import ObjectId

from activity import ledger, metrics

log = structlog.get_logger("activity")

SEGMENT_BYTES: Final = 1_048_576
_HEADER: Final = struct.Struct("<4sIQ")  # magic, version, offset of the first record not shipped
_MAGIC: Final = b"TRLS"
_VERSION: Final = 1
_CRC: Final = struct.Struct("<I")
_LENGTH: Final = struct.Struct("<I")
_ID_AT: Final = slice(9, 21)  # in a document: its length, 0x07, "_id", NUL, the 12 bytes
_SMALLEST_DOCUMENT: Final = 22
_SUFFIX: Final = ".seg"


class Segment:
    """An open segment: read, and where shipped, by whoever may."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @property
    def name(self) -> str:
        """The ten hexadecimal digits that every event of the segment has in its id."""
        return self.path.stem.partition("-")[2]

    def shipped_to(self) -> int:
        """Return the offset of the first record that was not shipped."""
        head = os.pread(self._descriptor, _HEADER.size, 0)
        if len(head) < _HEADER.size:
            return _HEADER.size
        magic, version, offset = _HEADER.unpack(head)
        return int(offset) if (magic, version) == (_MAGIC, _VERSION) else _HEADER.size

    def set_shipped_to(self, offset: int) -> None:
        """Remember how far it was shipped. Forgotten, it is shipped again, which does no harm."""
        os.pwrite(self._descriptor, _HEADER.pack(_MAGIC, _VERSION, offset), 0)

    def records(self, offset: int = _HEADER.size) -> Iterator[tuple[bytes, int]]:
        """
        Yield each document from offset on, with the offset behind it, to the last whole one.

        A record that was cut off ends it, and so does one that is not what was written: what
        comes after it cannot be found.
        """
        rest = os.fstat(self._descriptor).st_size - offset
        held = os.pread(self._descriptor, max(rest, 0), offset)
        at = 0
        while len(held) - at >= _CRC.size + _SMALLEST_DOCUMENT:
            start = at + _CRC.size
            end = start + _LENGTH.unpack_from(held, start)[0]
            document = held[start:end]
            if end > len(held) or zlib.crc32(document) != _CRC.unpack_from(held, at)[0]:
                break
            at = end
            yield document, offset + at

    def waiting(self) -> int:
        """Return how many events are not shipped."""
        return sum(1 for _ in self.records(self.shipped_to()))

    def delete(self, *, dropped: int = 0) -> None:
        """Write into the ledger what was acknowledged here, then delete the file."""
        ledger.add(
            self.path.parent, self.name, (seconds_of(one) for one, _ in self.records()), dropped
        )
        self.path.unlink(missing_ok=True)


class Spool:
    """Where the threads of this process append; made on first use, so after any fork."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._descriptor = -1
        self._size = self._number = self._named_at_ms = 0
        self._identity = b""
        self.current: Path | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def append(self, event: dict[str, Any]) -> ObjectId:
        """
        Keep the event; once this returns it outlives the process. Return its id.

        event: the fields of ActivityEvent but _id and timestamp, which are now. Raises OSError
        where the disk takes nothing, and what BSON cannot hold; then nothing was kept.
        """
        now = time.time()
        with self._lock:
            if self._descriptor < 0:
                self._open(now)
            identity = ObjectId(
                struct.pack(">I", int(now)) + self._identity + self._number.to_bytes(3, "big")
            )
            timestamp = datetime.fromtimestamp(now, UTC)
            document = bson.encode({"_id": identity, **event, "timestamp": timestamp})
            self._write(_CRC.pack(zlib.crc32(document)) + document)
            self._number += 1
            if self._size >= SEGMENT_BYTES:
                self._close()
        metrics.RECORDED.inc()
        return identity

    def close(self) -> None:
        """Give the segment up to whoever ships it first."""
        with self._lock:
            self._close()

    def _open(self, now: float) -> None:
        make_room(self.folder, self.max_bytes)
        identity = secrets.token_bytes(5)
        self._named_at_ms = max(int(now * 1000), self._named_at_ms + 1)  # names are in order of age
        path = self.folder / f"{self._named_at_ms:013d}-{identity.hex()}{_SUFFIX}"
        # Locked before it has the name by which others look for it.
        unnamed = path.with_suffix(".new")
        descriptor = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _write_whole(descriptor, _HEADER.pack(_MAGIC, _VERSION, _HEADER.size))
            unnamed.rename(path)
        except OSError:
            os.close(descriptor)
            unnamed.unlink(missing_ok=True)
            raise
        self._descriptor, self._identity, self.current = descriptor, identity, path
        self._size, self._number = _HEADER.size, 0

    def _write(self, data: bytes) -> None:
        """Append all of it or nothing."""
        try:
            _write_whole(self._descriptor, data)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self.current = -1, None


def _write_whole(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) < len(data):
        raise OSError(errno.ENOSPC, "the disk is full")


def segments(folder: Path) -> list[Path]:
    """Return the segments' files, the oldest first."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


@contextlib.contextmanager
def opened(path: Path, *, adopt: bool) -> Iterator[Segment | None]:
    """
    Open a segment; None where it is gone or, with adopt, where a living process has it.

    adopt: take its lock, so that nobody else ships or deletes it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield None
        return
    try:
        yield Segment(path, descriptor) if not adopt or _locked(path, descriptor) else None
    finally:
        os.close(descriptor)


def _locked(path: Path, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def make_room(folder: Path, max_bytes: int) -> None:
    """
    Drop the oldest segments until another one fits into max_bytes.

    Those that living processes write to are left, one each; so there may be that much more.
    """
    sizes = {path: _size(path) for path in segments(folder)}
    for path in sorted(sizes):
        if sum(sizes.values()) + SEGMENT_BYTES <= max_bytes:
            return
        with opened(path, adopt=True) as segment:
            if segment is None:
                continue
            dropped = segment.waiting()
            segment.delete(dropped=dropped)
        del sizes[path]
        if dropped:
            metrics.DROPPED.inc(dropped)
            log.warning("events dropped", events=dropped, reason="the spool is full")


def waiting(folder: Path) -> tuple[int, int, float]:
    """Return events not shipped, their bytes, and the age of the oldest in seconds (0: none)."""
    events = size = 0
    oldest: int | None = None
    for path in segments(folder):
        with opened(path, adopt=False) as segment:
            if segment is None:
                continue
            start = end = segment.shipped_to()
            for document, end in segment.records(start):  # noqa: B007  # the last one is meant
                events += 1
                seconds = seconds_of(document)
                oldest = seconds if oldest is None else min(oldest, seconds)
            size += end - start
    age = 0.0 if oldest is None else max(0.0, time.time() - oldest)
    return events, size, age


def seconds_of(document: bytes) -> int:
    """Return when an event was recorded, in seconds of Unix time, without decoding it."""
    return int.from_bytes(document[_ID_AT][:4], "big")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
