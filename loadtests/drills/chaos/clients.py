"""The clients of a chaos run: threads that read and write over HTTP, in processes of their own."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

from loadtests.drills.chaos.board import NOTE, PROFILE, Acknowledged, Board, writer_of
from loadtests.generators.http_load import Call, Sample, connected, json_call, send_now

NOTES_EACH: Final = 4
WRITERS: Final = 8
READERS_EACH: Final = 2  # threads for each worker: one that is stopped must not stop the others
_PROFILE_PLACE: Final = NOTES_EACH
READ_PAUSE_SECONDS: Final = 0.012  # on average, of each reader
_WRITE_PAUSE_SECONDS: Final = 0.25
_SLOW_MS: Final = 1_000.0  # a writer that waited so long goes over to another worker
_TRACES_MAX: Final = 50
# Answers that are marked as no promise: docs/caching-strategy.md.
_UNPROMISED: Final = ("unverified", "stale")


class Trace(NamedTuple):
    """A stale read."""

    phase: int
    worker: int
    path: str
    cache: str
    number: int | None  # None: absent
    floor: int
    written_by: int  # the worker that acknowledged the floor
    after_ms: float  # from that answer to the start of the read
    took_ms: float


class Read(NamedTuple):
    """An answer, where it came from, and the phase and the time (time.monotonic_ns) in which the read started."""

    sample: Sample
    source: str
    phase: int
    started_at: int


class Write(NamedTuple):
    """A write that has ended."""

    phase: int
    kind: str
    status: int
    latency_ms: float


@dataclass
class Outcome:
    """What the clients of one process have seen. Reads by phase, worker, resource and source."""

    reads: Counter[tuple[int, int, str, str]] = field(default_factory=Counter)
    stale: Counter[tuple[int, str]] = field(default_factory=Counter)  # by phase and source
    writes: list[Write] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Add what another has seen."""
        self.reads.update(other.reads)
        self.stale.update(other.stale)
        self.writes += other.writes
        self.traces += other.traces
        self.errors += other.errors


@dataclass(frozen=True)
class Plan:
    """What a process of clients is given. run: a word of which this run's users are made."""

    board: Path
    urls: Sequence[str]  # of the workers
    run: str
    seed: int
    writers: int = WRITERS
    read_pause_seconds: float = READ_PAUSE_SECONDS
    ends_at_stale: bool = False

    def user(self, writer: int) -> str:
        """Return the user whose notes a writer writes."""
        return f"chaos-{self.run}-{writer}"


def source_of(sample: Sample) -> str:
    """Return in a word where an answer came from: hit, or its level; what is marked; or nothing cached."""
    if sample.status not in (200, 404):
        return f"answered {sample.status}" if sample.status else "cut off"
    first, *parameters = [part.strip() for part in sample.cache.split(";")]
    if first != "hit":
        return "not cached"
    details = [part.removeprefix("detail=") for part in parameters if part.startswith("detail=")]
    return details[0] if details else "Redis"


def is_hit(source: str) -> bool:
    """Return whether a source is a cached copy that is promised to be fresh."""
    return source not in (*_UNPROMISED, "not cached", "cut off") and not source.startswith(
        "answered"
    )


def read(plan: Plan, pipe: Connection) -> None:
    """Read until the board says that the run is over; send an Outcome. The target of a process."""
    board = Board(plan.board, plan.writers)
    readers = [
        Reader(plan, board, worker, plan.seed + number)
        for number, worker in enumerate(list(range(len(plan.urls))) * READERS_EACH)
    ]
    pipe.send(_run([(reader.run, reader.outcome) for reader in readers], board))


def write(plan: Plan, pipe: Connection) -> None:
    """Write until the board says that the run is over; send an Outcome. The target of a process."""
    board = Board(plan.board, plan.writers)
    writers = [Writer(plan, board, number) for number in range(plan.writers)]
    pipe.send(_run([(writer.run, writer.outcome) for writer in writers], board))


def _run(clients: Sequence[tuple[Callable[[], None], Outcome]], board: Board) -> Outcome:
    total = Outcome()

    def guarded(run: Callable[[], None], outcome: Outcome) -> None:
        try:
            run()
        except Exception as exc:  # noqa: BLE001  # the run must fail for it, not go on without this client
            outcome.errors.append(f"{type(exc).__name__}: {exc}")
            board.end()

    threads = [threading.Thread(target=guarded, args=client) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _, outcome in clients:
        total.add(outcome)
    return total


class Reader:
    """Reads by one worker: what was written last as often as anything else."""

    def __init__(self, plan: Plan, board: Board, worker: int, seed: int) -> None:
        self._plan = plan
        self._board = board
        self._worker = worker
        self._random = random.Random(seed)  # noqa: S311  # to be repeatable
        self.outcome = Outcome()

    def run(self) -> None:
        """Read until the run is over."""
        pause = threading.Event()
        with connected(self._plan.urls[self._worker]) as connection:
            while not self._board.is_over:
                self.read_once(connection)
                pause.wait(self._random.uniform(0, 2 * self._plan.read_pause_seconds))

    def read_once(self, connection: Any) -> None:
        """Read a note, a list or a profile, and judge what comes back."""
        register = self._choose()
        if register is None:
            return
        if self._board.kind(register) == PROFILE:
            self._read_one(connection, register, "/api/v1/profiles/", _number_of_profile)
        elif self._random.random() < 0.35:
            self._read_page(connection, writer_of(register))
        else:
            self._read_one(connection, register, "/api/v1/notes/", _number_of_note)

    def _choose(self) -> int | None:
        if self._random.random() < 0.5:
            return self._board.recent()
        writer, place = self._random.randrange(self._plan.writers), self._random.randrange(5)
        return self._board.shown(writer, place)

    def _read_one(
        self, connection: Any, register: int, path: str, number_of: Callable[[Any], int]
    ) -> None:
        kind = path.split("/")[3]
        floor = self._board.acknowledged(register)
        reply = self._send(connection, path + self._board.name(register), kind)
        if reply.sample.status not in (200, 404):
            return
        absent = reply.sample.status == 404
        number = None if absent else number_of(json.loads(reply.sample.body))
        if self._board.is_stale(register, floor, number):
            self._count_stale(register, floor, number, reply)

    def _read_page(self, connection: Any, writer: int) -> None:
        shown = [self._board.shown(writer, place) for place in range(NOTES_EACH)]
        registers = {register for register in shown if register is not None}
        registers |= set(self._board.registers_of(writer, kind=NOTE, last=2 * NOTES_EACH))
        floors = {register: self._board.acknowledged(register) for register in registers}
        path = f"/api/v1/notes?userId={self._plan.user(writer)}"
        reply = self._send(connection, path, "lists")
        if reply.sample.status != 200:
            return
        notes = {note["id"]: note["version"] for note in json.loads(reply.sample.body)["results"]}
        states = (
            (register, floor, notes.get(self._board.name(register)))
            for register, floor in floors.items()
            if floor.number
        )
        stale = next((state for state in states if self._board.is_stale(*state)), None)
        if stale:
            self._count_stale(*stale, reply)

    def _send(self, connection: Any, path: str, kind: str) -> Read:
        phase, started_at = self._board.phase, time.monotonic_ns()
        sample = send_now(connection, Call(path, path))
        source = source_of(sample)
        self.outcome.reads[phase, self._worker, kind, source] += 1
        if is_hit(source):
            self._board.note_hit(self._worker, started_at)
        return Read(sample, source, phase, started_at)

    def _count_stale(
        self, register: int, floor: Acknowledged, number: int | None, reply: Read
    ) -> None:
        self.outcome.stale[reply.phase, reply.source] += 1
        if reply.source in _UNPROMISED:
            return
        if self._plan.ends_at_stale:
            self._board.end()
        if len(self.outcome.traces) >= _TRACES_MAX:
            return
        after_ms = (reply.started_at - floor.answered_at) / 1e6
        sample = reply.sample
        self.outcome.traces.append(
            Trace(
                *(reply.phase, self._worker, sample.call, sample.cache, number, floor.number),
                *(floor.worker, round(after_ms, 1), round(sample.latency_ms, 1)),
            )
        )


def _number_of_note(note: Any) -> int:
    return int(note["version"])


def _number_of_profile(profile: Any) -> int:
    return int(profile["preferences"]["number"])


class Writer:
    """
    Writes a user's notes and a profile, by whichever worker.

    A key whose write has no certain outcome is left, if what became of it could be confused with a later write.
    """

    def __init__(self, plan: Plan, board: Board, number: int) -> None:
        self._plan = plan
        self._board = board
        self._number = number
        self._user = plan.user(number)
        self._worker = number % len(plan.urls)
        self._random = random.Random(plan.seed + 1_000 + number)  # noqa: S311  # to be repeatable
        self._written = 1  # highest number given to the profile
        self._profiles = 0
        self.outcome = Outcome()

    def run(self) -> None:
        """Create the keys; write until the run is over."""
        pause = threading.Event()
        while not self._board.is_over:
            with connected(self._plan.urls[self._worker]) as connection:
                worker = self._worker
                while worker == self._worker and not self._board.is_over:
                    self._write(connection)
                    pause.wait(self._random.uniform(0, 2 * _WRITE_PAUSE_SECONDS))

    def _write(self, connection: Any) -> None:
        place = self._random.choice([*range(NOTES_EACH), _PROFILE_PLACE])
        register = self._board.shown(self._number, place)
        creates = register is None or self._is_deleted(register)
        deletes = self._random.random() < 0.12
        if place == _PROFILE_PLACE:
            self._write_profile(connection, register, creates=creates, deletes=deletes)
        elif creates or register is None:
            self._create_note(connection, place)
        elif deletes:
            self._delete_note(connection, place, register)
        else:
            self._update_note(connection, register)

    def _is_deleted(self, register: int) -> bool:
        number = self._board.acknowledged(register).number
        return number == self._board.newest_delete(register)

    def _create_note(self, connection: Any, place: int) -> None:
        sample = self._send(
            connection, json_call(self._user, "/api/v1/notes", {"title": "0"}, name="create")
        )
        if sample.status == 201:
            note = json.loads(sample.body)
            register = self._board.open_register(self._number, NOTE, note["id"])
            self._board.acknowledge(register, note["version"], self._worker)
            self._board.show(self._number, place, register)

    def _update_note(self, connection: Any, register: int) -> None:
        path = f"/api/v1/notes/{self._board.name(register)}"
        title = {"title": str(self._random.random())}
        sample = self._send(connection, json_call(self._user, path, title, "PATCH", "update"))
        if sample.status == 200:
            self._board.acknowledge(register, json.loads(sample.body)["version"], self._worker)

    def _delete_note(self, connection: Any, place: int, register: int) -> None:
        number = 2**40  # higher than any version
        self._board.begin_delete(register, number)
        path = f"/api/v1/notes/{self._board.name(register)}"
        sample = self._send(connection, json_call(self._user, path, None, "DELETE", "delete"))
        if sample.status == 204:
            self._board.acknowledge(register, number, self._worker)
        else:  # it may be there or not: another takes its place
            self._create_note(connection, place)

    def _write_profile(
        self, connection: Any, register: int | None, *, creates: bool, deletes: bool
    ) -> None:
        if register is None:
            register = self._open_profile()
        user = self._board.name(register)
        path = f"/api/v1/profiles/{user}"
        self._written += 1
        body: Any = {"preferences": {"number": self._written}}
        if creates:
            body |= {"user_id": user, "email": f"{user}@example.org"}
            call = json_call(user, "/api/v1/profiles", body, name="create profile")
        elif deletes:
            self._board.begin_delete(register, self._written)
            call = json_call(user, path, None, "DELETE", "delete profile")
        else:
            call = json_call(
                user, f"{path}/preferences", body["preferences"], "PATCH", "update profile"
            )
        sample = self._send(connection, call)
        if sample.status in (200, 201, 204):
            self._board.acknowledge(register, self._written, self._worker)
        else:  # it may still be made, after a later one
            register = self._open_profile()
        self._board.show(self._number, _PROFILE_PLACE, register)

    def _open_profile(self) -> int:
        self._profiles += 1
        user = f"{self._user}-{self._profiles}"
        register = self._board.open_register(self._number, PROFILE, user)
        # As if it had been deleted: it is absent, until it is created.
        self._written += 1
        self._board.begin_delete(register, self._written)
        self._board.start_from(register, self._written, self._worker)
        return register

    def _send(self, connection: Any, call: Call) -> Sample:
        sample = send_now(connection, call)
        self.outcome.writes.append(
            Write(self._board.phase, call.name, sample.status, sample.latency_ms)
        )
        if sample.latency_ms > _SLOW_MS or not sample.status or self._random.random() < 0.1:
            others = [
                worker
                for worker in range(len(self._plan.urls))
                if worker not in (self._worker, self._board.avoided)
            ]
            self._worker = self._random.choice(others or [self._worker])
        return sample
