"""
The spool: events on the local disk from when they are acknowledged until MongoDB has them.

A segment is one file of one process, to which it only appends: a header of 16 bytes (magic "TRLS",
version 1, 8 bytes no longer used), then records. A record is the CRC-32 of a BSON document,
and the document, whose first bytes are always the same fields. Little endian, unless said:

offset  size  field
     0     4  CRC-32 of the document, stored after all else; 0: there is no record
     4     4  length of the document in bytes
     8     5  07 "_id" 00, the type and name of the first element: a mark to look for
    13     4  seconds of Unix time, big endian: here begins the event's ObjectId
    17     5  the segment's ten digits
    22     3  sequence number, big endian
    25        the other elements

So a reader that meets anything else than a record goes on at the next mark whose record has the
right checksum, and knows by the sequence numbers what is missing. No text in an event can pass for a
record of its segment: among the digits is a byte that UTF-8 does not have.

While its process lives the file has its full size, zeros and at the very end the mark "TRLE": it is
mapped into memory, and storing there is all that an append does. The process cuts the unused space
off when it closes the segment. Where it was killed, zeros after the last record and that mark say
that nothing is missing there.

Beside each segment a checkpoint (activity.checkpoint) says how many events it has acknowledged and
which are shipped. The writer holds a lock on both (flock), which the kernel takes away when the
process dies, however it dies: whoever gets the lock may ship the rest and delete the files. What
cannot be read is set aside: the segment becomes a file *.N.damaged, which may hold N acknowledged
events (docs/adr/0007-the-spool.md).
"""

import contextlib
import errno
import fcntl
import math
import os
import re
import secrets
import stat
import struct
import threading
import time
import weakref
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import bson
import structlog
from bson import ObjectId

from activity import checkpoint, ledger, metrics
from activity.checkpoint import Acknowledged, Checkpoint
from cachelayer.mapped_file import MappedFile, reserve

log = structlog.get_logger("activity")

SEGMENT_BYTES: Final = 1_048_576
EVENT_MAX_BYTES: Final = 1_048_576  # a length beyond it is damage
# What this process adds to an event's elements, in the order of the document.
_HEAD: Final = struct.Struct("<I5s")
_IDENTITY: Final = struct.Struct(">IQ")
_TAIL: Final = struct.Struct("<11sqB")
_TIMESTAMP: Final = b"\x09timestamp\x00"
_OWN_BYTES: Final = _HEAD.size + _IDENTITY.size + _TAIL.size
_SEQUENCE_BYTES: Final = 3
_END: Final = b"TRLE"  # of the space that a segment's process has set aside for it
_HEADER: Final = struct.Struct("<4sIQ")
_HEADER_BYTES: Final = _HEADER.pack(b"TRLS", 1, _HEADER.size)
_CRC: Final = struct.Struct("<I")
_LENGTH: Final = struct.Struct("<I")
_CRC_AND_LENGTH: Final = struct.Struct("<II")
_MARK: Final = b"\x07_id\x00"
_MARK_AT: Final = 8
_PREFIX_BYTES: Final = 25
_SMALLEST_DOCUMENT: Final = 22
_BLOCK_BYTES: Final = 2 * (EVENT_MAX_BYTES + _CRC.size)
_PAGE_BYTES: Final = 4_096
_TYPICAL_RECORD_BYTES: Final = 400
_NOT_IN_UTF_8: Final = frozenset((0xC0, 0xC1, *range(0xF5, 0x100)))  # RFC 3629, section 1
_SUFFIX: Final = ".seg"
_DAMAGED: Final = ".damaged"
_UNFINISHED: Final = ".new"
_STEM_MAX_CHARACTERS: Final = 200  # a file's name has 255 bytes at the most
_UNFINISHED_SECONDS: Final = 60.0  # a file is made in a moment; so old, its process is no more
_NAME: Final = re.compile(r"^(\d{13})-([0-9a-f]{10})$")


class Unreadable(OSError):
    """The file cannot be opened as a segment, now or later: a directory, a link, no permission."""


class Record(NamedTuple):
    """
    A whole record: its document, and where it lies in the file.

    sequence: its number in the segment, from 0; -1 where it was recorded into another, and copied.
    """

    document: bytes
    start: int
    end: int
    sequence: int


class Survey:
    """What a segment was found to hold while its records were read from the beginning."""

    def __init__(self) -> None:
        self.seconds: dict[int, int] = {}  # by sequence number: when each was recorded
        self.readable_bytes = 0
        self.end = 0  # of the last record

    def noting(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the same records."""
        for record in records:
            document, start, self.end, sequence = record
            self.readable_bytes += self.end - start
            if sequence >= 0 and sequence not in self.seconds:
                self.seconds[sequence] = int.from_bytes(document[9:13])
            yield record


class Census(NamedTuple):
    """
    The state of each event of a segment.

    seconds: when each was acknowledged, by sequence number; of one that cannot be read, when the
    one before it was. unreadable_bytes: what is neither the header nor a record.
    """

    seconds: list[int]
    waiting: list[int]  # sequence numbers: readable, not handled
    missing: list[int]  # sequence numbers: neither readable nor handled
    refused: int
    unreadable_bytes: int

    @property
    def set_aside(self) -> int:
        """How many events MongoDB will not have."""
        return len(self.missing) + self.refused


class Segment:
    """An open segment: read, and where locked, shipped and ended, by whoever may."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        named = _NAME.match(path.stem)
        self._identity = bytes.fromhex(named[2]) if named else b""
        for record in () if named else self.records():
            self._identity = record.document[13:18]
            break
        self.name = self._identity.hex()
        self.checkpoint = Checkpoint(path.with_suffix(checkpoint.SUFFIX))

    def records(self, offset: int = 0) -> Iterator[Record]:
        """Yield each whole record from offset on, whatever lies between them."""
        while True:
            block = _pread(self._descriptor, _BLOCK_BYTES, offset)
            is_last = len(block) < _BLOCK_BYTES
            # Where the block is not the last, a record from there on may reach beyond it.
            limit = len(block) if is_last else len(block) // 2
            position = 0
            while (mark := block.find(_MARK, position + _MARK_AT)) >= 0:
                start = mark - _MARK_AT
                if start >= limit:
                    break
                crc, length = _CRC_AND_LENGTH.unpack_from(block, start)
                end = start + _CRC.size + length
                document = block[start + _CRC.size : end]
                if (
                    not _SMALLEST_DOCUMENT <= length <= EVENT_MAX_BYTES
                    or end > len(block)
                    or zlib.crc32(document) != crc
                ):
                    position = start + 1
                    continue
                position = end
                sequence = int.from_bytes(document[18:21])
                if document[13:18] != self._identity or sequence >= checkpoint.EVENTS_MAX:
                    sequence = -1
                yield Record(document, offset + start, offset + end, sequence)
            if is_last:
                return
            offset += max(position, limit)

    def census(self, survey: Survey | None = None) -> Census:
        """Return what has become of each event; survey: of all records, where they were read just now."""
        if survey is None:
            survey = Survey()
            for _ in survey.noting(self.records()):
                pass
        seconds = survey.seconds
        readable_bytes = self._header_bytes() + survey.readable_bytes
        head = self.checkpoint.head
        end = max(survey.end, self._header_bytes())
        size = self._written_bytes(end)
        events = max(seconds, default=-1) + 1
        if head.acknowledged is None and self.name:
            # Nobody has counted: what cannot be read at the end may be as many events as fit.
            typical = readable_bytes // len(seconds) if seconds else _TYPICAL_RECORD_BYTES
            events = min(events + math.ceil((size - end) / typical), checkpoint.EVENTS_MAX)
        events = max(events, head.expected)
        latest = self._created_at()
        acknowledged_at = [latest := seconds.get(number, latest) for number in range(events)]
        unhandled = [n for n in range(events) if not self.checkpoint.is_handled(n)]
        return Census(
            acknowledged_at,
            [number for number in unhandled if number in seconds],
            [number for number in unhandled if number not in seconds],
            head.refused,
            max(size, _HEADER.size) - readable_bytes,
        )

    def end(self, survey: Survey) -> None:
        """
        Write into the ledger what was acknowledged here; delete the files, or set them aside.

        survey: of all its records, read since it was locked.
        """
        census = self.census(survey)
        self._note(census)
        if census.set_aside or census.unreadable_bytes:
            _set_aside(self.path, census.set_aside)
        else:
            self.path.unlink(missing_ok=True)
        _delete_checkpoint(self.path)

    def drop(self) -> int:
        """Delete it with what was not shipped; return how many events that were."""
        census = self.census()
        self._note(census, dropped=len(census.waiting))
        self.path.unlink(missing_ok=True)
        _delete_checkpoint(self.path)
        metrics.SET_ASIDE.inc(census.set_aside)
        return len(census.waiting)

    def _note(self, census: Census, dropped: int = 0) -> None:
        if census.seconds:
            ledger.add(
                self.path.parent, self.name, census.seconds, dropped, set_aside=census.set_aside
            )

    def _written_bytes(self, end: int) -> int:
        """
        Return the file's size, without the space that its process was killed before it had used it.

        end: of the last record. What follows it there may be a part of a record, which nobody has
        acknowledged: one without a checksum, if the count was lost.
        """
        size = os.fstat(self._descriptor).st_size
        limit = size - len(_END)
        if end > limit or _pread(self._descriptor, len(_END), limit) != _END:
            return size
        is_counted = self.checkpoint.head.acknowledged is not None
        following = _pread(self._descriptor, min(_CRC.size, limit - end), end)
        return end if is_counted or not any(following) else size

    def _header_bytes(self) -> int:
        """Return how long the header is: 0 where it is not what was written."""
        header = _pread(self._descriptor, _HEADER.size, 0)
        # What follows magic and version was an offset once.
        return _HEADER.size if header[:8] == _HEADER_BYTES[:8] else 0

    def _created_at(self) -> int:
        named = _NAME.match(self.path.stem)
        return int(named[1]) // 1000 if named else int(os.fstat(self._descriptor).st_mtime)


class Spool:
    """Where the threads of this process append; a child of it begins a segment of its own."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._live: _LiveSegment | None = None
        self._named_at_ms = 0
        self._uncounted = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _spools.add(self)

    @property
    def current(self) -> Path | None:
        """The file that is written to."""
        live = self._live
        return None if live is None else live.path

    def append(self, event: dict[str, Any]) -> ObjectId:
        """
        Keep the event as append_elements does; return its id.

        event: the fields of ActivityEvent but _id and timestamp. Raises also what BSON raises for
        what it cannot hold.
        """
        return ObjectId(self.append_elements(bson.encode(event)[_LENGTH.size : -1]))

    def append_elements(self, elements: bytes) -> bytes:
        """
        Keep an event; once this returns it outlives the process. Return the 12 bytes of its id.

        elements: its fields in BSON but _id and timestamp, which are now. Raises OSError where the
        disk takes nothing and ValueError beyond EVENT_MAX_BYTES; then it was not acknowledged.
        """
        document_bytes = len(elements) + _OWN_BYTES
        if document_bytes > EVENT_MAX_BYTES:
            raise ValueError(f"an event of {document_bytes} bytes; {EVENT_MAX_BYTES} at most")
        with self._lock:
            try:
                identity = None if self._live is None else self._live.append(elements)
                if identity is None:
                    self._close()
                    self._live = self._next_segment(_CRC.size + document_bytes)
                    identity = self._live.append(elements)
            except BaseException:
                # Who knows what is in the file now; no later event shall depend on it.
                self._close()
                raise
            if identity is None:
                self._close()
                raise OSError(errno.EIO, "the disk does not keep what is mapped")
            self._uncounted += 1
        return identity

    def close(self, path: Path | None = None) -> None:
        """Release the segment to whoever ships it first; with path, only if it is the current one."""
        with self._lock:
            if path is None or path == self.current:
                self._close()

    def count(self) -> None:
        """Add to the metric what was recorded since the last call: too slow for each event."""
        with self._lock:
            recorded, self._uncounted = self._uncounted, 0
        metrics.RECORDED.inc(recorded)

    def begin_anew(self) -> None:
        """Leave the segment to the process that this one was forked from."""
        if self._live is not None:
            self._live.release()
        self._lock = threading.Lock()
        self._live = None
        self._uncounted = 0

    def _next_segment(self, record_bytes: int) -> "_LiveSegment":
        make_room(self.folder, self.max_bytes)
        # Names are in order of age.
        self._named_at_ms = max(int(time.time() * 1000), self._named_at_ms + 1)
        return _LiveSegment(self.folder, self._named_at_ms, record_bytes)

    def _close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.close()


_spools: Final = weakref.WeakSet[Spool]()


def _begin_anew() -> None:
    for spool in tuple(_spools):
        spool.begin_anew()


os.register_at_fork(after_in_child=_begin_anew)


class _LiveSegment:
    """
    The segment that this process appends to, mapped into memory at its full size.

    Copying an event there hands it to the kernel. Not for several threads at once.
    """

    def __init__(self, folder: Path, created_at_ms: int, record_bytes: int) -> None:
        """Make the files, with room for one record of that size at the least. Raises OSError."""
        identity = _identity()
        self.path = folder / f"{created_at_ms:013d}-{identity.hex()}{_SUFFIX}"
        self._identity = int.from_bytes(identity + bytes(_SEQUENCE_BYTES))
        self._number = 0
        self._size = _HEADER.size
        self._limit = max(SEGMENT_BYTES - len(_END), _HEADER.size + record_bytes)
        # Locked before it has the name by which others look for it.
        unnamed = self.path.with_suffix(_UNFINISHED)
        self._descriptor = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            # All of its space now: a full disk must be an error here, not one of a store to memory.
            reserve(self._descriptor, self._limit + len(_END))
            os.pwrite(self._descriptor, _HEADER_BYTES, 0)
            os.pwrite(self._descriptor, _END, self._limit)
            self._file = MappedFile(self._descriptor, self._limit)
            unnamed.rename(self.path)
            self._acknowledged = Acknowledged(self.path.with_suffix(checkpoint.SUFFIX))
        except OSError:
            os.close(self._descriptor)
            unnamed.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
            raise

    def append(self, elements: bytes) -> bytes | None:
        """Append an event and acknowledge it; return its id. None: no room, or the file has lost it."""
        document_bytes = len(elements) + _OWN_BYTES
        start = self._size
        body = start + _CRC.size
        end = body + document_bytes
        if end > self._limit or self._number >= checkpoint.EVENTS_MAX:
            return None
        now = time.time()
        identity = _IDENTITY.pack(int(now), self._identity + self._number)
        head = _HEAD.pack(document_bytes, _MARK)
        tail = _TAIL.pack(_TIMESTAMP, int(now * 1000), 0)
        document = b"".join((head, identity, elements, tail))
        self._file[body:end] = document
        # The checksum last: before it there is no record, however much of one a killed process has copied.
        self._file[start:body] = _CRC.pack(zlib.crc32(document))
        if self._file.is_lost:
            return None
        self._size = end
        self._number += 1
        self._acknowledged.write(self._number, end)
        if self._acknowledged.is_lost:
            self._limit = 0  # the event is on disk, and its sequence number says the same
        return identity

    def close(self) -> None:
        """Cut off what is not written, and release the segment."""
        with contextlib.suppress(OSError):  # a reader passes over it
            rest = os.pread(self._descriptor, self._limit + len(_END), self._size)
            if rest == _END.rjust(len(rest), b"\0"):  # else it holds what nobody has acknowledged
                os.ftruncate(self._descriptor, self._size)
        self.release()

    def release(self) -> None:
        """Let go of the files: with the last process that does, the lock is gone."""
        self._file.close()
        os.close(self._descriptor)
        self._acknowledged.close()


def _identity() -> bytes:
    while True:
        identity = secrets.token_bytes(5)
        if not _NOT_IN_UTF_8.isdisjoint(identity):
            return identity


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    """Return what is in the file; in the place of a page that the disk cannot read, zeros."""
    try:
        return os.pread(descriptor, size, offset)
    except OSError as exc:
        if exc.errno != errno.EIO:
            raise
    end = min(offset + size, os.fstat(descriptor).st_size)
    pages = []
    while offset < end:
        following = min(end, offset - offset % _PAGE_BYTES + _PAGE_BYTES)
        try:
            pages.append(os.pread(descriptor, following - offset, offset))
        except OSError:
            pages.append(bytes(following - offset))
        offset = following
    return b"".join(pages)


def segments(folder: Path) -> list[Path]:
    """Return the segments' files, the oldest first. Raises OSError."""
    return _files(folder, _SUFFIX)


def _files(folder: Path, suffix: str) -> list[Path]:
    """Return the files with that suffix in order. Raises OSError, of which Path.glob says nothing."""
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if entry.name.endswith(suffix))


@contextlib.contextmanager
def passing_over_unreadable() -> Iterator[None]:
    """Pass over what is no segment; raise where it may be one that this account may not read."""
    try:
        yield
    except Unreadable as exc:
        if exc.errno in (errno.EACCES, errno.EPERM):
            raise


@contextlib.contextmanager
def opened(path: Path, *, adopt: bool) -> Iterator[Segment | None]:
    """
    Open a segment; None where it is gone or, with adopt, where a living process has it.

    adopt: take its lock, so that nobody else ships or deletes it. Raises Unreadable.
    """
    with _descriptor(path) as descriptor:
        if descriptor is None or (adopt and not _locked(path, descriptor)):
            yield None
        else:
            yield Segment(path, descriptor)


@contextlib.contextmanager
def _descriptor(path: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    except OSError as exc:
        if exc.errno in checkpoint.UNREADABLE:
            raise Unreadable(exc.errno, exc.strerror, str(path)) from exc
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable(errno.EINVAL, "not a regular file", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(path: Path, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def tidy(folder: Path) -> None:
    """
    Put right what is no segment that can be shipped.

    What cannot be opened is set aside, and so is the checkpoint of a segment that somebody has
    deleted; a segment without a checkpoint gets one (those of earlier releases have none); a file
    that a process died over while it made it goes. Raises OSError.
    """
    for path in segments(folder):
        try:
            with _descriptor(path):
                pass
            if checkpoint.head_of(path.with_suffix(checkpoint.SUFFIX)) is None:
                _count(path)
        except Unreadable:
            _set_aside_unread(path)
    for path in _files(folder, checkpoint.SUFFIX):
        if not os.path.lexists(path.with_suffix(_SUFFIX)):
            _set_aside_unread(path)
    for path in _files(folder, _UNFINISHED):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.lstat().st_mtime > _UNFINISHED_SECONDS:
                path.unlink()


def _count(path: Path) -> None:
    """Give a segment that no living process has a checkpoint with the number of its events."""
    with opened(path, adopt=True) as segment:
        if segment is not None:
            segment.checkpoint.save(offset=0, known=len(segment.census().seconds))


def _set_aside_unread(path: Path) -> None:
    """Set a file aside whose events only its checkpoint can count."""
    count = path.with_suffix(checkpoint.SUFFIX)
    if checkpoint.is_held(count):
        return  # its process will see, and let go of it
    head = checkpoint.head_of(count)
    named = _NAME.match(path.stem)
    events = 0
    if head is not None and named is not None:
        if path == count and named[2] in ledger.entries(path.parent):
            count.unlink(missing_ok=True)  # of a process that died between the two deletions
            return
        events = head.expected - head.handled + head.refused
        acknowledged = [int(named[1]) // 1000] * head.expected
        ledger.add(path.parent, named[2], acknowledged, 0, set_aside=events)
    if events or path != count:
        _set_aside(path, events)
    _delete_checkpoint(path)


def _set_aside(path: Path, events: int) -> None:
    """Keep the file under a name by which nobody ships it, and which says what may be in it."""
    stem = path.stem[:_STEM_MAX_CHARACTERS]
    target = path.with_name(f"{stem}.{events}{_DAMAGED}")
    while os.path.lexists(target):
        stem += "-again"
        target = path.with_name(f"{stem}.{events}{_DAMAGED}")
    path.rename(target)
    metrics.SET_ASIDE.inc(events)
    log.warning("damaged file set aside", file=ascii(target.name), events=events)


def _delete_checkpoint(path: Path) -> None:
    with contextlib.suppress(IsADirectoryError):
        path.with_suffix(checkpoint.SUFFIX).unlink(missing_ok=True)


def make_room(folder: Path, max_bytes: int) -> None:
    """
    Delete files, the oldest first, until another segment fits into max_bytes.

    What was set aside goes before events that can still be shipped. Segments that living processes
    write to are left, one each; so there may be that much more.
    """
    sizes = _sizes(folder)
    total = sum(sizes.values())
    if total + SEGMENT_BYTES <= max_bytes:
        return
    damaged = [path for path in _files(folder, _DAMAGED) if not path.is_dir()]
    for path in (*damaged, *segments(folder)):
        if path in damaged:
            path.unlink(missing_ok=True)
            log.warning("damaged file deleted", file=path.name, reason="the spool is full")
        elif not _drop(path):
            continue
        total -= sizes.get(path.name, 0)
        total -= sizes.get(path.with_suffix(checkpoint.SUFFIX).name, 0)
        if total + SEGMENT_BYTES <= max_bytes:
            return


def _sizes(folder: Path) -> dict[str, int]:
    """Return the sizes of the spool's files by name; without paths, since each new segment needs them."""
    sizes = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((_SUFFIX, _DAMAGED, checkpoint.SUFFIX)):
                with contextlib.suppress(FileNotFoundError):
                    sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
    return sizes


def _drop(path: Path) -> bool:
    """Delete a segment; return whether it was done: nobody has it, and it can be opened."""
    with contextlib.suppress(Unreadable), opened(path, adopt=True) as segment:
        if segment is not None:
            dropped = segment.drop()
            if dropped:
                metrics.DROPPED.inc(dropped)
                log.warning("events dropped", events=dropped, reason="the spool is full")
            return True
    return False


def waiting(folder: Path) -> tuple[int, int, float]:
    """
    Return events not shipped, their bytes, and the age of the oldest in seconds (0: none).

    It reads the beginnings of the checkpoints, and of each segment one record's. Raises OSError.
    """
    events = size = 0
    oldest: float | None = None
    for path in segments(folder):
        with passing_over_unreadable():
            number, number_bytes, since = _waiting_in(path)
            events += number
            size += number_bytes
            if number:
                oldest = since if oldest is None else min(oldest, since)
    age = 0.0 if oldest is None else max(0.0, time.time() - oldest)
    return events, size, age


def _waiting_in(path: Path) -> tuple[int, int, float]:
    """Return events not shipped, their bytes, and when the oldest was recorded."""
    head = checkpoint.head_of(path.with_suffix(checkpoint.SUFFIX))
    if head is None:  # of another release's process, which still runs
        with opened(path, adopt=False) as segment:
            census = None if segment is None else segment.census()
            if census is None or not census.waiting:
                return 0, 0, 0.0
            return len(census.waiting), _size(path), float(census.seconds[census.waiting[0]])
    with _descriptor(path) as descriptor:
        if descriptor is None or head.expected <= head.handled:
            return 0, 0, 0.0
        size = os.fstat(descriptor).st_size
        size = max(0, min(size, head.written_bytes or size) - head.offset)
        start = max(head.offset, _HEADER.size)
        prefix = _pread(descriptor, _PREFIX_BYTES, start)
        named = _NAME.match(path.stem)
        if prefix[_MARK_AT:].startswith(_MARK) and len(prefix) == _PREFIX_BYTES:
            since = float(int.from_bytes(prefix[13:17], "big"))
        else:  # damaged
            since = int(named[1]) / 1000 if named else os.fstat(descriptor).st_mtime
        return head.expected - head.handled, size, since


def damaged(folder: Path) -> tuple[int, int]:
    """
    Return how many files are set aside, and how many acknowledged events may be in them.

    Raises OSError.
    """
    events = [path.stem.rpartition(".")[2] for path in _files(folder, _DAMAGED)]
    return len(events), sum(int(number) for number in events if number.isdecimal())


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
