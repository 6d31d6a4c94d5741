"""The listener over a real Redis: what it hears, when it vouches, and who waits for whom."""

import os
import signal
import subprocess
import sys
import time

import pytest
import redis

from cachelayer import first_level, hosts, protocol, slots, trust
from cachelayer.host_register import LEASE_SECONDS, LIFETIME_SECONDS
from cachelayer.listener import DEAD_SECONDS
from cachelayer.namespace import register_name, stamp_name
from cachelayer.upkeep import Upkeep
from config.stack import ROOT
from config.stack.process import wait_until

whole = hosts._is_whole  # which the tests of everything else go without
TAG = "note:5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b"


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def lease(transactional_db):
    assert trust.lease.wait(30)


@pytest.fixture
def upkeep(redis_client):
    upkeep = Upkeep()
    upkeep.round()
    yield upkeep
    upkeep._end_listener()


@pytest.fixture
def listening(upkeep):
    assert wait_until(is_on, 20)
    return upkeep


@pytest.fixture
def operator(stack):
    with redis.Redis.from_url(stack.operator_urls()["REDIS_URL"]) as connection:
        yield connection


def is_on() -> bool:
    return first_level.reason_off() is None


def is_off(reason: str) -> bool:
    return first_level.reason_off() == reason


def changed(word: int, before: int) -> bool:
    assert slots.words is not None
    return slots.words[word] != before


def slot_value(tag: str = TAG) -> int:
    assert slots.words is not None
    return slots.words[slots.slot_of(tag)]


def test_its_process_loads_neither_database_nor_settings():
    code = (
        "import sys, cachelayer.listener; from django.conf import settings\n"
        "print(settings.configured, *{'django.db', 'django_redis'} & set(sys.modules))"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True
    )

    assert printed.stdout == b"False\n"


class TestListening:
    def test_turns_the_level_on(self, listening, redis_client):
        (state,) = (
            v for k, v in redis_client.hgetall(register_name()).items() if k == hosts.host()
        )

        assert state.startswith(b"on ")

    @pytest.mark.parametrize("command", ["unlink", "expire"])
    def test_hears_of_a_stamp_that_somebody_else_deletes(self, listening, redis_client, command):
        redis_client.set(stamp_name(TAG), b"x")
        time.sleep(0.1)
        before = slot_value()
        if command == "unlink":
            redis_client.unlink(stamp_name(TAG))
        else:
            redis_client.pexpire(stamp_name(TAG), 1)

        assert wait_until(lambda: slot_value() != before, 10)

    def test_renews_no_more_often_than_it_should(self, listening, operator):
        """Redis pushes what a script writes to its own caller, too, NOLOOP or not."""
        before = operator.info("commandstats")["cmdstat_eval"]["calls"]
        time.sleep(1.0)

        assert operator.info("commandstats")["cmdstat_eval"]["calls"] - before <= 6

    def test_hears_nothing_of_other_names(self, listening, redis_client):
        before = slot_value()
        redis_client.set("another:" + stamp_name(TAG), b"x")
        time.sleep(0.5)

        assert slot_value() == before

    def test_a_flush_starts_a_new_epoch(self, listening, operator):
        before = slots.words[slots.EPOCH]
        operator.flushdb()

        assert wait_until(lambda: changed(slots.EPOCH, before), 10)
        assert wait_until(is_on, 10)

    def test_a_lost_connection_starts_a_new_epoch(self, listening, operator):
        before = slots.words[slots.EPOCH]
        operator.client_kill_filter(_type="normal")

        assert wait_until(lambda: changed(slots.EPOCH, before), 10)
        assert wait_until(is_on, 10)

    def test_killed_it_vouches_no_more_and_another_takes_its_place(self, listening):
        os.kill(listening._listener.pid, signal.SIGKILL)
        assert wait_until(lambda: not is_on(), 10)
        listening.round()

        assert wait_until(is_on, 20)

    def test_stopped_it_vouches_no_more(self, listening):
        pid = listening._listener.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            assert wait_until(lambda: not is_on(), 10)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert wait_until(is_on, 10)

    def test_two_workers_have_one(self, listening):
        other = Upkeep()
        other.round()

        assert other._listener is None

    def test_it_ends_with_its_worker(self, listening):
        listener, listening._listener = listening._listener, None
        listener.stdin.close()  # as the kernel does when the worker dies

        assert listener.wait(10) == 0

    def test_a_file_made_anew_gets_one_of_its_own(self, listening):
        first = listening._listener.pid
        host = hosts.host()
        slots.path().unlink()
        listening.round()
        listening.round()

        assert hosts.host() != host
        assert listening._listener.pid != first
        assert wait_until(is_on, DEAD_SECONDS + 20)  # once the other host is struck out

    def test_a_file_that_is_cut_off_turns_the_level_off_until_it_is_moved_away(self, listening):
        listener = listening._listener
        os.truncate(slots.path(), 4_096)

        assert not is_on()
        listening.round()
        assert listener.wait(10) == 0
        assert is_off("no file of slots")
        slots.path().unlink()
        listening.round()
        assert wait_until(is_on, DEAD_SECONDS + 20)  # once the other host is struck out


class TestTwoHosts:
    def test_neither_is_on(self, listening, redis_client):
        redis_client.hset(register_name(), "another", "off 1")

        assert wait_until(lambda: is_off("another host is there"), 10)
        assert wait_until(
            lambda: redis_client.hget(register_name(), hosts.host()).startswith(b"off"), 10
        )

    def test_it_is_on_again_once_the_other_renews_no_more(self, listening, redis_client):
        redis_client.hset(register_name(), "another", "off 1")
        assert wait_until(lambda: not is_on(), 10)

        assert wait_until(is_on, DEAD_SECONDS + 10)
        assert redis_client.hget(register_name(), "another") is None

    def test_a_write_elsewhere_is_answered_when_the_level_is_off(self, listening, monkeypatch):
        """The writer has no file, as on a host without workers."""
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(slots, "words", None)
            elsewhere.setattr(slots, "attach", lambda: None)
            started = time.monotonic()
            protocol.unlink([TAG])
            seconds = time.monotonic() - started

        assert is_off("another host is there")
        assert seconds < LEASE_SECONDS

    def test_a_write_elsewhere_waits_for_a_listener_that_is_stopped(self, listening, monkeypatch):
        pid = listening._listener.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with monkeypatch.context() as elsewhere:
                elsewhere.setattr(slots, "words", None)
                elsewhere.setattr(slots, "attach", lambda: None)
                protocol.unlink([TAG])

            assert not is_on()
        finally:
            os.kill(pid, signal.SIGCONT)


class TestRegister:
    """What a write makes of the register that it read after its UNLINK."""

    @pytest.fixture(autouse=True)
    def _own_knowledge(self, monkeypatch):
        monkeypatch.setattr(hosts, "_is_whole", whole)
        monkeypatch.setattr(hosts, "_seen", (None, 0))

    @pytest.fixture
    def now(self, monkeypatch):
        """A clock that is set by hand, in seconds."""

        class Clock:
            seconds = 1000.0

        monkeypatch.setattr(hosts, "clock", lambda: int(Clock.seconds * 10**9))
        return Clock

    def test_one_that_was_there_for_a_lease_is_whole(self, now):
        assert not hosts.is_settled({b"id": b"1"})
        now.seconds += LEASE_SECONDS - 0.1
        assert not hosts.is_settled({b"id": b"1"})
        now.seconds += 0.1
        assert hosts.is_settled({b"id": b"1"})

    def test_one_that_was_lost_meanwhile_is_not(self, now):
        hosts.is_settled({b"id": b"1"})
        now.seconds += LEASE_SECONDS
        assert not hosts.is_settled({b"id": b"2"})
        now.seconds += LEASE_SECONDS
        assert not hosts.is_settled({b"id": b"1"})

    @pytest.mark.parametrize("register", [{}, redis.ResponseError("WRONGTYPE"), None])
    def test_none_is_not(self, register):
        assert not hosts.is_settled(register)

    def test_one_that_the_listener_has_known_is_whole_for_each_process_of_its_host(self, now):
        slots.attach()
        identity = 0x1234
        slots.words[slots.REGISTER] = identity
        slots.words[slots.REGISTER_SINCE] = int((now.seconds - LEASE_SECONDS) * 10**9)

        assert hosts.is_settled({b"id": b"%016x" % identity})

    def test_another_host_that_is_on_unsettles_it_and_ones_own_does_not(self, now):
        slots.attach()
        register = {b"id": b"1"}
        hosts.is_settled(register)
        now.seconds += LEASE_SECONDS

        assert hosts.is_settled(register | {hosts.host(): b"on 1", b"other": b"off 1"})
        assert not hosts.is_settled(register | {b"other": b"on 1"})

    def test_a_write_waits_for_a_register_that_is_new_and_enters_its_host(self, redis_client):
        started = time.monotonic()
        protocol.unlink([TAG])
        first = time.monotonic() - started
        started = time.monotonic()
        protocol.unlink([TAG])
        second = time.monotonic() - started

        assert first >= LEASE_SECONDS * 0.99
        assert second < first / 2
        register = redis_client.hgetall(register_name())
        assert register[hosts.host()].startswith(b"off")
        assert 0 < redis_client.ttl(register_name()) <= LIFETIME_SECONDS
