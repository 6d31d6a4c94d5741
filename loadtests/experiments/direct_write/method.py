"""The method: writes past the API, with the triggers off and on, and how long they are not seen."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from loadtests.experiments.direct_write.client import GRACE_SECONDS, TOKEN, Notes, notes_of
from loadtests.lab.lab import Lab

SERVICE_TTL_SECONDS: Final = 300  # CACHE_TTL_NOTE_SECONDS by default: the seed's five minutes
SOFT_SHARE: Final = 0.8  # of a lifetime, after which a read refreshes the copy (cachelayer.entries)
POLL_SECONDS: Final = 0.05
OVERDUE_SECONDS: Final = 5.0
SEEN_SECONDS: Final = 2.0
STILL, OVER = 0.85, 1.1  # of its lifetime: when a copy that nobody reads is read
OLD, NEW = "Test", "Updated in DB"  # as the seed has them


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    ttl_seconds: int
    rounds: int
    copies: int  # in each round with the triggers off, written at ages from 0 to 0.6 of the TTL
    edits: int  # in each round with the triggers on
    repeats: int  # of each recovery and enhancement


QUICK: Final = Scale(ttl_seconds=3, rounds=1, copies=8, edits=20, repeats=3)
FULL: Final = Scale(ttl_seconds=10, rounds=3, copies=12, edits=60, repeats=10)


@dataclass
class CachedNote:
    """One note with the triggers off: cached, read again and again, written once; in seconds."""

    note: str
    due_s: float  # the age at which it is to be written
    stored_at: float
    lifetime_s: float
    written_at: float = 0.0
    seen_at: float | None = None  # when a read first had the new title
    watched_until: float = 0.0  # when it was given up where none had
    stale_reads: int = 0
    first_was_stale_hit: bool = False
    database_was_new: bool = False
    disagreed: bool = False  # old by the API before and after the SELECT that said new

    @property
    def predicted_s(self) -> float:
        """The window after which the background refresh is due."""
        return self.stored_at + SOFT_SHARE * self.lifetime_s - self.written_at

    @property
    def window_s(self) -> float:
        """How long the write was not seen, or was looked for in vain."""
        return (self.seen_at or self.watched_until) - self.written_at

    @property
    def until_s(self) -> float:
        """How old the copy was when it was replaced: the window of a write just after it was stored."""
        return self.written_at + self.window_s - self.stored_at


@dataclass
class Observations:
    """All that was measured. Of pairs of booleans, one for each repetition."""

    scale: Scale
    copies: list[CachedNote] = field(default_factory=list)
    unread: list[tuple[bool, bool]] = field(default_factory=list)  # stale at STILL, new at OVER
    edits_ms: list[float] = field(default_factory=list)  # windows with the triggers on
    stale_with_triggers: int = 0
    cleared: list[tuple[bool, bool]] = field(default_factory=list)  # stale before, new after
    validated: list[int] = field(default_factory=list)  # statuses, triggers off
    validated_on_ms: list[float] = field(default_factory=list)  # until a 200, triggers on
    forced: list[tuple[bool, bool]] = field(default_factory=list)  # new, and then a hit with it
    written_through: list[bool] = field(default_factory=list)  # stale after the UPDATE
    own_writes: list[bool] = field(default_factory=list)  # new at the first read


def run(lab: Lab) -> Observations:
    """Alternate rounds with the triggers off and on, on one site; then recoveries and enhancements."""
    scale = QUICK if lab.quick else FULL
    observations = Observations(scale)
    variables = {
        "ADMIN_TOKEN": TOKEN,
        "CACHE_TTL_NOTE_SECONDS": str(scale.ttl_seconds),
        "CACHE_GRACE_SECONDS": str(GRACE_SECONDS),
    }
    with (
        lab.site("both arms", notes=500, variables=variables) as site,
        notes_of(site) as notes,
    ):
        for number in range(scale.rounds):
            lab.progress(f"triggers off, round {number + 1} of {scale.rounds}")
            with notes.triggers_off():
                observations.copies += _written_copies(notes, scale)
            lab.progress(f"triggers on, round {number + 1} of {scale.rounds}")
            _edits(notes, observations)
        lab.progress("copies that nobody reads, recoveries, enhancements")
        with notes.triggers_off():
            _unread(notes, observations)
            for _ in range(scale.repeats):
                _recover(notes, observations)
                _enhance(notes, observations)
        for _ in range(scale.repeats):
            observations.validated_on_ms.append(_validated(notes))
    return observations


def _written_copies(notes: Notes, scale: Scale) -> list[CachedNote]:
    """Cache some notes, write each at an age of its own, and read all until they are seen."""
    ages = [0.6 * scale.ttl_seconds * number / scale.copies for number in range(scale.copies)]
    copies = [_cached(notes, due_s) for due_s in ages]
    deadline = time.perf_counter() + scale.ttl_seconds + OVERDUE_SECONDS
    pause = threading.Event()
    while any(note.seen_at is None for note in copies) and time.perf_counter() < deadline:
        began = time.perf_counter()
        for note in copies:
            if not note.written_at:
                if time.perf_counter() < note.stored_at + note.due_s:
                    continue
                _write(notes, note)
            elif note.seen_at is None:
                _look(notes, note)
        pause.wait(max(0.0, began + POLL_SECONDS - time.perf_counter()))
    for note in copies:
        note.watched_until = time.perf_counter()
    return copies


def _cached(notes: Notes, due_s: float = 0.0) -> CachedNote:
    note = notes.create(OLD)
    notes.read(note)
    seconds_left, now = notes.seconds_left(note), time.perf_counter()
    return CachedNote(note, due_s, stored_at=now, lifetime_s=seconds_left)


def _write(notes: Notes, copy: CachedNote) -> None:
    notes.write_past_api(copy.note, NEW)
    copy.written_at = time.perf_counter()
    first = notes.read(copy.note)
    copy.first_was_stale_hit = first.is_hit and first.title == OLD
    copy.database_was_new = notes.title_in_database(copy.note) == NEW
    copy.disagreed = copy.first_was_stale_hit and copy.database_was_new
    copy.disagreed = _look(notes, copy) and copy.disagreed


def _look(notes: Notes, copy: CachedNote) -> bool:
    """Read it; return whether it was stale."""
    stale = notes.read(copy.note).title == OLD
    if stale:
        copy.stale_reads += 1
    else:
        copy.seen_at = time.perf_counter()
    return stale


def _edits(notes: Notes, observations: Observations) -> None:
    note = notes.create(OLD)
    for number in range(observations.scale.edits):
        notes.read(note)  # cached
        notes.write_past_api(note, f"edit {number}")
        committed = time.perf_counter()
        deadline = committed + OVERDUE_SECONDS
        while notes.read(note).title != f"edit {number}" and time.perf_counter() < deadline:
            observations.stale_with_triggers += 1
        observations.edits_ms.append((time.perf_counter() - committed) * 1000)


def _unread(notes: Notes, observations: Observations) -> None:
    """Read copies of the same age once: one before its lifetime is over, and one after."""
    pairs = [(_cached(notes), _cached(notes)) for _ in range(observations.scale.repeats)]
    for pair in pairs:
        for copy in pair:
            notes.write_past_api(copy.note, NEW)
    still, over = [pair for pair, _ in pairs], [pair for _, pair in pairs]
    stale = [answer == OLD for answer in _read_at(notes, still, STILL)]
    observations.unread = list(
        zip(stale, (answer == NEW for answer in _read_at(notes, over, OVER)), strict=True)
    )


def _read_at(notes: Notes, copies: Sequence[CachedNote], share: float) -> list[str]:
    """Return the titles of the copies, each read once, at a share of its lifetime."""
    titles = {}
    for note in sorted(copies, key=lambda copy: copy.stored_at + share * copy.lifetime_s):
        due = note.stored_at + share * note.lifetime_s
        threading.Event().wait(max(0.0, due - time.perf_counter()))
        titles[note.note] = notes.read(note.note).title
    return [titles[note.note] for note in copies]


def _recover(notes: Notes, observations: Observations) -> None:
    note = _stale(notes)
    before = notes.read(note).title == OLD
    notes.clear()
    observations.cleared.append((before, notes.read(note).title == NEW))


def _enhance(notes: Notes, observations: Observations) -> None:
    note = notes.create(OLD)
    etag = notes.read(note).etag
    notes.write_past_api(note, NEW)
    observations.validated.append(notes.read(note, etag=etag).status)
    note = _stale(notes)
    forced = notes.read(note, query="?cache=false").title == NEW
    after = notes.read(note)
    observations.forced.append((forced, after.is_hit and after.title == NEW))
    note = notes.create("Test, not yet written through")
    notes.read(note)
    notes.change(note, OLD)
    observations.own_writes.append(notes.read(note).title == OLD)
    notes.read(note, query="?cache=false")  # stores the copy, as write-through would have
    notes.write_past_api(note, NEW)
    observations.written_through.append(notes.read(note).title == OLD)


def _stale(notes: Notes) -> str:
    """Return a note whose copy is older than the database."""
    note = notes.create(OLD)
    notes.read(note)
    notes.write_past_api(note, NEW)
    return note


def _validated(notes: Notes) -> float:
    """Return after how many milliseconds an If-None-Match was answered with the new title."""
    note = notes.create(OLD)
    etag = notes.read(note).etag
    notes.write_past_api(note, NEW)
    committed = time.perf_counter()
    while notes.read(note, etag=etag).title != NEW:
        if time.perf_counter() > committed + OVERDUE_SECONDS:
            break
    return (time.perf_counter() - committed) * 1000
