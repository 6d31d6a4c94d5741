"""A model of the cache protocol and of naive ones, and a checker that tries every interleaving."""

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from tests.cachelayer.exploration import Outcome, report, search

NOBODY = NOT_STARTED = -1
MISSING = 0  # what is read of a key that is not there
Stamps = tuple[int, ...]  # one for each tag


class Reader(NamedTuple):
    """A reader between two steps."""

    left: int  # reads to be finished
    at: int = 0  # the next step of the protocol's reader program
    floor: int = NOT_STARTED  # the newest write that was answered when the read began
    version: int = 0  # what was loaded
    stored: bool = False  # what the end of the load reported
    stamps: Stamps = ()
    flight: int = NOBODY  # whose load is waited for; itself: others may join


class Writer(NamedTuple):
    """A writer between two steps."""

    left: int  # writes to be finished
    at: int = 0  # the next step of the protocol's writer program
    version: int = 0  # what was committed and is not answered


class State(NamedTuple):
    """The processes, Redis, PostgreSQL, and what may be demanded of reads that begin now."""

    readers: tuple[Reader, ...]
    writers: tuple[Writer, ...]
    tags: Stamps  # in Redis: stamps; or, with naive protocols, times, counters, "has the entry"
    entry: tuple[int, Stamps] | None = None  # in Redis: a version, and the stamps it carries
    lease: int = NOBODY  # in Redis: who holds it
    row: int = 0  # the committed version
    locked: bool = False  # a transaction has written the row
    outbox: tuple[tuple[int, int], ...] = ()  # what crashes left: version and tag
    answered: int = 0  # the newest write that was answered, or delivered by the relay
    stale: bool = False  # a read returned less than its floor: the guarantee is broken

    def put(self, field: Literal["readers", "writers", "tags"], i: int, new: Any) -> "State":
        old = getattr(self, field)
        return self._replace(**{field: (*old[:i], new, *old[i + 1 :])})

    def unused(self) -> int:
        """Return a number above all that is remembered: a new stamp, or the time."""
        carried = [r.stamps for r in self.readers] + [self.entry[1] if self.entry else ()]
        return 1 + max(max(stamps, default=0) for stamps in (self.tags, *carried))

    def returned(self, i: int, version: int, *, shared: bool = False) -> "State":
        """Return the state after a read; its followers take the value, or else look again."""
        readers, stale = list(self.readers), self.stale
        for j, reader in enumerate(readers):
            if j == i or (shared and reader.flight == i):
                stale = stale or version < reader.floor
                readers[j] = Reader(reader.left - 1)
            elif reader.flight == i:
                readers[j] = reader._replace(at=0, flight=NOBODY)
        return self._replace(readers=tuple(readers), stale=stale)


Steps = Iterator[tuple[str, State]]  # what may happen next, in words, and the state after it


@dataclass(frozen=True)
class Protocol:
    """What readers and writers do: each step one round trip. The defaults are delete-and-set."""

    name: str
    reader: tuple[Callable[["Protocol", State, int], Steps], ...]  # a hit ends a read early
    writer: tuple[Callable[["Protocol", State, int], Steps], ...]  # the last step answers
    servable: Callable[[State, Stamps], bool] = lambda state, tags: True  # the entry, if any
    invalidate: Callable[[State, int], State] = lambda state, tag: state._replace(entry=None)
    shares: Literal["never", "stored", "always"] = "never"  # when followers get a load's value
    random: bool = False  # stamps are drawn at random: nothing but their equality counts

    def read(self, state: State, i: int, **changes: Any) -> State:
        """Return the state with reader i changed and a step further; the last one returns."""
        reader = state.readers[i]._replace(**changes)
        if reader.at + 1 < len(self.reader):
            return state.put("readers", i, reader._replace(at=reader.at + 1))
        shared = self.shares == "always" or (self.shares == "stored" and reader.stored)
        return state.returned(i, reader.version, shared=shared)

    def wrote(self, state: State, i: int, version: int = 0) -> State:
        """Return the state with writer i a step further; the last one answers."""
        left, at, _ = state.writers[i]
        if at + 1 < len(self.writer):
            return state.put("writers", i, Writer(left, at + 1, version))
        answered = max(state.answered, version)
        return state.put("writers", i, Writer(left - 1))._replace(answered=answered)


def look(protocol: Protocol, state: State, i: int) -> Steps:
    if state.readers[i].floor == NOT_STARTED:  # else it has followed, and looks again
        state = state.put("readers", i, state.readers[i]._replace(floor=state.answered))
    if state.entry and protocol.servable(state, state.tags):
        yield f"hits {state.entry[0]}", state.returned(i, state.entry[0])
    else:
        yield "misses", protocol.read(state, i)


def look_first_at(protocol: Protocol, state: State, i: int, *, stamps: bool) -> Steps:
    """Read the stamps, or else the entry: where they lie on two servers, what a look reads first."""
    reader = state.readers[i]
    floor = state.answered if reader.floor == NOT_STARTED else reader.floor
    if stamps:
        words, version, seen = "reads the stamps", 0, state.tags
    else:
        words, (version, seen) = "reads the entry", state.entry or (0, ())
    yield words, protocol.read(state, i, floor=floor, version=version, stamps=seen)


def look_then_at(protocol: Protocol, state: State, i: int, *, stamps: bool) -> Steps:
    """Read the other of both, and compare."""
    version, seen = state.entry or (0, ())
    if stamps:
        version, seen = state.readers[i].version, state.tags
    if all(seen) and seen == state.readers[i].stamps:
        yield f"hits {version}", state.returned(i, version)
    else:
        yield "misses", protocol.read(state, i, version=0, stamps=())


def join(protocol: Protocol, state: State, i: int) -> Steps:
    waits = state.readers[i].flight != NOBODY
    yield "waits no longer" if waits else "leads", protocol.read(state, i, flight=i)
    for leader, other in enumerate(state.readers):
        # Which readers share a process is left open: who could follow may also lead.
        if other.flight == leader and not waits:
            follower = state.readers[i]._replace(flight=leader)
            yield f"follows reader {leader + 1}", state.put("readers", i, follower)


def begin_stamp(protocol: Protocol, state: State, i: int) -> Steps:
    """Make the next tag's stamp if it is missing, and read it: the pipeline is no transaction."""
    reader, tag = state.readers[i], len(state.readers[i].stamps)
    made = state.put("tags", tag, state.tags[tag] or state.unused())
    evicted = state.put("tags", tag, MISSING)  # between SET NX and GET
    for words, after in (("reads", made), ("misses", evicted)):
        stamps = (*reader.stamps, after.tags[tag])
        more = after.put("readers", i, reader._replace(stamps=stamps))
        complete = len(stamps) == len(state.tags)
        yield f"{words} stamp {tag + 1}", protocol.read(more, i) if complete else more


def begin_lease(protocol: Protocol, state: State, i: int) -> Steps:
    """Take the lease and look again; where another holds it, begin again or go without."""
    reader = state.readers[i]
    if state.entry and protocol.servable(state, reader.stamps):
        yield f"begins, hits {state.entry[0]}", state.returned(i, state.entry[0])
    elif state.lease == NOBODY:
        yield "takes the lease", protocol.read(state._replace(lease=i), i)
    else:
        again = reader._replace(at=reader.at - 1, stamps=())
        yield "waits for the lease", state.put("readers", i, again)
        yield "goes without the lease", protocol.read(state, i)


def take(words: str, changes: Callable[[State], dict[str, Any]]) -> Callable[..., Steps]:
    """Return a step that changes the reader alone."""
    return lambda protocol, state, i: iter(
        [(words.format(state), protocol.read(state, i, **changes(state)))]
    )


load = take("loads {.row}", lambda state: {"version": state.row})
close = take("closes the flight", lambda state: {"flight": NOBODY})


def store_if(allowed: Callable[[State, Reader], bool]) -> Callable[..., Steps]:
    """Return a step that stores what was loaded, if that is allowed, and releases the lease."""

    def step(protocol: Protocol, state: State, i: int) -> Steps:
        reader = state.readers[i]
        stored = allowed(state, reader)
        entry = (reader.version, reader.stamps) if stored else state.entry
        after = state._replace(entry=entry, lease=NOBODY if state.lease == i else state.lease)
        words = f"stores {reader.version}" if stored else "is refused"
        yield words, protocol.read(after, i, stored=stored)

    return step


def add_to_sets(protocol: Protocol, state: State, i: int) -> Steps:
    yield "adds to the sets", protocol.read(state._replace(tags=(1,) * len(state.tags)), i)


def write(protocol: Protocol, state: State, i: int) -> Steps:
    if not state.locked:
        yield "writes", protocol.wrote(state._replace(locked=True), i)


def commit(protocol: Protocol, state: State, i: int) -> Steps:
    row = state.row + 1
    yield f"commits {row}", protocol.wrote(state._replace(row=row, locked=False), i, row)


def unlink(protocol: Protocol, state: State, i: int) -> Steps:
    tag = i % len(state.tags)
    after = protocol.wrote(protocol.invalidate(state, tag), i, state.writers[i].version)
    yield f"invalidates tag {tag + 1}", after


WRITER = (write, commit, unlink)
BEGIN = (begin_stamp, begin_lease)
AS_BEGUN = store_if(lambda state, reader: reader.stamps == state.tags and all(reader.stamps))
SAME = store_if(lambda state, reader: reader.stamps == state.tags)
ALWAYS = store_if(lambda state, reader: all(reader.stamps))
# No cache can do this: it knows whether the value is still the committed one. It leaves to a
# naive protocol only the fault that is shown here; without it there are more.
CURRENT = store_if(lambda state, reader: reader.version == state.row)
REAL = Protocol(
    "stamps read before the load",
    (look, join, *BEGIN, load, close, AS_BEGUN),
    WRITER,
    servable=lambda state, stamps: state.entry[1] == stamps,
    invalidate=lambda state, tag: state.put("tags", tag, MISSING),
    shares="stored",
    random=True,
)
BLIND = (look, join, *BEGIN, load, close, ALWAYS)
# As in a Redis Cluster whose nodes hold the entry and its stamps apart.
SPLIT_LOOKS = tuple(
    replace(
        REAL,
        name=f"... and the look reads {'stamps' if stamps else 'the entry'} first",
        reader=(
            functools.partial(look_first_at, stamps=stamps),
            functools.partial(look_then_at, stamps=not stamps),
            *REAL.reader[1:],
        ),
    )
    for stamps in (True, False)
)
SAFE = (REAL, replace(REAL, name="... and stored whatever they are", reader=BLIND, shares="never"))
KEY_SETS = Protocol(
    "key sets, added to after the SET",
    (look, load, CURRENT, add_to_sets),
    WRITER,
    invalidate=lambda state, tag: state.put("tags", tag, MISSING)._replace(
        entry=None if state.tags[tag] else state.entry
    ),
)
NAIVE = (
    Protocol("delete after commit, SET", (look, load, ALWAYS), WRITER),
    Protocol("delete before commit", (look, load, CURRENT), (write, unlink, commit)),
    Protocol("SET NX", (look, load, store_if(lambda state, _: not state.entry)), WRITER),
    Protocol(
        "tag times, read after the load",
        (look, load, take("takes the time", lambda state: {"stamps": (state.unused(),)}), ALWAYS),
        WRITER,
        servable=lambda state, tags: state.entry[1][0] > max(tags),
        invalidate=lambda state, tag: state.put("tags", tag, state.unused()),
    ),
    replace(
        REAL,
        name="counters, missing = 0",
        reader=(look, take("reads counters", lambda state: {"stamps": state.tags}), load, SAME),
        invalidate=lambda state, tag: state.put("tags", tag, state.tags[tag] + 1),
        random=False,
    ),
    KEY_SETS,
    replace(KEY_SETS, name="key sets, evicted", reader=(look, add_to_sets, load, CURRENT)),
    replace(REAL, name="stamps read after the load", reader=(look, load, *BEGIN, AS_BEGUN)),
)


@dataclass(frozen=True)
class Scope:
    """How many processes there are. Writer n invalidates tag n, modulo the tags."""

    reads: tuple[int, ...]  # of each reader
    writes: tuple[int, ...]  # of each writer
    tags: int = 1
    faults: bool = True  # evictions, flushes, lost leases, crashes: as many as there can be


SCOPES = {
    "small": (Scope((1, 1), (1, 1)),),
    "full": (Scope((1, 1), (1, 1), tags=2), Scope((1, 1, 1), (1, 1))),
}


def explore(protocol: Protocol, scope: Scope) -> Outcome:
    """Go through all states of a protocol, up to one in which the guarantee is broken."""
    readers, writers = tuple(map(Reader, scope.reads)), tuple(map(Writer, scope.writes))
    return search(
        State(readers, writers, (MISSING,) * scope.tags),
        functools.partial(_successors, protocol, scope),
        functools.partial(_likeness, protocol),
    )


def _likeness(protocol: Protocol, state: State) -> tuple:
    """
    Return what is the same for all states that differ only in names.

    Readers run one program, so they are interchangeable; random stamps are numbered as they
    appear. Since no stamp comes back, one that nobody remembers need not be distinguished from a new one.
    """
    numbers = {MISSING: MISSING}

    def number(stamps: Stamps) -> Stamps:
        if not protocol.random:
            return stamps
        return tuple([numbers.setdefault(stamp, len(numbers)) for stamp in stamps])

    tags, entry = number(state.tags), state.entry and (state.entry[0], number(state.entry[1]))
    order = sorted(range(len(state.readers)), key=[r[:5] for r in state.readers].__getitem__)
    place = {NOBODY: NOBODY} | {i: place for place, i in enumerate(order)}
    readers = []
    for i in order:
        *rest, stamps, flight = state.readers[i]
        readers.append((*rest, number(stamps), place[flight]))
    return tuple(readers), state.writers, tags, entry, place[state.lease], *state[5:]


def _successors(protocol: Protocol, scope: Scope, state: State) -> Steps:
    for i, reader in enumerate(state.readers):
        if reader.left:
            for words, following in protocol.reader[reader.at](protocol, state, i):
                yield f"reader {i + 1} {words}", following
    for i, writer in enumerate(state.writers):
        if writer.left:
            for words, following in protocol.writer[writer.at](protocol, state, i):
                yield f"writer {i + 1} {words}", following
    if scope.faults:
        yield from _faults(protocol, state)


def _faults(protocol: Protocol, state: State) -> Steps:
    empty = (MISSING,) * len(state.tags)
    yield "FLUSH", state._replace(entry=None, lease=NOBODY, tags=empty)
    yield "entry evicted", state._replace(entry=None)
    yield "lease lost", state._replace(lease=NOBODY)
    for tag in range(len(state.tags)):
        yield f"tag {tag + 1} evicted", state.put("tags", tag, MISSING)
    for i, writer in enumerate(state.writers):
        if writer.version:
            crashed = state.put("writers", i, Writer(writer.left - 1))
            rows = sorted((*state.outbox, (writer.version, i % len(state.tags))))
            yield f"writer {i + 1} crashes", crashed._replace(outbox=tuple(rows))
    for version, tag in state.outbox:
        rest = tuple(row for row in state.outbox if row[0] != version)
        answered = max(state.answered, version)
        delivered = protocol.invalidate(state, tag)._replace(outbox=rest, answered=answered)
        yield f"relay delivers {version}", delivered


def main() -> None:
    """Print the outcome of each protocol in its scopes: small or full."""
    name = "full" if "full" in sys.argv[1:] else "small"
    for protocol in (*SAFE, *SPLIT_LOOKS, *NAIVE):
        for scope in SCOPES[name]:
            if report(protocol.name, explore(protocol, scope)).counterexample:
                break


if __name__ == "__main__":
    main()
