"""
A segment's checkpoint: how many events it has acknowledged, and which of them are done with.

A file of fixed size beside the segment, since a segment that is damaged cannot say what is missing
from it. Little endian:

offset  size  field
     0     4  magic, "TRLC"                               written by the process that records
     4     4  events acknowledged
     8     4  CRC-32 of the 8 bytes before
    12     4  bytes of the segment that are written; 0: all (no checksum: it serves figures only)
    16     8  offset in the segment to read on from       written by whoever ships the segment
    24     4  events known to be in the segment: used where the count of offset 4 is lost
    28     4  events handled: stored by MongoDB, or refused
    32     4  of these, refused
    36     4  CRC-32 of the bitmap
    40     4  CRC-32 of the 24 bytes before
    64  4096  a bitmap: the events handled, by sequence number

Each CRC begins with that of the segment's name, so that another segment's checkpoint is none. A part
whose checksum is wrong counts as not there: then the records say how many they are, and are shipped
again, which MongoDB ignores.

The process that records has the first 16 bytes mapped, and stores them after each event. One that is killed within that store
leaves a wrong checksum beside a segment that is whole.
"""

import contextlib
import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from cachelayer.mapped_file import MappedFile, reserve

# Errors of opening or reading a file that are the file's own fault and permanent.
UNREADABLE: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EIO}
)
EVENTS_MAX: Final = 32_768  # of one segment
SUFFIX: Final = ".checkpoint"
_MAGIC: Final = b"TRLC"
_COUNT: Final = struct.Struct("<4sIII")
_COUNTED_BYTES: Final = 8  # of these, that the checksum is of
_CRC: Final = struct.Struct("<I")
_PROGRESS: Final = struct.Struct("<QIIII")
_PROGRESS_AT: Final = 16
_BITMAP_AT: Final = 64
_BITMAP_BYTES: Final = EVENTS_MAX // 8


class Head(NamedTuple):
    """
    A checkpoint without its bitmap; acknowledged is None where the count is lost.

    written_bytes: how much of the segment is written; 0: all of it.
    """

    acknowledged: int | None
    offset: int
    known: int
    handled: int
    refused: int
    written_bytes: int = 0

    @property
    def expected(self) -> int:
        """How many events the segment has at the least."""
        return max(self.acknowledged or 0, self.known)


class Checkpoint:
    """A checkpoint in memory; save writes the changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seed = _seed(path)
        self.head = Head(None, 0, 0, 0, 0)
        self._bitmap = bytearray(_BITMAP_BYTES)
        with _opened(path, os.O_RDONLY) as descriptor:
            if descriptor is None:
                return
            head, bitmap_crc = _read_head(descriptor, self._seed)
            bitmap = _read(descriptor, _BITMAP_BYTES, _BITMAP_AT)
        if len(bitmap) == _BITMAP_BYTES and zlib.crc32(bitmap, self._seed) == bitmap_crc:
            self.head, self._bitmap = head, bytearray(bitmap)
        else:
            self.head = Head(head.acknowledged, 0, 0, 0, 0, head.written_bytes)

    def is_handled(self, sequence: int) -> bool:
        """Return whether that event was stored or refused."""
        return bool(self._bitmap[sequence >> 3] & 1 << (sequence & 7))

    def save(
        self, sequences: list[int] | None = None, *, offset: int, known: int, refused: int = 0
    ) -> None:
        """
        Remember that these events are handled, how many of them MongoDB has refused, and where
        to read on. Raises OSError.
        """
        for sequence in sequences or ():
            self._bitmap[sequence >> 3] |= 1 << (sequence & 7)
        self.head = Head(
            self.head.acknowledged,
            offset,
            max(known, self.head.known),
            int.from_bytes(self._bitmap).bit_count(),
            self.head.refused + refused,
            self.head.written_bytes,
        )
        with _opened(self._path, os.O_RDWR | os.O_CREAT) as descriptor:
            if descriptor is not None:
                _write_progress(descriptor, self.head, self._bitmap, self._seed)


class Acknowledged:
    """The count of a segment that this process writes to, and a lock on it; close gives that up."""

    def __init__(self, path: Path) -> None:
        """Create the file. Raises OSError, and then there is none."""
        seed = _seed(path)
        self._seed = zlib.crc32(_MAGIC, seed)
        self._descriptor = os.open(
            path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode=0o600
        )
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            reserve(self._descriptor, _BITMAP_AT + _BITMAP_BYTES)
            _write_progress(self._descriptor, Head(0, 0, 0, 0, 0), bytearray(_BITMAP_BYTES), seed)
            self._file = MappedFile(self._descriptor, _PROGRESS_AT)
        except OSError:
            os.close(self._descriptor)
            path.unlink(missing_ok=True)
            raise
        self.write(0, 0)

    @property
    def is_lost(self) -> bool:
        """Whether the file does not have what was written last."""
        return self._file.is_lost

    def write(self, events: int, written_bytes: int) -> None:
        """Store how many events were acknowledged, and how long the segment is now."""
        crc = zlib.crc32(events.to_bytes(4, "little"), self._seed)
        self._file[:] = _COUNT.pack(_MAGIC, events, crc, written_bytes)

    def close(self) -> None:
        """Release the lock, so that another process may go on from here."""
        self._file.close()
        os.close(self._descriptor)


def head_of(path: Path) -> Head | None:
    """Return the head of a checkpoint, from its first 64 bytes; None where it is unreadable."""
    with _opened(path, os.O_RDONLY) as descriptor:
        if descriptor is None:
            return None
        head, bitmap_crc = _read_head(descriptor, _seed(path))
        return None if bitmap_crc is None and head.acknowledged is None else head


def is_held(path: Path) -> bool:
    """Return whether a living process records into the segment of this checkpoint."""
    with _opened(path, os.O_RDONLY) as descriptor:
        if descriptor is None:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int | None]:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except FileNotFoundError:
        yield None
        return
    except OSError as exc:
        if exc.errno not in UNREADABLE:
            raise
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _seed(path: Path) -> int:
    return zlib.crc32(os.fsencode(path.stem))


def _read_head(descriptor: int, seed: int) -> tuple[Head, int | None]:
    """Return the head and the checksum of the bitmap, which is None where the head is damaged."""
    data = _read(descriptor, _BITMAP_AT, 0).ljust(_BITMAP_AT, b"\0")
    magic, acknowledged, _, written_bytes = _COUNT.unpack_from(data)
    is_count = magic == _MAGIC and _crc_follows(data, 0, _COUNTED_BYTES, seed)
    offset, known, handled, refused, bitmap_crc = _PROGRESS.unpack_from(data, _PROGRESS_AT)
    count = acknowledged if is_count and acknowledged <= EVENTS_MAX else None
    if not _crc_follows(data, _PROGRESS_AT, _PROGRESS.size, seed):
        return Head(count, 0, 0, 0, 0, written_bytes), None
    return Head(count, offset, known, handled, refused, written_bytes), bitmap_crc


def _read(descriptor: int, size: int, offset: int) -> bytes:
    """Return what is there; nothing where it cannot be read (a directory, a bad block)."""
    try:
        return os.pread(descriptor, size, offset)
    except OSError as exc:
        if exc.errno not in UNREADABLE:
            raise
        return b""


def _crc_follows(data: bytes, start: int, size: int, seed: int) -> bool:
    end = start + size
    return bool(zlib.crc32(data[start:end], seed) == _CRC.unpack_from(data, end)[0])


def _write_progress(descriptor: int, head: Head, bitmap: bytearray, seed: int) -> None:
    os.pwrite(descriptor, bitmap, _BITMAP_AT)
    progress = _PROGRESS.pack(
        head.offset, head.known, head.handled, head.refused, zlib.crc32(bitmap, seed)
    )
    os.pwrite(descriptor, progress + _CRC.pack(zlib.crc32(progress, seed)), _PROGRESS_AT)
