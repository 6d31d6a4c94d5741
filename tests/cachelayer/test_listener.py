"""The listener over a real Redis: what it hears, when it vouches, and who waits for it."""

import os
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest
import redis

from cachelayer import client, first_level, hosts, protocol, slots, trust
from cachelayer.host_register import LEASE_SECONDS, LIFETIME_SECONDS
from cachelayer.invalidation import invalidate
from cachelayer.listener import DEAD_SECONDS
from cachelayer.namespace import register_name, stamp_name
from cachelayer.read import get_or_load
from cachelayer.upkeep import Upkeep
from config.stack import ROOT
from config.stack.process import wait_until
from config.store_urls import redis_cache
from tests.cachelayer.test_read import LOADED, Word, key
from tests.sentinels import ACCOUNT, SERVICE, sentinel_of

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

        assert state.startswith(b"on:")

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
        before = operator.info("commandstats")["cmdstat_hset"]["calls"]
        time.sleep(1.0)

        assert operator.info("commandstats")["cmdstat_hset"]["calls"] - before <= 6

    def test_a_load_kills_no_copy_of_what_it_has_loaded(self, listening, redis_client):
        one = key()
        tag = one.tags[1]
        invalidate(tag)

        def load() -> Word:
            # Begun: the push of the stamps that were made for this load is heard before the guard is drawn.
            assert wait_until(lambda: slot_value(tag) != begun_at, 20)
            return LOADED

        begun_at = slot_value(tag)
        cached = get_or_load(one, load)
        replies = first_level.Copies()
        assert replies.put("reply", b"{}", 2, cached.guard, cached.fresh_ms / 1000)
        before = slot_value()
        redis_client.set(stamp_name(TAG), b"last")  # heard after all that the load has changed
        assert wait_until(lambda: slot_value() != before, 20)

        assert replies.get("reply") == b"{}"

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
        operator.client_kill_filter(_type="pubsub")

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


class TestBehindSentinel:
    def test_listens_to_the_server_that_it_names(self, settings, stack, tmp_path, operator):
        account = urlsplit(stack.urls()["REDIS_URL"]).netloc.rpartition("@")[0]
        with sentinel_of(stack, tmp_path) as port:
            url = f"redis+sentinel://{account}@[::1]:{port}/{SERVICE}/0?{ACCOUNT}"
            cache = redis_cache(url, timeout_seconds=1)
            settings.CACHES = settings.CACHES | {
                "default": {
                    "LOCATION": cache.location,
                    "OPTIONS": {**cache.options, "CONNECTION_POOL_KWARGS": cache.pool},
                }
            }
            upkeep = Upkeep()
            upkeep.round()
            try:
                assert wait_until(is_on, 30)
                before = slot_value()
                operator.set(stamp_name(TAG), b"x")
                operator.unlink(stamp_name(TAG))
                assert wait_until(lambda: slot_value() != before, 10)
            finally:
                upkeep._end_listener()


class TestHostOfAnEarlierVersion:
    """It neither sends messages nor acknowledges them, and is on only while alone in the register."""

    REASON = "a host of an earlier version is there"

    def test_while_it_is_there_the_level_is_off(self, listening, redis_client):
        redis_client.hset(register_name(), "earlier", "off 1")

        assert wait_until(lambda: is_off(self.REASON), 10)
        assert wait_until(
            lambda: redis_client.hget(register_name(), hosts.host()).startswith(b"off:"), 10
        )

    def test_the_level_is_on_again_once_it_renews_no_more(self, listening, redis_client):
        redis_client.hset(register_name(), "earlier", "off 1")
        assert wait_until(lambda: not is_on(), 10)

        assert wait_until(is_on, DEAD_SECONDS + 30)
        assert redis_client.hget(register_name(), "earlier") is None

    def test_a_write_waits_while_it_is_on(self, redis_client):
        redis_client.hset(register_name(), mapping={"id": "1", "earlier": "on 1"})
        started = time.monotonic()
        protocol.unlink([TAG])

        assert time.monotonic() - started >= LEASE_SECONDS * 0.99

    def test_a_write_does_not_wait_while_it_is_off(self, redis_client):
        redis_client.hset(register_name(), mapping={"id": "1", "earlier": "off 1"})
        invalidation = hosts.Invalidation([TAG])
        invalidation.judge(invalidation.run(redis_client), None)

        assert invalidation.await_hosts(0)


class TestRegister:
    """What a write makes of the register that its script returns."""

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

    @staticmethod
    def is_settled(register: dict[bytes, bytes], overwritten: int | None = None) -> bool:
        """Return whether a write that is returned this register need not wait."""
        invalidation = hosts.Invalidation([TAG])
        invalidation.judge([part for pair in register.items() for part in pair], overwritten)
        return invalidation.await_hosts(0)

    def test_one_that_was_there_for_a_lease_is_whole(self, now):
        assert not self.is_settled({b"id": b"1"})
        now.seconds += LEASE_SECONDS - 0.1
        assert not self.is_settled({b"id": b"1"})
        now.seconds += 0.1
        assert self.is_settled({b"id": b"1"})

    def test_one_that_was_lost_meanwhile_is_not(self, now):
        self.is_settled({b"id": b"1"})
        now.seconds += LEASE_SECONDS
        assert not self.is_settled({b"id": b"2"})
        now.seconds += LEASE_SECONDS
        assert not self.is_settled({b"id": b"1"})

    def test_none_is_not(self):
        assert not self.is_settled({})

    def test_what_is_no_register_is_none(self, redis_client):
        redis_client.set(register_name(), "something else")

        assert hosts.Invalidation([TAG]).run(redis_client) == []

    def test_one_that_the_listener_has_known_is_whole_for_each_process_of_its_host(self, now):
        slots.attach()
        identity = 0x1234
        slots.words[slots.REGISTER] = identity
        slots.words[slots.REGISTER_SINCE] = int((now.seconds - LEASE_SECONDS) * 10**9)

        assert self.is_settled({b"id": b"%016x" % identity})

    @pytest.fixture
    def known(self, now):
        """A register that was there for a lease."""
        self.is_settled({b"id": b"1"})
        now.seconds += LEASE_SECONDS
        return {b"id": b"1"}

    def test_another_host_that_is_on_unsettles_it(self, known):
        assert not self.is_settled(known | {b"other": b"on:a 1"})
        assert self.is_settled(known | {b"other": b"off:a 1"})

    def test_the_host_whose_slots_are_overwritten_does_not(self, known):
        slots.attach()
        register = known | {hosts.host(): b"on:a 1"}

        assert self.is_settled(register, slots.words[slots.HOST])
        assert not self.is_settled(register), "the file was made anew, or is not mapped any more"

    def test_a_host_that_has_not_renewed_for_a_lease_is_passed_over(self, known, now):
        register = known | {b"other": b"on:a 1"}
        assert not self.is_settled(register)
        now.seconds += LEASE_SECONDS
        assert self.is_settled(register)

        assert not self.is_settled(known | {b"other": b"on:a 2"})

    def test_a_write_makes_one_where_there_is_none_and_waits(self, redis_client):
        started = time.monotonic()
        protocol.unlink([TAG])
        first = time.monotonic() - started
        started = time.monotonic()
        protocol.unlink([TAG])
        second = time.monotonic() - started

        assert first >= LEASE_SECONDS * 0.99
        assert second < first / 2
        assert 0 < redis_client.ttl(register_name()) <= LIFETIME_SECONDS

    @pytest.mark.parametrize("exists", [False, True])
    def test_the_wait_for_it_is_two_looks_at_most(self, redis_client, monkeypatch, exists):
        """A write of a new process waits as long as the register may lack a host; it need not ask for it."""
        if exists:
            redis_client.hset(register_name(), "id", "1")
        looks: list[str] = []
        monkeypatch.setattr(client, "observers", [lambda name, *_: looks.append(name)])

        protocol.unlink([TAG])

        assert 1 <= looks.count("acknowledgements") <= 2, looks
