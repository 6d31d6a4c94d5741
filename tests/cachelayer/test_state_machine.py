"""
Random histories over the real code and real servers: no read returns what a write has replaced.

PROVE_EXAMPLES sets how many histories (make prove: 2 000); hypothesis shrinks one that fails.
"""

import os
import signal

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from cachelayer import client, counts, entries, invalidation, outbox, protocol, read, trust
from cachelayer.client import CacheDown
from cachelayer.entries import Bypass, Source
from cachelayer.invalidation import around, clear, invalidate
from cachelayer.models import OutboxRow
from tests.cachelayer.test_read import WORDS, Word, key

pytestmark = pytest.mark.django_db(transaction=True)
EXAMPLES = int(os.environ.get("PROVE_EXAMPLES", "60"))
STEPS = 25
NAMES = ("one", "two")
names = st.sampled_from(NAMES)


class Rollback(Exception):
    """Ends a transaction without a commit."""


class CacheMachine(RuleBasedStateMachine):
    """
    A table of two words, its cache, and everything that may happen to both.

    committed is what the store says, due what a crash or an outage has left to the relay: until
    it ran, and only then, an older value may be read.
    """

    redis_pid: int

    @initialize()
    def start(self) -> None:
        OutboxRow.objects.all().delete()
        client.breaker.reset()
        self.committed = dict.fromkeys(NAMES, 0)
        self.due: set[str] = set()
        self.tickets: dict[int, tuple] = {}
        self.replayed: list[list[str]] = []
        self.broken = False
        self.version = 0
        for name in NAMES:
            protocol.unlink([f"word:{name}"])

    def load(self, name: str) -> Word:
        return Word(str(self.committed[name]))

    def check(self, name: str, value: Word | None) -> None:
        if name not in self.due or self.broken:  # while it is broken nothing comes from the cache
            assert value == Word(str(self.committed[name])), f"{name} is stale"

    def commit(self, name: str) -> None:
        """Write and commit; while Redis is down the row is left to the relay."""
        self.version += 1
        with transaction.atomic():
            invalidate(f"word:{name}")
            self.committed[name] = self.version
        if self.broken:
            self.due.add(name)

    @rule(name=names)
    def read(self, name):
        cached = read.get_or_load(key(name), lambda: self.load(name))
        self.check(name, cached.value)
        if self.broken:
            assert cached.source is Source.CACHE_DOWN

    @rule(bypass=st.sampled_from([Bypass.REFRESH, Bypass.NO_STORE]), name=names)
    def read_past_the_cache(self, bypass, name):
        cached = read.get_or_load(key(name), lambda: self.load(name), bypass=bypass)
        assert cached.value == Word(str(self.committed[name]))

    @rule()
    def read_both(self):
        answers = read.get_many(
            [key(name) for name in NAMES], lambda keys: [self.load(key.member) for key in keys]
        )
        for name, result in zip(NAMES, answers, strict=True):
            self.check(name, result.value)

    @rule(name=names)
    def write(self, name):
        self.commit(name)

    @rule(name=names)
    def write_and_roll_back(self, name):
        before = None if self.broken or self.due else store_state(name)
        with pytest.raises(Rollback), transaction.atomic():
            invalidate(f"word:{name}")
            raise Rollback
        assert self.broken or self.due or store_state(name) == before

    @rule(kept=names, dropped=names)
    def write_with_a_savepoint_rolled_back(self, kept, dropped):
        with transaction.atomic():
            with pytest.raises(Rollback), transaction.atomic():
                invalidate(f"word:{dropped}")
                raise Rollback
            self.commit(kept)

    @rule(name=names)
    def crash_between_commit_and_unlink(self, name):
        delivery = invalidation._Delivery.__call__
        invalidation._Delivery.__call__ = lambda self: None
        try:
            invalidate(f"word:{name}")
        finally:
            invalidation._Delivery.__call__ = delivery
        self.version += 1
        self.committed[name] = self.version
        self.due.add(name)
        self.replayed.append([f"word:{name}"])

    @rule(name=names, trouble=st.sampled_from(["none", "frozen", "frozen, and Redis stops"]))
    def write_to_another_store(self, name, trouble):
        """Announced by an intent; its writer may be frozen until the relay has deleted that."""
        with around(f"word:{name}"):
            if trouble != "none":
                OutboxRow.objects.update(due_at=Now())
                self.relay()
                self.read(name)
            if trouble.endswith("stops"):
                self.redis_down()
            self.version += 1
            self.committed[name] = self.version
        if self.broken:
            self.due.add(name)

    @rule()
    def relay(self):
        try:
            while outbox.deliver(also_not_due=True):
                pass
        except CacheDown:
            assert self.broken
            return
        self.due.clear()

    @rule()
    def deliver_again_what_was_delivered(self):
        if not self.broken:
            for tags in self.replayed:
                protocol.unlink(tags)

    @rule(name=names, slot=st.integers(0, 1))
    def begin_load(self, name, slot):
        """Another process begins to load, and reads the store."""
        try:
            ticket = protocol.begin(key(name))
        except CacheDown:
            return
        self.tickets[slot] = (name, ticket, self.load(name))

    @rule(slot=st.integers(0, 1))
    def end_load(self, slot):
        if slot in self.tickets:
            name, ticket, value = self.tickets.pop(slot)
            try:
                protocol.end(key(name), ticket, value)
            except CacheDown:
                assert self.broken

    @rule(slot=st.integers(0, 1))
    def end_load_unfenced(self, slot):
        """The entry of a loader that was frozen before its SET: its stamps must be enough."""
        if slot in self.tickets and not self.broken:
            name, ticket, value = self.tickets.pop(slot)
            if None not in ticket.stamps:
                entry = entries.encode(key(name), value, stamps=ticket.stamps, fresh_ms=60_000)
                client.client().set(key(name).entry_name, entry, px=60_000)

    @rule(which=st.sampled_from(["entry", "tag", "namespace", "lease"]), name=names)
    def evict(self, which, name):
        if not self.broken:
            entry_key = key(name)
            client.client().unlink(
                {
                    "entry": entry_key.entry_name,
                    "tag": entry_key.stamp_names[1],
                    "namespace": entry_key.stamp_names[0],
                    "lease": entry_key.lease_name,
                }[which]
            )

    @rule()
    def flush(self):
        if not self.broken:
            every = [*key("one").stamp_names, *key("two").stamp_names]
            every += [key(name).entry_name for name in NAMES]
            client.client().unlink(*every, *[key(name).lease_name for name in NAMES])

    @rule()
    def clear_the_namespace(self):
        clear([WORDS], cleared_by="the state machine")
        if self.broken:
            self.due |= set(NAMES)  # of them too a row is left

    @rule()
    def redis_down(self):
        """Redis is frozen, and that was noticed; the probe's waiting is left to redis_up."""
        if not self.broken:
            os.kill(self.redis_pid, signal.SIGSTOP)
            self.broken = True
            client.breaker.is_open = True

    @rule()
    def redis_up(self):
        """It goes on, and what was left is delivered."""
        if self.broken:
            os.kill(self.redis_pid, signal.SIGCONT)
            client.breaker.reset()
            assert trust.lease.wait(30)
            self.broken = False
            self.relay()
            self.broken = False
            self.due.clear()

    @invariant()
    def no_row_is_left_where_nothing_is_due(self):
        if getattr(self, "due", None) == set() and not self.broken:
            assert outbox.depth_and_age()[0] == 0

    def teardown(self) -> None:
        os.kill(self.redis_pid, signal.SIGCONT)
        client.breaker.reset()
        counts.take()
        connection.close()


def store_state(name: str) -> list[bytes | None]:
    return client.client().mget(key(name).entry_name, *key(name).stamp_names)


def explore(stack, phases=tuple(Phase)) -> None:
    (CacheMachine.redis_pid,) = [
        server.pid for server in stack.status() if server.server == "redis"
    ]
    run_state_machine_as_test(
        CacheMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=phases,
        ),
    )


@pytest.mark.timeout(1800)
class TestHistories:
    def test_no_read_returns_what_a_write_has_replaced(self, stack):
        explore(stack)

    @pytest.mark.parametrize(
        "fault",
        ["stamps are not compared", "invalidations are dropped"],
    )
    def test_the_machine_finds_a_broken_cache(self, stack, monkeypatch, fault):
        if fault == "invalidations are dropped":
            monkeypatch.setattr("cachelayer.invalidation._Delivery.__call__", lambda self: None)
        else:
            judge = entries.judge
            monkeypatch.setattr(
                entries, "judge", lambda key, entry, stamps: trusting(judge, key, entry, stamps)
            )

        with pytest.raises(AssertionError):
            explore(stack, phases=(Phase.generate,))  # to shrink what it finds takes long


def trusting(judge, key, entry, stamps):
    """What a cache without stamps would find: whatever was stored last."""
    found = judge(key, entry, stamps)
    if found.reason in ("invalidated", "epoch"):
        return entries.Lookup(None, found.value, 10_000, 0, found.size_bytes)
    return found
