"""
What all clients of a chaos run share: a register per key, and what happens at the moment.

A register holds the number of the newest write that was acknowledged, and when its answer came.
Numbers of a key only rise, a delete being one of them. So a read that starts after that answer
must return this number or a higher one. Each key has one client that writes it, so a register
needs no lock: its cells are 64-bit integers in a memory-mapped file, each written at once.
"""

import mmap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

NOTE: Final = 1
PROFILE: Final = 2
NOBODY: Final = -1
_HEADER_CELLS: Final = 64
_REGISTER_CELLS: Final = 16
_ID_CELL: Final = 8
_ID_BYTES: Final = 8 * (_REGISTER_CELLS - _ID_CELL)
_OVER, _PHASE, _AVOIDED, _RECENT, _WRITTEN_AT = range(5)
_HITS_FROM: Final = 16  # one cell for each worker
_LIVE_KEYS: Final = 5  # of one writer at a time
REGISTERS_EACH: Final = 2_000  # of one writer over the run


class Acknowledged(NamedTuple):
    """The newest acknowledged write of a key."""

    number: int
    answered_at: int  # of time.monotonic_ns
    worker: int  # that answered it


class Board:
    """The shared file: one writing client for each region of registers, any number of readers."""

    def __init__(self, file: Path, writers: int) -> None:
        self.writers = writers
        cells = _HEADER_CELLS + writers * (_LIVE_KEYS + 1 + REGISTERS_EACH * _REGISTER_CELLS)
        if not file.exists():
            file.write_bytes(bytes(8 * cells))
        with file.open("r+b") as opened:
            self._bytes = mmap.mmap(opened.fileno(), 8 * cells)
        self._cells = memoryview(self._bytes).cast("q")
        self._live_from = _HEADER_CELLS
        self._used_from = self._live_from + writers * _LIVE_KEYS
        self._registers_from = self._used_from + writers

    # --- what happens at the moment

    @property
    def is_over(self) -> bool:
        """Whether the clients must end."""
        return bool(self._cells[_OVER])

    def end(self) -> None:
        """Have all clients end."""
        self._cells[_OVER] = 1

    @property
    def phase(self) -> int:
        """The number of the present phase: twice that of the fault, and one more after its end."""
        return self._cells[_PHASE]

    @phase.setter
    def phase(self, number: int) -> None:
        self._cells[_PHASE] = number

    @property
    def avoided(self) -> int:
        """The worker that a writer must not go over to, since it is stopped; or NOBODY."""
        return self._cells[_AVOIDED] - 1

    @avoided.setter
    def avoided(self, worker: int) -> None:
        self._cells[_AVOIDED] = worker + 1

    def note_hit(self, worker: int, started_at: int) -> None:
        """Note that a read of a worker that started at this time was a hit."""
        self._cells[_HITS_FROM + worker] = max(started_at, self.last_hit(worker))

    def last_hit(self, worker: int) -> int:
        """Return when the last read of a worker that was a hit had started; 0 if there was none."""
        return self._cells[_HITS_FROM + worker]

    @property
    def written_at(self) -> int:
        """When a write was acknowledged last, by time.monotonic_ns; 0 if none was."""
        return self._cells[_WRITTEN_AT]

    # --- registers

    def open_register(self, writer: int, kind: int, name: str) -> int:
        """Return a new register for a key that nobody else writes."""
        used = self._cells[self._used_from + writer]
        if used == REGISTERS_EACH:
            raise RuntimeError("a writer has no register left")
        register = writer * REGISTERS_EACH + used
        first = self._first(register)
        encoded = name.encode().ljust(_ID_BYTES, b"\0")
        if len(encoded) > _ID_BYTES:
            raise ValueError(f"{name}: longer than {_ID_BYTES} bytes")
        self._bytes[8 * (first + _ID_CELL) : 8 * (first + _REGISTER_CELLS)] = encoded
        self._cells[first] = kind
        self._cells[self._used_from + writer] = used + 1
        return register

    def _first(self, register: int) -> int:
        return self._registers_from + register * _REGISTER_CELLS

    def name(self, register: int) -> str:
        """Return the id of a register's note, or the user of its profile."""
        first = self._first(register)
        name = self._bytes[8 * (first + _ID_CELL) : 8 * (first + _REGISTER_CELLS)]
        return name.rstrip(b"\0").decode()

    def kind(self, register: int) -> int:
        """Return NOTE or PROFILE."""
        return self._cells[self._first(register)]

    def begin_delete(self, register: int, number: int) -> None:
        """Note, before it is sent, that the write with this number is a delete."""
        self._cells[self._first(register) + 4] = number

    def acknowledge(self, register: int, number: int, worker: int) -> None:
        """Note that a write was answered just now."""
        self.start_from(register, number, worker)
        self._cells[_RECENT] = register + 1
        self._cells[_WRITTEN_AT] = time.monotonic_ns()

    def start_from(self, register: int, number: int, worker: int) -> None:
        """Note the number that a key has now, without a write."""
        first = self._first(register)
        self._cells[first + 2] = time.monotonic_ns()
        self._cells[first + 3] = worker
        self._cells[first + 1] = number

    def acknowledged(self, register: int) -> Acknowledged:
        """Return the newest acknowledged write; read it before a read starts."""
        first = self._first(register)
        number = self._cells[first + 1]  # first: what is read after it may only be newer
        return Acknowledged(number, self._cells[first + 2], self._cells[first + 3])

    def newest_delete(self, register: int) -> int:
        """Return the number of the newest delete that was sent; read it after a read ended."""
        return self._cells[self._first(register) + 4]

    def is_stale(self, register: int, floor: Acknowledged, number: int | None) -> bool:
        """
        Return whether a read that started after floor's answer and has ended returned too old a state.

        number is that of the write whose state was returned, None where the key was absent.
        """
        if number is None:
            return self.newest_delete(register) < floor.number
        return number < floor.number

    # --- which keys there are

    def show(self, writer: int, place: int, register: int) -> None:
        """Let readers read a key, at one of a writer's places."""
        self._cells[self._live_from + writer * _LIVE_KEYS + place] = register + 1

    def shown(self, writer: int, place: int) -> int | None:
        """Return the register at one of a writer's places, None where there is none yet."""
        register = self._cells[self._live_from + writer * _LIVE_KEYS + place] - 1
        return None if register < 0 else register

    def recent(self) -> int | None:
        """Return the register that was acknowledged last."""
        register = self._cells[_RECENT] - 1
        return None if register < 0 else register

    def registers_of(self, writer: int, *, kind: int, last: int) -> Iterator[int]:
        """Yield the writer's last registers of a kind, newest first."""
        used = self._cells[self._used_from + writer]
        for number in range(used - 1, max(-1, used - 1 - last), -1):
            register = writer * REGISTERS_EACH + number
            if self.kind(register) == kind:
                yield register


def writer_of(register: int) -> int:
    """Return whose register it is."""
    return register // REGISTERS_EACH
