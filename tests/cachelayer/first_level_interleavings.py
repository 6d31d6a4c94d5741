"""
A model of the first level, and a checker that tries every interleaving.

One key and one tag. There are hosts with their workers, whose copies die by the slots of their host;
writers, the relay and a keeper of the lease, each on a host; listeners with the messages on their way
to them, which they acknowledge; the register of hosts; and time. The protocol of the stamps and the lease are in models of
their own (interleavings.py, outage_interleavings.py), and here in short: a look under the lease
returns what is in Redis, a load what is committed; the lease lapses, and is granted again.

Checked: a read never returns an older value than the newest write that was answered before it began.
Assumed: clocks run at the same rate, and a connection to Redis keeps the order of what it carries.

What needs no state of its own, since every step may be put off for ever:

- a process stopped or killed takes no further step;
- an acknowledgement on its way, or lost, is a sender that does not go on, or waits for the lease's end;
- a push, of a stamp deleted or of a flush, is left out: it could only kill copies sooner;
- a stamp evicted or expired is a missing entry (that the slots are overwritten is left out: worse);
- a file of slots that is deleted, or cannot be mapped, is another host; a command without a file, one
  without workers;
- a torn store, and tags that share a slot, are a slot that has changed.

Steps are merged where one order is the worst: a read begins when it looks at its copy; a value is
loaded as soon as its stamp is read; a renewal takes effect in Redis when it is sent (later, and what
it vouches for ends earlier, seen from there).

Left out is also what some other run finds, so that the states are few enough for several hosts:

- A read that returns an old value from Redis began just before: then the most is demanded of it. What
  began earlier, and is to be kept, needs its guard alone. Whether a look ends in a load, or in
  nothing, matters to nobody else: in another run it has not begun.
- Likewise a look whose guard holds no more, or a load whose stamp is gone, has not begun; and the
  guard of a load that holds no more is yet to be drawn.
- The last write's value is never old: a load, a copy, or an entry of it is none, and displaces none.
- A worker may look though it has a copy, as if another thread did, or it were evicted. So the more
  copies, the more can happen, and one that lives longer finds whatever it would have found. Hence of
  messages that nobody awaits, in a row, only the last is kept. Without that there are states without
  end: a keeper that gives up and begins again while the listener does not listen.
"""

import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

from tests.cachelayer.exploration import Outcome, report, search

LEASE_TICKS = 1  # for so long a listener vouches, and a write waits
DEAD_TICKS = LEASE_TICKS  # a host that has not renewed for so long is struck out: at the earliest
NOTHING = -1  # no entry that could be served
RELAY, KEEPER = 10, 11  # as senders of messages; a writer is its number
NOBODY = -1  # an acknowledgement that nobody awaits any more
OFF = 0  # ticks for which a host vouches that does not


class Worker(NamedTuple):
    """
    A worker: the version that its copy has, and its read between two steps.

    Looking and storing, it has a guard that holds; loaded and storing, its stamp is there still.
    """

    copy: int = NOTHING
    step: Literal["idle", "looking", "loaded", "storing", "keeping"] = "idle"
    version: int = 0  # that was loaded, or hit


class Item(NamedTuple):
    """What is on its way to a listener: the message of an invalidation, or the reply to a renewal."""

    kind: Literal["message", "slots", "reply"]
    sender: int = NOBODY  # message: who awaits that it is acknowledged
    lost: bool = False  # reply: the host was in the register no more
    age_ticks: int = 0  # reply: since the renewal was sent


UNAWAITED = Item("message")


class Host(NamedTuple):
    """
    A host: its workers, its listener, and its place in the register.

    One without workers only writes, and has no listener.
    """

    workers: tuple[Worker, ...] = ()
    connected: bool = True
    on_its_way: tuple[Item, ...] = ()
    vouched: int = OFF  # ticks
    entered: bool = False  # in the register
    renewed: int = 0  # ticks since then
    begins: bool = True  # the next renewal is the first of a session
    knows: int = LEASE_TICKS  # ticks since when it has seen one register


class Delivery(NamedTuple):
    """A writer, the relay, or a keeper between two steps."""

    host: int
    left: int = 0  # writes to come
    step: str = "idle"
    version: int = 0
    awaited: frozenset[int] = frozenset()  # hosts that have not acknowledged its UNLINK
    whole: bool = False  # the register was known to be, with the UNLINK
    wait: int = 0  # ticks until it need not wait for them any more
    covered: bool = False  # a lease was granted since, after its row was unlinked
    waits: bool = False  # keeper: for those hosts
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
    writes: int  # how many there will be
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
    waits_for_others: bool = True
    relay_waits_for_others: bool = True
    keeper_waits_for_others: bool = True
    acknowledges_after_slots: bool = True
    register_read_with_unlink: bool = True
    register_known_to_be_whole: bool = True
    vouches_from_sending: bool = True
    vouches_for_a_time: bool = True
    epoch_after_loss: bool = True  # of the connection
    epoch_after_absence: bool = True  # from the register
    dead_after_lease: bool = True  # a host is struck out, or passed over, when it vouches no more


@dataclass(frozen=True)
class Scope:
    """How much there is of everything; writers, relay and keeper by the numbers of their hosts."""

    workers: tuple[int, ...] = (2,)  # of each host
    writers: tuple[tuple[int, int], ...] = ((0, 1),)  # host, writes
    relay: int | None = 0
    keeper: int | None = 0
    lapses: int = 1
    losses: int = 0
    flushes: int = 0
    empty_register: bool = False  # nobody is registered
    known_register: bool = True  # and everybody has seen it for long

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
    """Return the state in which every host with workers is on, or nobody is registered."""
    hosts = []
    for workers in scope.workers:
        host = Host((Worker(),) * workers)
        if workers and not scope.empty_register:
            host = host._replace(vouched=LEASE_TICKS, entered=True, begins=False)
        if not scope.known_register:
            host = host._replace(knows=0)
        hosts.append(host)
    writers = tuple(Delivery(host, left) for host, left in scope.writers)
    relay, keeper = Delivery(scope.relay or 0), Delivery(scope.keeper or 0)
    return State(
        tuple(hosts),
        writers,
        relay,
        keeper,
        scope.lapses,
        scope.losses,
        scope.flushes,
        sum(left for _, left in scope.writers),
    )


def successors(protocol: Protocol, scope: Scope, state: State) -> Steps:
    """Yield what may happen next."""
    for number, writer in enumerate(state.writers):
        for words, following, moved in WRITER[writer.step](protocol, scope, state, writer, number):
            writers = _put(following.writers, number, moved)
            yield f"writer on {writer.host} {words}", following._replace(writers=writers)
    yield from _faults(protocol, state)
    if scope.lapses and scope.keeper is not None:
        yield from _keeper(protocol, state)
    if scope.lapses and scope.relay is not None:
        yield from _relay(protocol, state)
    if scope.time:
        yield from _tick(protocol, state)
    yield from _on_hosts(protocol, scope, state)


def _on_hosts(protocol: Protocol, scope: Scope, state: State) -> Steps:
    for number, host in enumerate(state.hosts):
        if scope.time and host.workers:
            yield from _listener(protocol, state, number)
        for place in range(len(host.workers)):
            yield from _worker(protocol, state, number, place)


def _put(items: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    return (*items[:place], item, *items[place + 1 :])


def _with_host(state: State, number: int, **changes: object) -> State:
    host = state.hosts[number]._replace(**changes)
    return state._replace(hosts=_put(state.hosts, number, host))


WITHOUT_GUARD = {"looking": "idle", "storing": "loaded"}
WITHOUT_STAMP = {"loaded": "idle", "storing": "idle"}


def _back(host: Host, steps: dict[str, str], **changes: int) -> Host:
    """Return the host after its workers have lost what those steps need."""
    if not host.workers:
        return host
    workers = sorted(
        worker._replace(step=steps.get(worker.step, worker.step), **changes)
        for worker in host.workers
    )
    return host._replace(workers=tuple(workers))


def _without_copies(host: Host) -> Host:
    """Return the host after no guard holds any more that was drawn there."""
    return _back(host, WITHOUT_GUARD, copy=NOTHING)


def _overwritten(state: State, number: int) -> State:
    host = _without_copies(state.hosts[number])
    return state._replace(hosts=_put(state.hosts, number, host))


def _invalidated(
    protocol: Protocol, state: State, sender: int, mine: int
) -> tuple[State, frozenset[int]]:
    """
    Return the state after a sender's script, and the hosts whose acknowledgement it awaits.

    The entry is invalid, and each host in the register but the sender's own is sent a message. What
    the sender has sent before, it awaits no more.
    """
    awaited = _others_on(protocol, state, mine)
    hosts = []
    for number, host in enumerate(_awaits_nobody(state, sender).hosts):
        if number != mine and host.entered:
            message = Item("message", sender if number in awaited else NOBODY)
            host = host._replace(on_its_way=_sent(host, message))
        hosts.append(_back(host, WITHOUT_STAMP))
    return state._replace(entry=NOTHING, hosts=tuple(hosts)), awaited


def _sent(host: Host, item: Item) -> tuple[Item, ...]:
    """Return what is on its way after one thing more."""
    return _merged((*host.on_its_way, item)) if host.connected else host.on_its_way


def _unawaited(host: Host, sender: int | None) -> Host:
    """Return the host after a sender awaits its acknowledgement no more; None: no sender does."""
    if not host.on_its_way:
        return host
    items = [
        item._replace(sender=NOBODY) if sender in (None, item.sender) else item
        for item in host.on_its_way
    ]
    return host._replace(on_its_way=_merged(items))


def _awaits_nobody(state: State, sender: int) -> State:
    hosts = tuple([_unawaited(host, sender) for host in state.hosts])
    return state._replace(hosts=hosts)


def _merged(items: Sequence[Item]) -> tuple[Item, ...]:
    """
    Return the items without messages that nobody awaits and that another follows at once.

    With that one the slots are overwritten, too: later, but before any reply behind both is read.
    """
    return tuple(
        [
            item
            for item, behind in zip(items, (*items, None)[1:], strict=True)
            if item != UNAWAITED or behind is None or behind.kind != "message"
        ]
    )


def _others_on(protocol: Protocol, state: State, mine: int) -> frozenset[int]:
    """Return the other hosts that may vouch, by the register as it is now."""
    most = LEASE_TICKS if protocol.dead_after_lease else 0
    return frozenset(
        number
        for number, host in enumerate(state.hosts)
        if number != mine and host.entered and host.renewed < most
    )


def _is_whole(protocol: Protocol, state: State, mine: int) -> bool:
    """Return whether that host knows that no host is on that is not in the register."""
    return state.hosts[mine].knows >= LEASE_TICKS or not protocol.register_known_to_be_whole


def _settled(protocol: Protocol, state: State, delivery: Delivery) -> bool:
    """Return whether no other host has a copy from before the delivery's UNLINK, as far as it sees."""
    mine, awaited = delivery.host, delivery.awaited
    is_whole = _is_whole(protocol, state, mine)
    if is_whole and awaited:
        awaited &= _others_on(protocol, state, mine)
    return (is_whole or delivery.whole) and not awaited


def _acknowledged(state: State, host: int, sender: int | None = None) -> State:
    """Return the state after a host has acknowledged a sender's UNLINK; None: every sender's."""

    def without(delivery: Delivery, number: int) -> Delivery:
        if host not in delivery.awaited or sender not in (None, number):
            return delivery
        return delivery._replace(awaited=delivery.awaited - {host})

    unawaited = _unawaited(state.hosts[host], sender)
    return state._replace(
        hosts=_put(state.hosts, host, unawaited),
        writers=tuple(without(writer, number) for number, writer in enumerate(state.writers)),
        relay=without(state.relay, RELAY),
        keeper=without(state.keeper, KEEPER),
    )


def _commit(
    protocol: Protocol, scope: Scope, state: State, writer: Delivery, number: int
) -> Writes:
    if writer.left:
        version = state.row + 1
        step = "committed" if protocol.slots_after_unlink else "slots first"
        awaited = frozenset[int]()
        if not protocol.register_read_with_unlink:
            awaited = _others_on(protocol, state, writer.host)
        moved = Delivery(writer.host, writer.left - 1, step, version, awaited)
        committed = state._replace(row=version, outbox=state.outbox | {version})
        yield f"commits {version}", committed, moved


def _slots_first(
    protocol: Protocol, scope: Scope, state: State, writer: Delivery, number: int
) -> Writes:
    yield (
        "overwrites the slots",
        _overwritten(state, writer.host),
        writer._replace(step="committed"),
    )


def _slots_after_wait(
    protocol: Protocol, scope: Scope, state: State, writer: Delivery, number: int
) -> Writes:
    following = _overwritten(state, writer.host) if protocol.slots_after_wait else state
    yield "overwrites the slots", following, writer._replace(step="done")


def _slots(protocol: Protocol, scope: Scope, state: State, writer: Delivery, number: int) -> Writes:
    overwrites = protocol.overwrites_slots and protocol.slots_after_unlink
    following = _overwritten(state, writer.host) if overwrites else state
    step = "settling" if scope.time and protocol.waits_for_others else "delivered"
    yield "overwrites the slots", following, writer._replace(step=step, wait=LEASE_TICKS)


def _settle(
    protocol: Protocol, scope: Scope, state: State, writer: Delivery, number: int
) -> Writes:
    if not writer.wait or _settled(protocol, state, writer):
        go = writer._replace(step="delivered", wait=0, awaited=frozenset(), whole=False)
        yield "need not wait for others", _awaits_nobody(state, number), go


def _delete_row(
    protocol: Protocol, scope: Scope, state: State, writer: Delivery, number: int
) -> Writes:
    yield "deletes its row", _without_row(state, writer.version), writer._replace(step="done")


def _answer(
    protocol: Protocol, scope: Scope, state: State, writer: Delivery, number: int
) -> Writes:
    answered = state._replace(answered=max(state.answered, writer.version))
    yield f"answers {writer.version}", answered, Delivery(writer.host, writer.left)


def _unlink(
    protocol: Protocol, scope: Scope, state: State, writer: Delivery, number: int
) -> Writes:
    go = functools.partial(writer._replace)
    if state.trusted:
        unlinked, awaited = _invalidated(protocol, state, number, writer.host)
        if not protocol.register_read_with_unlink:
            awaited = writer.awaited
        whole = _is_whole(protocol, state, writer.host)
        go_on = go(step="confirmed", awaited=awaited, whole=whole, covered=False)
        yield "has its UNLINK confirmed", unlinked, go_on
    if writer.step == "committed" and scope.lapses:
        following = state
        if not protocol.slots_after_wait:
            following = _overwritten(state, writer.host)
        yield "has no reply to its UNLINK", following, go(step="waiting", awaited=frozenset())
    if writer.step == "waiting" and state.keeper.step == "idle":
        yield from _wait(state, writer)


def _wait(state: State, writer: Delivery) -> Writes:
    waited = writer._replace(step="waited", covered=False)
    if writer.version not in state.outbox:
        yield "sees that its row is gone", state, waited
    if not state.trusted:
        yield "sees that the lease is over", state, waited
    if writer.covered:
        yield "has waited", state, waited


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
        version = min(state.outbox)
        unlinked, awaited = _invalidated(protocol, state, RELAY, relay.host)
        words = f"relay unlinks row {version}"
        whole = _is_whole(protocol, state, relay.host)
        go_on = go(unlinked, step="unlinked", version=version, awaited=awaited, whole=whole)
        yield words, go_on
    elif relay.step == "unlinked":
        wait = LEASE_TICKS if len(state.hosts) > 1 and protocol.relay_waits_for_others else 0
        following = _overwritten(state, relay.host) if protocol.relay_overwrites_slots else state
        yield "relay overwrites the slots", go(following, step="settling", wait=wait)
    elif relay.step == "settling" and (not relay.wait or _settled(protocol, state, relay)):
        following = _awaits_nobody(_without_row(state, relay.version), RELAY)
        yield "relay deletes the row", following._replace(relay=Delivery(relay.host))


def _lapsed(protocol: Protocol, state: State) -> State:
    hosts = tuple(map(_without_copies, state.hosts)) if protocol.bound_to_lease else state.hosts
    return state._replace(trusted=False, lapses=state.lapses - 1, hosts=hosts)


def _keeper(protocol: Protocol, state: State) -> Steps:
    keeper = state.keeper
    if keeper.step == "idle" and (state.outbox or not state.trusted):
        yield "keeper unlinks the rows", _keeper_unlinks(protocol, state)
    elif keeper.step == "unlinked":
        following = state
        if keeper.rows and protocol.relay_overwrites_slots:
            following = _overwritten(state, keeper.host)
        moved = keeper._replace(step="granting")
        yield "keeper overwrites the slots", following._replace(keeper=moved)
    elif keeper.step == "granting":
        ended = _awaits_nobody(state, KEEPER)._replace(keeper=Delivery(keeper.host))
        yield "keeper gives up", ended
        if not keeper.waits or _settled(protocol, state, keeper):
            writers = tuple(
                writer._replace(covered=True)
                if writer.step in ("committed", "waiting") and writer.version in keeper.rows
                else writer
                for writer in state.writers
            )
            yield "keeper grants the lease", ended._replace(trusted=True, writers=writers)


def _keeper_unlinks(protocol: Protocol, state: State) -> State:
    unlinked, awaited = state, frozenset[int]()
    host = state.keeper.host
    if state.outbox:
        unlinked, awaited = _invalidated(protocol, state, KEEPER, host)
    moved = Delivery(host, step="unlinked", rows=state.outbox)
    # A lease that begins anew ends all copies by itself.
    if state.outbox and state.trusted and protocol.keeper_waits_for_others:
        whole = _is_whole(protocol, state, host)
        return unlinked._replace(keeper=moved._replace(waits=True, awaited=awaited, whole=whole))
    return _awaits_nobody(unlinked, KEEPER)._replace(keeper=moved)


def _tick(protocol: Protocol, state: State) -> Steps:
    hosts = tuple(
        host._replace(
            vouched=max(host.vouched - protocol.vouches_for_a_time, OFF),
            renewed=min(host.renewed + 1, DEAD_TICKS) if host.entered else 0,
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


def _listener(protocol: Protocol, state: State, number: int) -> Steps:
    host = state.hosts[number]
    if host.on_its_way:
        yield from _hear(protocol, state, number)
    is_renewed = host.entered and not host.renewed and host.vouched == LEASE_TICKS
    awaits_reply = any(item.kind == "reply" for item in host.on_its_way)
    if host.connected and not awaits_reply and not is_renewed:  # which would change nothing
        following = state
        if host.begins:  # by its new session it is known that its copies are from after the UNLINK
            following = _acknowledged(state, number)
            host = following.hosts[number]
        sent = _sent(host, Item("reply", lost=not host.entered and not host.begins))
        renewed = _with_host(
            following, number, entered=True, renewed=0, begins=False, on_its_way=sent
        )
        yield f"listener {number} renews" + " its first time" * host.begins, renewed
    if host.entered and host.renewed >= (DEAD_TICKS if protocol.dead_after_lease else 0):
        yield f"host {number} is struck out", _with_host(state, number, entered=False, renewed=0)
    if not host.connected:
        again = _with_host(state, number, connected=True, on_its_way=(), begins=True)
        if protocol.epoch_after_loss:
            again = _with_host(_overwritten(again, number), number, vouched=OFF)
        yield f"listener {number} listens again", again


def _hear(protocol: Protocol, state: State, number: int) -> Steps:
    item, *rest = state.hosts[number].on_its_way
    heard = _with_host(state, number, on_its_way=tuple(rest))
    if item.kind == "reply":
        if item.lost and protocol.epoch_after_absence:
            ended = _with_host(_overwritten(heard, number), number, vouched=OFF, begins=True)
            yield f"listener {number} was in the register no more", ended
            return
        ticks = LEASE_TICKS - (item.age_ticks if protocol.vouches_from_sending else 0)
        yield f"listener {number} has a reply", _with_host(heard, number, vouched=ticks)
    elif item.kind == "message" and not protocol.acknowledges_after_slots:
        early = _acknowledged(state, number, item.sender)
        on_its_way = (Item("slots"), *rest)
        yield (
            f"listener {number} acknowledges first",
            _with_host(early, number, on_its_way=on_its_way),
        )
    else:
        overwritten = _acknowledged(_overwritten(heard, number), number, item.sender)
        yield f"listener {number} overwrites the slots and acknowledges", overwritten


def _faults(protocol: Protocol, state: State) -> Steps:
    if state.trusted and state.lapses:
        yield "the lease lapses", _lapsed(protocol, state)
    for number, host in enumerate(state.hosts):
        if state.losses and host.connected and host.workers:
            lost = _with_host(state, number, connected=False)
            yield f"listener {number} loses its connection", lost._replace(losses=state.losses - 1)
    if state.flushes:
        hosts = tuple(
            _back(host, WITHOUT_STAMP)._replace(entered=False, renewed=0, knows=0)
            for host in state.hosts
        )
        flushed = state._replace(hosts=hosts, entry=NOTHING, flushes=state.flushes - 1)
        yield "Redis is flushed", flushed


def _worker(protocol: Protocol, state: State, number: int, place: int) -> Steps:
    host = state.hosts[number]
    worker = host.workers[place]
    steps = WORKER[worker.step](protocol, state, worker, is_on=host.vouched > OFF)
    for words, following, moved in steps:
        # Workers of a host are alike: their order is none.
        workers = tuple(sorted(_put(host.workers, place, moved)))
        yield f"a worker of {number} {words}", _with_host(following, number, workers=workers)


Reads = Iterator[tuple[str, State, Worker]]  # words, the state, and the worker in it


def _begin(protocol: Protocol, state: State, worker: Worker, *, is_on: bool) -> Reads:
    leased = state.trusted or not protocol.bound_to_lease
    if NOTHING < worker.copy < state.answered and is_on and leased:
        yield f"hits its copy of {worker.copy}", state._replace(stale=True), worker
    if state.trusted:
        if NOTHING < state.entry < state.answered:
            yield f"hits {state.entry} in Redis", state._replace(stale=True), worker
        if is_on:
            yield "looks", state, Worker(worker.copy, "looking")
        if state.entry == NOTHING and state.row < state.writes:
            yield f"loads {state.row}", state, Worker(worker.copy, "loaded", state.row)


def _look(protocol: Protocol, state: State, worker: Worker, *, is_on: bool) -> Reads:
    if state.trusted and state.entry != NOTHING:
        kept = _kept(worker, state.entry, in_time=protocol.guard_before_look)
        yield f"hits {state.entry} in Redis", state, kept


def _draw_guard(protocol: Protocol, state: State, worker: Worker, *, is_on: bool) -> Reads:
    if is_on and (state.trusted or not protocol.bound_to_lease):
        yield "draws its guard", state, worker._replace(step="storing")
    if state.trusted:
        yield f"stores {worker.version}", state._replace(entry=worker.version), Worker(worker.copy)


def _store(protocol: Protocol, state: State, worker: Worker, *, is_on: bool) -> Reads:
    if state.trusted:
        kept = _kept(worker, worker.version, in_time=protocol.guard_before_store)
        yield f"stores and keeps {worker.version}", state._replace(entry=worker.version), kept


def _keep_late(protocol: Protocol, state: State, worker: Worker, *, is_on: bool) -> Reads:
    if is_on:
        yield f"keeps {worker.version}", state, Worker(worker.version)


WORKER = {
    "idle": _begin,
    "looking": _look,
    "loaded": _draw_guard,
    "storing": _store,
    "keeping": _keep_late,
}


def _kept(worker: Worker, version: int, *, in_time: bool) -> Worker:
    """Return the worker after its read: it keeps the version, or has not drawn its guard in time."""
    return Worker(version) if in_time else Worker(worker.copy, "keeping", version)


def explore(protocol: Protocol, scope: Scope) -> Outcome:
    """Go through all states of a protocol, up to one in which the guarantee is broken."""
    return search(start(scope), functools.partial(successors, protocol, scope))


LEVEL = Protocol("the first level")
ONE_HOST = Scope()
TWO_VERSIONS = Scope(writers=((0, 2),))  # of which either may be old
# Each of two hosts has a worker; one writes.
TWO_HOSTS = Scope(workers=(1, 1), writers=((1, 1),), relay=None, keeper=None, lapses=0)
# The second has none: it is a command, or its level is off.
COMMAND = replace(TWO_HOSTS, workers=(1, 0))
FLUSHED, CUT_OFF = replace(COMMAND, flushes=1), replace(COMMAND, losses=1)
LAPSE = replace(COMMAND, lapses=1)
RELAYED, KEPT = replace(LAPSE, relay=1), replace(LAPSE, keeper=1)
ENTERING = replace(COMMAND, empty_register=True)
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
    (replace(LEVEL, name="messages alone", waits_for_others=False), COMMAND),
    (
        replace(LEVEL, name="acknowledged before the slots", acknowledges_after_slots=False),
        COMMAND,
    ),
    (
        replace(LEVEL, name="the register read before", register_read_with_unlink=False),
        ENTERING,
    ),
    (replace(LEVEL, name="a register just made", register_known_to_be_whole=False), FLUSHED),
    (replace(LEVEL, name="vouches from the reply", vouches_from_sending=False), COMMAND),
    (replace(LEVEL, name="vouches for ever", vouches_for_a_time=False), COMMAND),
    (replace(LEVEL, name="no epoch after a loss", epoch_after_loss=False), CUT_OFF),
    (replace(LEVEL, name="no epoch after an absence", epoch_after_absence=False), COMMAND),
    (replace(LEVEL, name="struck out at once", dead_after_lease=False), COMMAND),
    (replace(LEVEL, name="a relay that does not wait", relay_waits_for_others=False), RELAYED),
    (replace(LEVEL, name="a keeper that does not wait", keeper_waits_for_others=False), KEPT),
)
SCOPES = {
    "small": (
        (LEVEL, ONE_HOST),
        (LEVEL, TWO_VERSIONS),
        (LEVEL, COMMAND),
        (LEVEL, CUT_OFF),
        (LEVEL, RELAYED),
    ),
    "full": (
        (LEVEL, TWO_VERSIONS),
        (LEVEL, Scope(writers=((0, 1), (0, 1)))),
        (LEVEL, Scope(workers=(3,))),
        (LEVEL, FLUSHED),
        (LEVEL, replace(FLUSHED, empty_register=True, known_register=False)),
        (LEVEL, replace(CUT_OFF, workers=(2, 0))),
        (LEVEL, RELAYED),
        (LEVEL, KEPT),
        (LEVEL, replace(COMMAND, workers=(2, 0), writers=((0, 1), (1, 1)))),
        (LEVEL, TWO_HOSTS),
    ),
}


def main() -> None:
    """Print the outcome of each protocol in its scope: small or full."""
    for protocol, scope in (*BROKEN, *SCOPES["full" if "full" in sys.argv[1:] else "small"]):
        report(f"{protocol.name} ({scope})", explore(protocol, scope))


if __name__ == "__main__":
    main()
