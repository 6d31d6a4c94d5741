"""
A model of the trust lease while servers fail, and a checker that tries every interleaving.

One key and one tag; interleavings.py has the protocol of the stamps at its finest, without outages.
Here are writers, readers that check the lease and read Redis, loads, the relay, keepers that renew
the lease, replicas that lag and are promoted while the old primary still answers, and time.

Checked: a read under a lease never returns an older value than the newest write that was answered
before the read began. Assumed: PostgreSQL loses no commit, clocks run at the same rate, and a Redis
that becomes a replica disconnects its clients and is recognisable as another server.

What needs no state of its own, since every step may fail or be put off at any moment, as often as
it likes:

- a process stopped, killed or cut off from Redis or PostgreSQL takes no further step;
- Redis paused, unreachable or refusing writes is an UNLINK without a reply; readers need not notice;
- an UNLINK that arrives after its sender gave up, or whose reply is lost, is an evicted stamp;
- Redis killed and started empty is an evicted stamp; started with an old snapshot, a promotion;
- PostgreSQL away is a keeper that gives up, a writer that cannot look, a row that is not deleted.

Steps are merged where one order is the worst: a read begins when its lease is checked (later, and
more is demanded of it), a value is loaded as soon as its stamp is read (later, and it is newer). A
writer is answered once its UNLINK is confirmed under the lease; its row, as that of a relay, is
deleted at any moment after that, or never.
What a process believes of the lease is never more than what was ever granted, so State.held, the
most that any process can believe, stands for the copies of all.
"""

import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from tests.cachelayer.exploration import Outcome, report, search

LEASE_TICKS = 2  # how long a lease lives
NOTHING = -1  # no entry that could be served
REPLICA = -1  # the name of a server that clients do not reach


class Server(NamedTuple):
    """A Redis: its name (of one server, one run and one history), and the version it serves."""

    name: int
    entry: int = NOTHING  # one whose stamp is no longer there counts as none


class Writer(NamedTuple):
    """A writer between two steps."""

    writes_left: int
    step: str = "idle"  # or announced, committed, unlinked, releasing, deciding, waiting
    version: int = 0
    wait_ticks: int = 0  # until LEASE_TICKS after the commit, or the release of the intent
    server: int = 0  # that confirmed the UNLINK
    intent: str = ""  # or outstanding, delivered; released, it is a row like any other


class Reader(NamedTuple):
    """A reader between two steps: it has checked the lease, or loaded a value to be stored."""

    step: str = "idle"  # or checked, loaded
    version: int = 0  # checked: the newest write that was answered; loaded: the value
    server: int = 0  # of the connection that was checked
    valid: tuple[bool, bool] = (False, False)  # on which servers the stamp read is there still


class Keeper(NamedTuple):
    """A keeper between two steps."""

    step: str = "idle"  # or begun, locked, confirmed
    left: int = 0  # ticks left of the lease that it may grant
    rows: bool = False  # it read rows in the outbox; all are of the one tag
    server: int = 0  # that confirmed the UNLINK and the PING


class State(NamedTuple):
    """Everything: the stores, the processes, and what reads that begin now may demand."""

    writers: tuple[Writer, ...]
    readers: tuple[Reader, ...]
    keepers: tuple[Keeper, ...]
    writes: int  # how many there will be
    servers: tuple[Server, ...] = (Server(0), Server(REPLICA))
    same_stamp: bool = False  # both servers have the same stamp
    row: int = 0  # the committed version
    answered: int = 0  # the newest write that was answered
    outbox: frozenset[int] = frozenset()  # versions whose invalidation is outstanding
    confirmed: frozenset[int] = frozenset()  # of them, those whose rows may be deleted
    until: int = 0  # ticks left of the lease, as it stands in PostgreSQL
    server: int = 0  # the name for which it was granted
    held: tuple[int, ...] = (0,)  # for each name the ticks that some process may still believe
    delivering: tuple[int, int] | None = None  # the relay: a row, and the server that confirmed
    stale: bool = False  # a read returned less than it had to: the guarantee is broken


P = TypeVar("P", Writer, Reader, Keeper)
Steps = Iterator[tuple[str, State]]  # what may happen next, in words, and the state after it


@dataclass(frozen=True)
class Protocol:
    """The lease; each field that is not at its default, intents apart, breaks it."""

    name: str
    intents: bool = False  # the write is in MongoDB, between an intent and its release
    lease: bool = True  # False: each process believes its own breaker, as before the lease
    row_lock: bool = True  # keepers lock the row, writers look at it FOR SHARE
    reads_outbox_under_lock: bool = True
    until_from_begin: bool = True  # until counts from the transaction's now()
    until_never_lowered: bool = True
    unlinks_all_rows: bool = True  # False: those that a relay has locked are skipped
    waits_from_release: bool = True  # the wait after an intent begins with its release
    inserts_anew: bool = True  # an intent that is gone is released as a new row
    refuses_without_release: bool = True  # 503 where the release fails
    bound_to_server: bool = True  # a lease is for one server
    waits_for_end: bool = True  # another server gets one only after the old one's end
    new_epoch: bool = True  # and starts with no stamps
    deletes_rows_under_lease: bool = True  # only after an UNLINK on the lease's server
    replicas_renamed: bool = True  # a primary that became a replica is another server
    verified: bool = True  # False: hits without lease and PostgreSQL count as verified


@dataclass(frozen=True)
class Scope:
    """How many processes there are, how much each writer writes, how many promotions there are."""

    writes: tuple[int, ...] = (1,)  # of each writer
    readers: int = 1
    keepers: int = 1
    promotions: int = 0

    def __str__(self) -> str:
        counts = f"writes {self.writes}, {self.readers} readers, {self.keepers} keepers"
        return f"{counts}, {self.promotions} promotions"


def start(protocol: Protocol, scope: Scope) -> State:
    """Return the state in which a lease was just granted and nothing is cached."""
    return State(
        tuple(map(Writer, sorted(scope.writes))),
        (Reader(),) * scope.readers,
        (Keeper(),) * (scope.keepers if protocol.lease else 0),
        sum(scope.writes),
        until=LEASE_TICKS,
        held=(LEASE_TICKS,) + (0,) * scope.promotions,
    )


def successors(protocol: Protocol, scope: Scope, state: State) -> Steps:
    """Yield whatever may happen next, in words, and the state after it."""
    if protocol.lease:
        yield "a tick", _ticked(state)
        yield from _relay(protocol, state)
    yield from _losses(state)
    if scope.promotions:
        yield from _replication(protocol, scope, state)
    for processes, next_steps in (
        (state.writers, WRITER),
        (state.readers, READER),
        (state.keepers, KEEPER),
    ):
        for i, process in enumerate(processes):
            # Processes in the same state are interchangeable: the first of them stands for all.
            if process not in processes[:i]:
                yield from next_steps[process.step](protocol, state, i)


def _put(processes: tuple[P, ...], i: int, process: P) -> tuple[P, ...]:
    """Return the processes with one replaced, in the order that makes like states equal."""
    if len(processes) == 1:
        return (process,)
    return tuple(sorted((*processes[:i], process, *processes[i + 1 :])))


def _ticked(state: State) -> State:
    writers = tuple(
        [w._replace(wait_ticks=w.wait_ticks - 1) if w.wait_ticks else w for w in state.writers]
    )
    keepers = tuple([k._replace(left=k.left - 1) if k.left else k for k in state.keepers])
    return state._replace(
        until=max(0, state.until - 1),
        held=tuple([max(0, left - 1) for left in state.held]),
        writers=tuple(sorted(writers)),
        keepers=tuple(sorted(keepers)),
    )


def _reached(state: State) -> list[tuple[int, Server]]:
    """Return the servers that a client may be connected to."""
    return [(i, server) for i, server in enumerate(state.servers) if server.name != REPLICA]


def _unlinked(state: State, i: int) -> State:
    """Return the state after server i lost its stamp."""
    servers, readers = list(state.servers), state.readers
    servers[i] = Server(servers[i].name)
    if any(reader.valid[i] for reader in readers):
        changed = [
            r._replace(valid=(r.valid[0] and i != 0, r.valid[1] and i != 1)) for r in readers
        ]
        readers = tuple(sorted(changed))
    return state._replace(servers=tuple(servers), readers=readers, same_stamp=False)


def _with_entry(state: State, i: int, version: int) -> State:
    servers = list(state.servers)
    servers[i] = Server(servers[i].name, version)
    return state._replace(servers=tuple(servers))


def _copied(state: State, source: int, target: int, name: int) -> State:
    """Return the state after one server took over the other's data."""
    servers = list(state.servers)
    servers[target] = Server(name, servers[source].entry)
    readers = [reader._replace(valid=(reader.valid[source],) * 2) for reader in state.readers]
    return state._replace(servers=tuple(servers), readers=tuple(sorted(readers)), same_stamp=True)


def _losses(state: State) -> Steps:
    for i, server in _reached(state):
        yield f"Redis {server.name} loses the stamp", _unlinked(state, i)
        if server.entry != NOTHING:
            yield f"Redis {server.name} loses the entry", _with_entry(state, i, NOTHING)


def _replication(protocol: Protocol, scope: Scope, state: State) -> Steps:
    names = [server.name for server in state.servers]
    primary = names.index(max(names))
    other = 1 - primary
    if names[other] != REPLICA:
        # The old primary answers until it learns of the promotion, and takes over the new data.
        name = REPLICA if protocol.replicas_renamed else names[other]
        yield f"Redis {names[other]} follows", _copied(state, primary, other, name)
        return
    yield "the replica catches up", _copied(state, primary, other, REPLICA)
    if names[primary] < scope.promotions:
        promoted = list(state.servers)
        promoted[other] = promoted[other]._replace(name=names[primary] + 1)
        yield "the replica is promoted", state._replace(servers=tuple(promoted))


def _is_delivered(protocol: Protocol, state: State, server: int) -> bool:
    """Return whether a row is done with after an UNLINK that a server confirmed."""
    unbound = not (
        protocol.lease and protocol.bound_to_server and protocol.deletes_rows_under_lease
    )
    return unbound or state.held[server] > 0


def _locked(protocol: Protocol, state: State) -> bool:
    """Return whether a keeper holds the lock of the lease's row."""
    held = any(keeper.step in ("locked", "confirmed") for keeper in state.keepers)
    return held and protocol.row_lock


def _relay(protocol: Protocol, state: State) -> Steps:
    """Any process delivers a row at any moment, or never."""
    if protocol.intents:
        yield from _intents_due(protocol, state)
    for version in state.confirmed:
        yield f"row {version} is deleted", _deleted(state, version)
    if state.delivering:
        version, server = state.delivering
        yield "relay gives up", state._replace(delivering=None)
        if version in state.outbox and _is_delivered(protocol, state, server):
            confirmed = state.confirmed | {version}
            after = state._replace(confirmed=confirmed, delivering=None)
            yield f"relay confirms row {version}", after
        return
    for i, server in _reached(state):
        for version in state.outbox:
            after = _unlinked(state, i)._replace(delivering=(version, server.name))
            yield f"relay unlinks row {version} on Redis {server.name}", after


def _deleted(state: State, version: int) -> State:
    return state._replace(outbox=state.outbox - {version}, confirmed=state.confirmed - {version})


def _intents_due(protocol: Protocol, state: State) -> Steps:
    """An intent may be due at any moment, also before its write."""
    for i, server in _reached(state):
        for j, writer in enumerate(state.writers):
            if writer.intent == "outstanding" and _is_delivered(protocol, state, server.name):
                after = _put_writer(_unlinked(state, i), j, intent="delivered")
                yield f"relay delivers an intent on Redis {server.name}", after


def _put_writer(state: State, i: int, **changes: int | str) -> State:
    writer = state.writers[i]._replace(**changes)
    return state._replace(writers=_put(state.writers, i, writer))


def _answered(state: State, i: int) -> State:
    writer = state.writers[i]
    writers = _put(state.writers, i, Writer(writer.writes_left))
    return state._replace(writers=writers, answered=max(state.answered, writer.version))


def _write(protocol: Protocol, state: State, i: int) -> Steps:
    if writes_left := state.writers[i].writes_left:
        if protocol.intents:
            announced = _put_writer(
                state, i, step="announced", intent="outstanding", writes_left=writes_left - 1
            )
            yield "writer announces a write", announced
        else:
            yield from _commit(protocol, state, i)


def _commit(protocol: Protocol, state: State, i: int) -> Steps:
    writer, version = state.writers[i], state.row + 1
    outbox, writes_left = state.outbox, writer.writes_left
    if not protocol.intents:
        outbox |= {version}
        writes_left -= 1
    waits = protocol.lease and not (protocol.intents and protocol.waits_from_release)
    after = _put_writer(
        state._replace(row=version, outbox=outbox),
        i,
        step="committed",
        version=version,
        writes_left=writes_left,
        wait_ticks=LEASE_TICKS if waits else 0,
    )
    yield f"writer commits {version}", after


def _unlink(protocol: Protocol, state: State, i: int) -> Steps:
    for j, server in _reached(state):
        after = _put_writer(_unlinked(state, j), i, step="unlinked", server=server.name)
        yield f"writer unlinks on Redis {server.name}", after


def _unconfirmed(state: State, i: int) -> State:
    step = "releasing" if state.writers[i].intent else "deciding"
    return _put_writer(state, i, step=step, server=0)


def _invalidate(protocol: Protocol, state: State, i: int) -> Steps:
    yield from _unlink(protocol, state, i)
    yield "writer has no reply to its UNLINK", _unconfirmed(state, i)


def _finish(protocol: Protocol, state: State, i: int) -> Steps:
    writer = state.writers[i]
    if _is_delivered(protocol, state, writer.server):
        version = writer.version
        done = state
        if version in state.outbox:
            done = state._replace(confirmed=state.confirmed | {version})
        yield f"writer confirms row {version}, answers", _answered(done, i)
    yield "writer has no lease for that server", _unconfirmed(state, i)


def _release(protocol: Protocol, state: State, i: int) -> Steps:
    writer, outbox = state.writers[i], state.outbox
    if writer.intent == "outstanding" or protocol.inserts_anew:
        outbox |= {writer.version}
    wait_ticks = LEASE_TICKS if protocol.waits_from_release else writer.wait_ticks
    released = state._replace(outbox=outbox)
    after = _put_writer(released, i, step="deciding", intent="", wait_ticks=wait_ticks)
    yield "writer releases its intent", after
    if protocol.refuses_without_release:
        # Nothing is promised, so what is left of the intent does not matter.
        yield (
            "writer answers 503",
            state._replace(writers=_put(state.writers, i, Writer(writer.writes_left))),
        )
    else:
        yield "writer cannot release its intent", _put_writer(state, i, step="deciding")


def _decide(protocol: Protocol, state: State, i: int) -> Steps:
    if not protocol.lease:
        yield "writer answers, and opens its breaker", _answered(state, i)
        return
    if not _locked(protocol, state):  # FOR SHARE waits for the lock, and gives up
        if state.until == 0:
            yield "writer sees that the lease is over, answers", _answered(state, i)
        else:
            wait_ticks = min(state.until, state.writers[i].wait_ticks)
            after = _put_writer(state, i, step="waiting", wait_ticks=wait_ticks)
            yield f"writer sees {state.until} ticks left", after
    yield "writer cannot read the lease", _put_writer(state, i, step="waiting")


def _wait(protocol: Protocol, state: State, i: int) -> Steps:
    writer = state.writers[i]
    if writer.wait_ticks == 0:
        yield "writer has waited, answers", _answered(state, i)
    elif writer.version not in state.outbox:
        yield "writer sees that its row is gone, answers", _answered(state, i)
    else:
        yield from _unlink(protocol, state, i)


WRITER = {
    "idle": _write,
    "announced": _commit,
    "committed": _invalidate,
    "unlinked": _finish,
    "releasing": _release,
    "deciding": _decide,
    "waiting": _wait,
}


def _put_reader(state: State, i: int, reader: Reader) -> State:
    return state._replace(readers=_put(state.readers, i, reader))


def _look(protocol: Protocol, state: State, i: int) -> Steps:
    """Begin a read under the lease, or a load; that a load follows a miss does not matter."""
    for j, server in _reached(state):
        if state.answered:  # else nothing is demanded of it
            words, held = _believes(protocol, state, server.name)
            if held:
                checked = Reader("checked", state.answered, server.name)
                yield f"{words} (answered: {state.answered})", _put_reader(state, i, checked)
        if state.row < state.writes:  # else what it stores is never old
            valid = (j == 0 or state.same_stamp, j == 1 or state.same_stamp)
            loaded = _put_reader(state, i, Reader("loaded", state.row, valid=valid))
            yield f"reader begins on Redis {server.name}, loads {state.row}", loaded


def _believes(protocol: Protocol, state: State, server: int) -> tuple[str, bool]:
    """Return what a reader does before it reads a server, and whether it may go on."""
    if not protocol.lease:
        return "reader finds its breaker closed", True
    if not protocol.verified:
        return "reader is cut off from PostgreSQL, reads Redis nevertheless", True
    held = state.held[server] > 0 if protocol.bound_to_server else any(state.held)
    return f"reader checks the lease for Redis {server}", held


def _hit(protocol: Protocol, state: State, i: int) -> Steps:
    reader = state.readers[i]
    idle = _put_reader(state, i, Reader())
    for _, server in _reached(state):
        if server.name == reader.server and NOTHING < server.entry < reader.version:
            yield f"reader hits {server.entry} on Redis {server.name}", idle._replace(stale=True)
    yield "reader hits no older value", idle


def _store(protocol: Protocol, state: State, i: int) -> Steps:
    reader = state.readers[i]
    idle = _put_reader(state, i, Reader())
    for j, server in _reached(state):
        if reader.valid[j]:  # its connection may have changed since it began
            stored = _with_entry(idle, j, reader.version)
            yield f"reader stores {reader.version} on Redis {server.name}", stored
    yield "reader does not store", idle


READER = {"idle": _look, "checked": _hit, "loaded": _store}


def _put_keeper(state: State, i: int, keeper: Keeper) -> State:
    return state._replace(keepers=_put(state.keepers, i, keeper))


def _give_up(state: State, i: int) -> tuple[str, State]:
    return "keeper gives up", _put_keeper(state, i, Keeper())


def _begin(protocol: Protocol, state: State, i: int) -> Steps:
    rows = bool(state.outbox) and not protocol.reads_outbox_under_lock
    yield "keeper begins", _put_keeper(state, i, Keeper("begun", LEASE_TICKS, rows))


def _lock(protocol: Protocol, state: State, i: int) -> Steps:
    yield _give_up(state, i)
    if not _locked(protocol, state):  # NOWAIT: else it gives up
        keeper = state.keepers[i]
        rows = bool(state.outbox) if protocol.reads_outbox_under_lock else keeper.rows
        rows = rows and protocol.unlinks_all_rows
        words = "keeper locks the lease, reads " + ("rows" if rows else "no row")
        yield words, _put_keeper(state, i, Keeper("locked", keeper.left, rows))


def _confirm(protocol: Protocol, state: State, i: int) -> Steps:
    yield _give_up(state, i)
    keeper = state.keepers[i]
    for j, server in _reached(state):
        words, unlinks = f"keeper has Redis {server.name} confirm its UNLINK", keeper.rows
        if protocol.bound_to_server and server.name != state.server:
            if state.until and protocol.waits_for_end:
                continue
            words = f"keeper starts a new epoch on Redis {server.name}"
            unlinks = unlinks or protocol.new_epoch
        confirmed = Keeper("confirmed", keeper.left, server=server.name)
        yield words, _put_keeper(_unlinked(state, j) if unlinks else state, i, confirmed)


def _grant(protocol: Protocol, state: State, i: int) -> Steps:
    yield _give_up(state, i)
    keeper, held = state.keepers[i], list(state.held)
    until = keeper.left if protocol.until_from_begin else LEASE_TICKS
    if protocol.until_never_lowered and state.server == keeper.server:
        until = max(until, state.until)
    held[keeper.server] = max(held[keeper.server], until)
    granted = state._replace(until=until, server=keeper.server, held=tuple(held))
    words = f"keeper grants {until} ticks for Redis {keeper.server}"
    yield words, _put_keeper(granted, i, Keeper())


KEEPER = {"idle": _begin, "begun": _lock, "locked": _confirm, "confirmed": _grant}


def explore(protocol: Protocol, scope: Scope) -> Outcome:
    """Go through all states of a protocol, up to one in which the guarantee is broken."""
    return search(start(protocol, scope), functools.partial(successors, protocol, scope))


LEASE = Protocol("the lease")
INTENTS = Protocol("the lease, writes to MongoDB", intents=True)
BREAKERS = Protocol("each process's breaker, before the lease", lease=False)
MINIMAL, TWO_KEEPERS, PROMOTION = Scope(), Scope(keepers=2), Scope(promotions=1)
BROKEN = (
    (BREAKERS, MINIMAL),
    (replace(LEASE, name="no lock on the row", row_lock=False), MINIMAL),
    (replace(LEASE, name="outbox read before the lock", reads_outbox_under_lock=False), MINIMAL),
    (replace(LEASE, name="until counts from the commit", until_from_begin=False), MINIMAL),
    (replace(LEASE, name="a lower until is written", until_never_lowered=False), TWO_KEEPERS),
    (replace(LEASE, name="locked rows are skipped", unlinks_all_rows=False), MINIMAL),
    (replace(LEASE, name="hits without PostgreSQL are verified", verified=False), MINIMAL),
    (replace(INTENTS, name="waits from the write", waits_from_release=False), MINIMAL),
    (replace(INTENTS, name="an intent is not inserted anew", inserts_anew=False), MINIMAL),
    (replace(INTENTS, name="answers without a release", refuses_without_release=False), MINIMAL),
    (replace(LEASE, name="a lease for whatever server", bound_to_server=False), PROMOTION),
    (replace(LEASE, name="two servers with leases", waits_for_end=False), PROMOTION),
    (replace(LEASE, name="another server, the same epoch", new_epoch=False), PROMOTION),
    (
        replace(LEASE, name="rows deleted without a lease", deletes_rows_under_lease=False),
        PROMOTION,
    ),
    (replace(LEASE, name="a replica keeps its name", replicas_renamed=False), PROMOTION),
)
SCOPES = {
    "small": ((LEASE, MINIMAL), (INTENTS, MINIMAL), (LEASE, PROMOTION)),
    "full": (
        (LEASE, Scope(writes=(2,), readers=2, keepers=2)),
        (LEASE, Scope(writes=(1, 1), readers=2, keepers=2)),
        (INTENTS, Scope(writes=(1, 1), readers=2, keepers=2)),
        (INTENTS, PROMOTION),
        (LEASE, Scope(readers=2, keepers=2, promotions=1)),
        (LEASE, Scope(promotions=2)),
    ),
}


def main() -> None:
    """Print the outcome of each protocol in its scope: small or full."""
    for protocol, scope in (*BROKEN, *SCOPES["full" if "full" in sys.argv[1:] else "small"]):
        report(f"{protocol.name} ({scope})", explore(protocol, scope))


if __name__ == "__main__":
    main()
