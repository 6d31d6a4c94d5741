"""
A model of the first level, and a checker that tries every interleaving.

One key and one tag. There are hosts with their workers, whose copies die by the slots of their host;
writers, the relay and a keeper of the lease, each on a host; listeners with the pushes on their way
to them; the register of hosts; and time. The protocol of the stamps and the lease are in models of
their own (interleavings.py, outage_interleavings.py), and here in short: a look under the lease
returns what is in Redis, a load what is committed; the lease lapses, and is granted again.

Checked: a read never returns an older value than the newest write that was answered before it began.
Assumed: clocks run at the same rate, and a connection to Redis keeps the order of what it carries.

What needs no state of its own, since every step may be put off for ever:

- a process stopped or killed takes no further step;
- a stamp evicted or expired is a missing entry (that the slots are overwritten is left out: worse);
- a file of slots that is deleted, or cannot be mapped, is another host;
- a torn store, and tags that share a slot, are a slot that has changed.

Steps are merged where one order is the worst: a read begins when it looks at its copy; a value is
loaded as soon as its stamp is read; a renewal takes effect in Redis when it is sent (later, and what
it vouches for ends earlier, seen from there).
"""

import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

from tests.cachelayer.exploration import Outcome, report, search

LEASE_TICKS = 1  # for so long a listener vouches, and a write waits
DEAD_TICKS = 2  # a host that has not renewed for so long is struck out
NOTHING = -1  # no entry that could be served
OFF = -1  # the level is off; 0: it was on, for a time that is over


class Worker(NamedTuple):
    """
    A worker: the version that its copy has, and its read between two steps.

    A guard that holds no more never does again: then there is no copy, and none will be kept.
    """

    copy: int = NOTHING
    step: Literal["idle", "looking", "loaded", "storing", "keeping"] = "idle"
    floor: int = 0  # the newest write that was answered when the read began; later the value
    guard: bool = False  # drawn before the look, or before what is loaded is stored, and as it was
    stamp: bool = False  # that of the load is there still


class Item(NamedTuple):
    """What is on its way to a listener: a push, a flush, or the reply to a renewal."""

    kind: Literal["push", "flush", "reply"]
    state: str = ""  # reply: that the host has in the register
    alone: bool = False  # reply: no other host is in there
    age_ticks: int = 0  # reply: since the renewal was sent


class Host(NamedTuple):
    """
    A host: its workers, its listener, and its place in the register.

    One without workers only writes; its listener, if it has one, only renews.
    """

    workers: tuple[Worker, ...] = ()
    connected: bool = True
    on_its_way: tuple[Item, ...] = ()
    vouched: int = OFF  # ticks
    entered: str = ""  # in the register: on, off, or not at all
    renewed: int = 0  # ticks since then
    knows: int = LEASE_TICKS  # ticks since when it has seen one register


class Delivery(NamedTuple):
    """A writer, the relay, or a keeper between two steps."""

    host: int
    left: int = 0  # writes to come
    step: str = "idle"
    version: int = 0
    settled: bool = False  # no other host was on, in the register read with the UNLINK
    wait: int = 0  # ticks until it need not look at the register any more
    covered: bool = False  # a lease was granted since, after its row was unlinked
    rows: frozenset[int] = frozenset()  # keeper: that it has read


class State(NamedTuple):
    """Everything."""

    hosts: tuple[Host, ...]
    writers: tuple[Delivery, ...]
    relay: Delivery
    keeper: Delivery
    lapses: int  # how often the lease will lapse, connections be lost, Redis be flushed
    losses: int
    flushes: int
    row: int = 0  # the committed version
    answered: int = 0  # the newest write that was answered
    outbox: frozenset[int] = frozenset()
    entry: int = NOTHING  # in Redis, its stamp in place
    trusted: bool = True
    stale: bool = False  # a read returned less than it had to


T = TypeVar("T")
Steps = Iterator[tuple[str, State]]
Writes = Iterator[tuple[str, State, Delivery]]  # and the writer in it


@dataclass(frozen=True)
class Protocol:
    """The first level; each field that is not at its default breaks it."""

    name: str
    slots_after_unlink: bool = True
    slots_after_wait: bool = True
    overwrites_slots: bool = True
    relay_overwrites_slots: bool = True  # and the keeper: else they leave that to the writer
    guard_before_look: bool = True
    guard_before_store: bool = True
    bound_to_lease: bool = True  # a hit needs the lease, of the generation of its copy
    off_before_it_says_so: bool = True
    waits_for_others: bool = True
    register_known_to_be_whole: bool = True
    relay_waits_for_others: bool = True
    keeper_waits_for_others: bool = True
    vouches_from_sending: bool = True
    epoch_after_loss: bool = True
    dead_after_lease: bool = True  # a host is struck out only when it vouches no more


@dataclass(frozen=True)
class Scope:
    """How much there is of everything; writers and relay by the numbers of their hosts."""

    workers: tuple[int, ...] = (2,)  # of each host
    writers: tuple[tuple[int, int], ...] = ((0, 1),)  # host, writes
    relay: int | None = 0  # and of the keeper
    lapses: int = 1
    losses: int = 0
    flushes: int = 0
    empty_register: bool = False  # nobody is registered, and nothing known of it

    @property
    def time(self) -> bool:
        """Whether there is more than one host: a single one has no need of its listener."""
        return len(self.workers) > 1

    def __str__(self) -> str:
        return (
            f"workers {self.workers}, writes {self.writers}, {self.lapses} lapses, "
            f"{self.losses} losses, {self.flushes} flushes"
        )


def start(scope: Scope) -> State:
    """Return the state in which the first host is on alone, or nobody is registered."""
    hosts = []
    for number, workers in enumerate(scope.workers):
        host = Host((Worker(),) * workers)
        if not scope.time or (number == 0 and not scope.empty_register):
            host = host._replace(vouched=LEASE_TICKS, entered="on")
        elif scope.empty_register:
            host = host._replace(knows=0)
        hosts.append(host)
    writers = tuple(Delivery(host, left) for host, left in scope.writers)
    relay, keeper = Delivery(scope.relay or 0), Delivery(scope.relay or 0)
    return State(tuple(hosts), writers, relay, keeper, scope.lapses, scope.losses, scope.flushes)


def successors(protocol: Protocol, scope: Scope, state: State) -> Steps:
    """Yield what may happen next."""
    for number, writer in enumerate(state.writers):
        for words, following, moved in WRITER[writer.step](protocol, scope, state, writer):
            writers = _put(following.writers, number, moved)
            yield f"writer on {writer.host} {words}", following._replace(writers=writers)
    yield from _faults(protocol, state)
    if scope.relay is not None and scope.lapses:
        yield from _keeper(protocol, state)
        yield from _relay(protocol, state)
    if scope.time:
        yield from _tick(state)
    for number, host in enumerate(state.hosts):
        if scope.time:
            yield from (_listener if host.workers else _registering)(protocol, state, number)
        for place in range(len(host.workers)):
            yield from _worker(protocol, state, number, place)


def _put(items: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    return (*items[:place], item, *items[place + 1 :])


def _with_host(state: State, number: int, **changes: object) -> State:
    host = state.hosts[number]._replace(**changes)
    return state._replace(hosts=_put(state.hosts, number, host))


def _without_copies(host: Host) -> Host:
    """Return the host after no guard holds any more that was drawn there."""
    workers = sorted(worker._replace(copy=NOTHING, guard=False) for worker in host.workers)
    return host._replace(workers=tuple(workers))


def _overwritten(state: State, number: int) -> State:
    host = _without_copies(state.hosts[number])
    return state._replace(hosts=_put(state.hosts, number, host))


def _unlinked(state: State) -> State:
    """Return the state after an UNLINK: the entry is invalid, and each listener will hear of it."""
    hosts = tuple(
        host._replace(
            workers=tuple(worker._replace(stamp=False) for worker in host.workers),
            on_its_way=_sent(host, Item("push")),
        )
        for host in state.hosts
    )
    return state._replace(entry=NOTHING, hosts=hosts if len(hosts) > 1 else _unstamped(state))


def _unstamped(state: State) -> tuple[Host, ...]:
    return tuple(
        host._replace(workers=tuple(worker._replace(stamp=False) for worker in host.workers))
        for host in state.hosts
    )


def _sent(host: Host, item: Item) -> tuple[Item, ...]:
    """Return what is on its way after one thing more; two pushes in a row are as one."""
    if not host.workers or not host.connected or (host.on_its_way and host.on_its_way[-1] == item):
        return host.on_its_way
    return (*host.on_its_way, item)


def _settled(protocol: Protocol, state: State, mine: int) -> bool:
    """Return whether the register, read now, lets a write on that host go on."""
    whole = state.hosts[mine].knows >= LEASE_TICKS or not protocol.register_known_to_be_whole
    others = (host for number, host in enumerate(state.hosts) if number != mine)
    return whole and not any(host.entered == "on" for host in others)


def _commit(protocol: Protocol, scope: Scope, state: State, writer: Delivery) -> Writes:
    if writer.left:
        version = state.row + 1
        step = "committed" if protocol.slots_after_unlink else "slots first"
        moved = Delivery(writer.host, writer.left - 1, step, version)
        committed = state._replace(row=version, outbox=state.outbox | {version})
        yield f"commits {version}", committed, moved


def _slots_first(protocol: Protocol, scope: Scope, state: State, writer: Delivery) -> Writes:
    yield (
        "overwrites the slots",
        _overwritten(state, writer.host),
        writer._replace(step="committed"),
    )


def _slots_after_wait(protocol: Protocol, scope: Scope, state: State, writer: Delivery) -> Writes:
    following = _overwritten(state, writer.host) if protocol.slots_after_wait else state
    yield "overwrites the slots", following, writer._replace(step="done")


def _slots(protocol: Protocol, scope: Scope, state: State, writer: Delivery) -> Writes:
    overwrites = protocol.overwrites_slots and protocol.slots_after_unlink
    following = _overwritten(state, writer.host) if overwrites else state
    step = "settling" if scope.time and protocol.waits_for_others else "delivered"
    yield "overwrites the slots", following, writer._replace(step=step, wait=LEASE_TICKS)


def _settle(protocol: Protocol, scope: Scope, state: State, writer: Delivery) -> Writes:
    if writer.settled or not writer.wait or _settled(protocol, state, writer.host):
        yield "need not wait for others", state, writer._replace(step="delivered", wait=0)


def _delete_row(protocol: Protocol, scope: Scope, state: State, writer: Delivery) -> Writes:
    yield "deletes its row", _without_row(state, writer.version), writer._replace(step="done")


def _answer(protocol: Protocol, scope: Scope, state: State, writer: Delivery) -> Writes:
    answered = state._replace(answered=max(state.answered, writer.version))
    yield f"answers {writer.version}", answered, Delivery(writer.host, writer.left)


def _unlink(protocol: Protocol, scope: Scope, state: State, writer: Delivery) -> Writes:
    go = functools.partial(writer._replace)
    if state.trusted:
        settled = _settled(protocol, state, writer.host)
        yield "has its UNLINK confirmed", _unlinked(state), go(step="confirmed", settled=settled)
    if writer.step == "committed" and scope.lapses:
        following = state
        if not protocol.slots_after_wait:
            following = _overwritten(state, writer.host)
        yield "has no reply to its UNLINK", following, go(step="waiting")
    if writer.step == "waiting" and state.keeper.step == "idle":
        if writer.version not in state.outbox:
            yield "sees that its row is gone", state, go(step="waited")
        if not state.trusted:
            yield "sees that the lease is over", state, go(step="waited")
        if writer.covered:
            yield "has waited", state, go(step="waited")


WRITER = {
    "idle": _commit,
    "slots first": _slots_first,
    "committed": _unlink,
    "waiting": _unlink,
    "waited": _slots_after_wait,
    "confirmed": _slots,
    "settling": _settle,
    "delivered": _delete_row,
    "done": _answer,
}


def _without_row(state: State, version: int) -> State:
    return state._replace(outbox=state.outbox - {version})


def _relay(protocol: Protocol, state: State) -> Steps:
    relay = state.relay

    def go(following: State, **changes: object) -> State:
        return following._replace(relay=relay._replace(**changes))

    if relay.step == "idle" and state.outbox and state.trusted:
        version, settled = min(state.outbox), _settled(protocol, state, relay.host)
        words = f"relay unlinks row {version}"
        yield words, go(_unlinked(state), step="unlinked", version=version, settled=settled)
    elif relay.step == "unlinked":
        wait = LEASE_TICKS if len(state.hosts) > 1 and protocol.relay_waits_for_others else 0
        following = _overwritten(state, relay.host) if protocol.relay_overwrites_slots else state
        yield "relay overwrites the slots", go(following, step="settling", wait=wait)
    elif relay.settled or not relay.wait or _settled(protocol, state, relay.host):
        following = _without_row(state, relay.version)
        yield "relay deletes the row", following._replace(relay=Delivery(relay.host))


def _lapsed(protocol: Protocol, state: State) -> State:
    hosts = tuple(map(_without_copies, state.hosts)) if protocol.bound_to_lease else state.hosts
    return state._replace(trusted=False, lapses=state.lapses - 1, hosts=hosts)


def _keeper(protocol: Protocol, state: State) -> Steps:
    keeper = state.keeper

    def go(following: State, **changes: object) -> State:
        return following._replace(keeper=keeper._replace(**changes))

    if keeper.step == "idle" and (state.outbox or not state.trusted):
        following = _unlinked(state) if state.outbox else state
        settled = _settled(protocol, state, keeper.host) or not state.outbox
        yield (
            "keeper unlinks the rows",
            go(following, step="unlinked", rows=state.outbox, settled=settled),
        )
    elif keeper.step == "unlinked":
        following = state
        if keeper.rows and protocol.relay_overwrites_slots:
            following = _overwritten(state, keeper.host)
        yield "keeper overwrites the slots", go(following, step="granting")
    elif keeper.step == "granting":
        yield "keeper gives up", state._replace(keeper=Delivery(keeper.host))
        if (
            keeper.settled
            or not protocol.keeper_waits_for_others
            or _settled(protocol, state, keeper.host)
        ):
            writers = tuple(
                writer._replace(covered=writer.covered or writer.version in keeper.rows)
                for writer in state.writers
            )
            granted = state._replace(trusted=True, writers=writers, keeper=Delivery(keeper.host))
            yield "keeper grants the lease", granted


def _tick(state: State) -> Steps:
    hosts = tuple(
        host._replace(
            vouched=max(host.vouched - 1, 0) if host.vouched != OFF else OFF,
            renewed=min(host.renewed + 1, DEAD_TICKS) if host.entered and host.workers else 0,
            knows=min(host.knows + 1, LEASE_TICKS),
            on_its_way=tuple(
                item._replace(age_ticks=min(item.age_ticks + 1, LEASE_TICKS))
                if item.kind == "reply"
                else item
                for item in host.on_its_way
            ),
        )
        for host in state.hosts
    )
    writers = tuple(writer._replace(wait=max(writer.wait - 1, 0)) for writer in state.writers)
    relay = state.relay._replace(wait=max(state.relay.wait - 1, 0))
    yield "a tick passes", state._replace(hosts=hosts, writers=writers, relay=relay)


def _registering(protocol: Protocol, state: State, number: int) -> Steps:
    """Yield what becomes of the entry of a host without workers, at any time."""
    entered = "on" if _alone(state, number) else "off"
    for entry in {"", entered} - {state.hosts[number].entered}:
        words = f"host {number} is " + (entry or "no more") + " in the register"
        yield words, _with_host(state, number, entered=entry)


def _alone(state: State, number: int) -> bool:
    return not any(host.entered for place, host in enumerate(state.hosts) if place != number)


def _listener(protocol: Protocol, state: State, number: int) -> Steps:
    host = state.hosts[number]
    if host.on_its_way:
        yield from _hear(protocol, state, number)
    if host.connected and not any(item.kind == "reply" for item in host.on_its_way):
        alone = _alone(state, number)
        vouches = host.vouched != OFF and protocol.off_before_it_says_so
        reply = Item("reply", "on" if vouches or alone else "off", alone)
        sent = _sent(host, reply)
        renewed = _with_host(state, number, entered=reply.state, renewed=0, on_its_way=sent)
        yield f"listener {number} renews: {reply.state}", renewed
    if host.entered and host.renewed >= (DEAD_TICKS if protocol.dead_after_lease else 0):
        yield f"host {number} is struck out", _with_host(state, number, entered="", renewed=0)
    if not host.connected:
        again = _with_host(state, number, connected=True, on_its_way=())
        if protocol.epoch_after_loss:
            again = _with_host(_overwritten(again, number), number, vouched=OFF)
        yield f"listener {number} listens again", again


def _hear(protocol: Protocol, state: State, number: int) -> Steps:
    item, *rest = state.hosts[number].on_its_way
    taken = _with_host(state, number, on_its_way=tuple(rest))
    if item.kind == "reply":
        ticks = LEASE_TICKS - (item.age_ticks if protocol.vouches_from_sending else 0)
        judged = _with_host(taken, number, vouched=ticks if item.alone else OFF)
        yield f"listener {number} has a reply", judged
        return
    following = _overwritten(taken, number)
    if item.kind == "flush":
        following = _with_host(following, number, vouched=OFF)
    yield f"listener {number} hears of a {item.kind}", following


def _faults(protocol: Protocol, state: State) -> Steps:
    if state.trusted and state.lapses:
        yield "the lease lapses", _lapsed(protocol, state)
    for number, host in enumerate(state.hosts):
        if state.losses and host.connected and host.workers:
            lost = _with_host(state, number, connected=False)
            yield f"listener {number} loses its connection", lost._replace(losses=state.losses - 1)
    if state.flushes:
        hosts = tuple(
            host._replace(entered="", renewed=0, knows=0, on_its_way=_sent(host, Item("flush")))
            for host in _unstamped(state)
        )
        flushed = state._replace(hosts=hosts, entry=NOTHING, flushes=state.flushes - 1)
        yield "Redis is flushed", flushed


def _worker(protocol: Protocol, state: State, number: int, place: int) -> Steps:
    host = state.hosts[number]
    worker = host.workers[place]
    steps = WORKER[worker.step](protocol, state, worker, is_on=host.vouched > 0)
    for words, following, moved in steps:
        # Workers of a host are alike: their order is none.
        workers = tuple(sorted(_put(host.workers, place, moved)))
        yield f"a worker of {number} {words}", _with_host(following, number, workers=workers)


Reads = Iterator[tuple[str, State, Worker]]  # words, the state, and the worker in it


def _begin(protocol: Protocol, state: State, worker: Worker, *, is_on: bool) -> Reads:
    leased = state.trusted or not protocol.bound_to_lease
    if worker.copy != NOTHING and is_on and leased:
        if worker.copy < state.answered:
            yield f"hits its copy of {worker.copy}", state._replace(stale=True), worker
    elif state.trusted:
        looking = Worker(worker.copy, "looking", state.answered, guard=is_on)
        yield f"looks (answered: {state.answered})", state, looking


def _look(protocol: Protocol, state: State, worker: Worker, *, is_on: bool) -> Reads:
    if not state.trusted:
        yield "reads the store", state, Worker(worker.copy)
    elif state.entry != NOTHING:
        following = state._replace(stale=state.entry < worker.floor)
        kept = _kept(worker, state.entry, in_time=protocol.guard_before_look)
        yield f"hits {state.entry} in Redis", following, kept
    else:
        # What is guarded from before the look would be killed by the push of its own stamp.
        loaded = worker._replace(step="loaded", floor=state.row, stamp=True, guard=False)
        yield f"loads {state.row}", state, loaded


def _draw_guard(protocol: Protocol, state: State, worker: Worker, *, is_on: bool) -> Reads:
    guard = is_on and (state.trusted or not protocol.bound_to_lease)
    yield "draws its guard", state, worker._replace(step="storing", guard=guard)


def _store(protocol: Protocol, state: State, worker: Worker, *, is_on: bool) -> Reads:
    version = worker.floor
    if worker.stamp and state.trusted:
        kept = _kept(worker, version, in_time=protocol.guard_before_store)
        yield f"stores {version}", state._replace(entry=version), kept
    else:
        yield f"may not store {version}", state, Worker(worker.copy)


def _keep_late(protocol: Protocol, state: State, worker: Worker, *, is_on: bool) -> Reads:
    yield f"keeps {worker.floor}", state, Worker(worker.floor if is_on else worker.copy)


WORKER = {
    "idle": _begin,
    "looking": _look,
    "loaded": _draw_guard,
    "storing": _store,
    "keeping": _keep_late,
}


def _kept(worker: Worker, version: int, *, in_time: bool) -> Worker:
    """Return the worker after its read: it keeps the version, under its guard where that was drawn in time."""
    if not in_time:
        return Worker(worker.copy, "keeping", version)
    return Worker(version if worker.guard else worker.copy)


def explore(protocol: Protocol, scope: Scope) -> Outcome:
    """Go through all states of a protocol, up to one in which the guarantee is broken."""
    return search(start(scope), functools.partial(successors, protocol, scope))


LEVEL = Protocol("the first level")
ONE_HOST = Scope()
# The second host has no workers: it writes, as a command does, or workers whose level is off.
TWO_HOSTS = Scope(workers=(1, 0), writers=((1, 1),), relay=None, lapses=0)
FLUSHED, CUT_OFF = replace(TWO_HOSTS, flushes=1), replace(TWO_HOSTS, losses=1)
LAPSE = replace(TWO_HOSTS, lapses=1)
OUTAGE = replace(LAPSE, relay=1)
BROKEN = (
    (replace(LEVEL, name="slots before the UNLINK", slots_after_unlink=False), ONE_HOST),
    (
        replace(
            LEVEL,
            name="slots before the wait, and not by the relay",
            slots_after_wait=False,
            relay_overwrites_slots=False,
        ),
        ONE_HOST,
    ),
    (replace(LEVEL, name="no slots", overwrites_slots=False), ONE_HOST),
    (replace(LEVEL, name="a guard from after the look", guard_before_look=False), ONE_HOST),
    (replace(LEVEL, name="a guard from after the store", guard_before_store=False), ONE_HOST),
    (replace(LEVEL, name="hits without a lease", bound_to_lease=False), LAPSE),
    (replace(LEVEL, name="off in the register, then off", off_before_it_says_so=False), TWO_HOSTS),
    (replace(LEVEL, name="no wait for other hosts", waits_for_others=False), TWO_HOSTS),
    (
        replace(LEVEL, name="a register just made", register_known_to_be_whole=False),
        FLUSHED,
    ),
    (replace(LEVEL, name="vouches from the reply", vouches_from_sending=False), TWO_HOSTS),
    (replace(LEVEL, name="no epoch after a loss", epoch_after_loss=False), CUT_OFF),
    (replace(LEVEL, name="struck out at once", dead_after_lease=False), TWO_HOSTS),
    (replace(LEVEL, name="a relay that does not wait", relay_waits_for_others=False), OUTAGE),
    (replace(LEVEL, name="a keeper that does not wait", keeper_waits_for_others=False), OUTAGE),
)
SCOPES = {
    "small": ((LEVEL, ONE_HOST), (LEVEL, TWO_HOSTS)),
    "full": (
        (LEVEL, Scope(writers=((0, 2),))),
        (LEVEL, Scope(writers=((0, 1), (0, 1)))),
        (LEVEL, Scope(workers=(3,))),
        (LEVEL, FLUSHED),
        (LEVEL, CUT_OFF),
        (LEVEL, replace(TWO_HOSTS, workers=(2, 0))),
        (LEVEL, replace(TWO_HOSTS, workers=(1, 1))),
        (LEVEL, replace(FLUSHED, empty_register=True)),
        (LEVEL, OUTAGE),
    ),
}


def main() -> None:
    """Print the outcome of each protocol in its scope: small or full."""
    for protocol, scope in (*BROKEN, *SCOPES["full" if "full" in sys.argv[1:] else "small"]):
        report(f"{protocol.name} ({scope})", explore(protocol, scope))


if __name__ == "__main__":
    main()
