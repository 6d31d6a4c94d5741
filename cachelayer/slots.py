"""
The file that all processes of a host share: by it they know what was invalidated since a copy was made.

It is an array of 64-bit words. A tag has one of the first SLOTS words, its slot. Who invalidates the
tag overwrites the slot with random bytes, without reading it, so that no order of writers matters;
a copy is dead once the slot is not as it was. Tags that share a slot, or a store that another
process sees half done, cost a miss. The words behind the slots are the state of the level.

Where the file is cut off under a process, it goes on with zeros of its own (cachelayer.mapped_file):
LISTENING says then that the level is off, and HOST that this process is another host, for whose
writes the listener's host waits. The next attach gives the words up.
"""

import errno
import functools
import hashlib
import mmap
import os
import stat
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from cachelayer.conf import config
from cachelayer.host_clock import SINCE_BOOT
from cachelayer.mapped_file import MappedFile
from cachelayer.namespace import root_of_names

log = structlog.get_logger("cachelayer")

SLOTS: Final = 65_536
EPOCH: Final = SLOTS  # overwritten where it is not known what was invalidated: every copy is dead
LISTENING: Final = SLOTS + 1  # until when, in clock()'s time, the listener has vouched; 0: off
SERVER: Final = SLOTS + 2  # the server that it listens to, as number_of its identity
REASON: Final = SLOTS + 3  # why the level is off: an index of REASONS
HOST: Final = SLOTS + 4  # random: this host, to the others
REGISTER: Final = SLOTS + 5  # the identity of the register of hosts, as the listener saw it last
REGISTER_SINCE: Final = SLOTS + 6  # and since when, in clock()'s time
_FORMAT: Final = SLOTS + 7
_IDENTITY: Final = SLOTS + 8
WORDS: Final = SLOTS + 9

REASONS: Final = (
    "no listener runs",
    "Redis does not answer the listener",
    "a host of an earlier version is there",
)

_WORD_BYTES: Final = 8
_SIZE_BYTES: Final = WORDS * _WORD_BYTES
_FORMAT_NUMBER: Final = int.from_bytes(b"slots 01")
_TAGS_KEPT: Final = 16_384

# The words of the file that is mapped now, None where there is none.
words: "memoryview[int] | None" = None


class ForeignFile(Exception):
    """There is something else where the file of slots should be."""


def clock() -> int:
    """Return the nanoseconds since the machine was started: the same in all processes of a host."""
    return time.clock_gettime_ns(SINCE_BOOT)


def path() -> Path:
    """Return where the file is: sites whose keys in Redis differ have files of their own."""
    return _path(config().SLOTS_DIR, root_of_names())


@functools.lru_cache(maxsize=8)
def _path(folder: Path, root: str) -> Path:
    return folder / f"{number_of(root):016x}.slots"


def mapped() -> bool:
    """Return whether this process has mapped the file."""
    return words is not None


def attach() -> None:
    """
    Map the file, made where it is missing; map it anew where it is another by now.

    Where it cannot be mapped that is logged once: the level is off in this process, and what it
    invalidates is known to the others by the listener.
    """
    global words
    file = path()
    try:
        if _mapping.is_of(file):
            return
        # Of two threads at once, the words of one and the inode of the other would stay.
        with _mapping.changing:
            if not _mapping.is_of(file):
                words = _mapping.replace(file)
    except (OSError, ValueError, ForeignFile) as exc:  # ValueError: cut off just now
        words = None
        _mapping.failed(file, str(exc))


def detach() -> None:
    """Forget the file; the next attach maps it anew."""
    global words
    words = None
    _mapping.forget()


def overwrite(tags: Sequence[str]) -> int | None:
    """
    Kill every copy on this host that depends on any of the tags. Return the host, by its word HOST.

    Called between a confirmed UNLINK and what tells others that the tags are invalidated: the
    answer to a write, the end of its wait, a new lease. Not before the UNLINK: a reader could take
    the new slot, and the old entry.
    """
    attach()
    table = words
    if table is None:
        return None
    fresh = os.urandom(_WORD_BYTES * len(tags))
    for number, tag in enumerate(tags):
        start = number * _WORD_BYTES
        table[slot_of(tag)] = int.from_bytes(fresh[start : start + _WORD_BYTES])
    return table[HOST]


def overwrite_word(table: "memoryview[int]", word: int) -> None:
    """Put random bytes into a slot, or into EPOCH."""
    table[word] = int.from_bytes(os.urandom(_WORD_BYTES))


@functools.lru_cache(_TAGS_KEPT)
def slot_of(tag: str) -> int:
    """Return the slot of a tag: by a hash that is the same in every process."""
    return number_of(tag) % SLOTS


def number_of(text: str) -> int:
    """Return 64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=_WORD_BYTES).digest())


def opened(file: Path) -> "tuple[memoryview[int], int]":
    """
    Map a file of slots, made where it is missing or left from before the machine's last start.

    Return its words, and its inode. Raises OSError, or ForeignFile.
    """
    if sys.platform != "linux":  # which has an identity of its last start, and pages lost in time
        raise OSError(errno.ENOTSUP, "only Linux has a first level")
    for _ in range(3):  # it may be replaced between two of these steps
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            _make(file, replace=False)
            continue
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size != _SIZE_BYTES:
                raise ForeignFile(f"{file} is no file of slots: move it away")
            table = memoryview(MappedFile(descriptor, _SIZE_BYTES)).cast("Q")
        finally:
            os.close(descriptor)
        if not _is_whole(table):
            raise ForeignFile(f"{file} is no file of slots: move it away")
        if table[_IDENTITY] == _identity(status.st_ino):
            return table, status.st_ino
        _make(file, replace=True)
    raise ForeignFile(f"{file} is replaced again and again")


def _is_whole(table: "memoryview[int]") -> bool:
    """
    Return whether the words are those of a file of slots, to its end.

    Of a file that was cut off, the kernel or MappedFile has put zeros in their place.
    """
    return table[_FORMAT] == _FORMAT_NUMBER


def _make(file: Path, *, replace: bool) -> None:
    """Put a new file in place whole, so that nobody maps a part of it."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with open(draft, "x+b", opener=_private) as stream:
            stream.write(os.urandom((SLOTS + 1) * _WORD_BYTES))
            stream.write(bytes((WORDS - SLOTS - 1) * _WORD_BYTES))
            stream.flush()
            inode = os.fstat(stream.fileno()).st_ino
            with mmap.mmap(stream.fileno(), _SIZE_BYTES) as mapping:
                table = memoryview(mapping).cast("Q")
                overwrite_word(table, HOST)
                table[_FORMAT] = _FORMAT_NUMBER
                table[_IDENTITY] = _identity(inode)
                table.release()
        if replace:
            draft.replace(file)
        else:
            os.link(draft, file)
    except FileExistsError:
        pass  # made by another process meanwhile
    finally:
        draft.unlink(missing_ok=True)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_RDWR, 0o600)


def _identity(inode: int) -> int:
    """Return what a copy of the file, and one from before the machine's last start, has not."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return number_of(f"{boot.strip()} {inode}")


class _Mapping:
    """Which file is mapped."""

    def __init__(self) -> None:
        self.changing = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self._file: Path | None = None
        self._inode = 0
        self._complaint = ""

    def is_of(self, file: Path) -> bool:
        """Return whether the file in place is the one that is mapped."""
        if self._file != file or words is None or not _is_whole(words):
            return False
        try:
            return file.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def replace(self, file: Path) -> "memoryview[int]":
        table, self._inode = opened(file)
        self._file, self._complaint = file, ""
        return table

    def failed(self, file: Path, complaint: str) -> None:
        if (self._file, self._complaint) != (file, complaint):
            self._file, self._complaint = file, complaint
            log.warning(
                "no file of slots: the first level is off", file=str(file), reason=complaint
            )


_mapping = _Mapping()
