"""Rows stored after the request: bounded, in order, and not lost in a short outage."""

import contextlib
import itertools
import threading

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from cachelayer import client
from cachelayer.client import CacheDown
from cachelayer.namespace import record_name
from config.observability import capped_list
from config.observability.capped_list import CappedList
from config.stack.process import wait_until


@pytest.fixture
def without_redis(stack, closed_breaker):
    stack.kill("redis")
    yield stack
    stack.start("redis")
    client.breaker.reset()
    capped_list.flush()


class TestKept:
    def test_returns_the_newest_first(self):
        rows = CappedList("some", rows_max=10)
        rows.add({"n": 1})
        rows.add({"n": 2})
        capped_list.flush()

        assert rows.rows() == [{"n": 2}, {"n": 1}]

    def test_is_written_by_a_thread(self):
        rows = CappedList("some", rows_max=10)
        rows.add({"n": 1})

        assert wait_until(lambda: rows.rows() == [{"n": 1}], 30)

    def test_keeps_no_more_than_it_may(self):
        rows = CappedList("some", rows_max=3)
        for number in range(250):
            rows.add({"n": number})
        capped_list.flush()

        assert [row["n"] for row in rows.rows()] == [249, 248, 247]

    def test_lists_are_apart_and_of_their_own_prefix(self, settings):
        CappedList("some", rows_max=3).add({"n": 1})
        settings.CACHELAYER = settings.CACHELAYER | {
            "PREFIX": settings.CACHELAYER["PREFIX"] + "-other"
        }
        capped_list.flush()

        assert CappedList("some", rows_max=3).rows() == []

    def test_expires_when_nothing_is_added(self, redis_client):
        CappedList("some", rows_max=3).add({"n": 1})
        capped_list.flush()

        assert 0 < redis_client.ttl(record_name("kept", "some")) <= capped_list.TTL_SECONDS

    def test_rows_wait_for_redis_and_the_oldest_are_given_up(self, without_redis, monkeypatch):
        monkeypatch.setattr(capped_list, "_PENDING_MAX", 5)
        rows = CappedList("some", rows_max=10)
        before = capped_list.DROPPED._value.get()

        for number in range(8):
            rows.add({"n": number})
        with pytest.raises(CacheDown):
            capped_list.flush()
        without_redis.start("redis")
        client.breaker.reset()
        capped_list.flush()

        assert [row["n"] for row in rows.rows()] == [7, 6, 5, 4, 3]
        assert capped_list.DROPPED._value.get() == before + 3

    def test_a_full_redis_is_no_failure_of_the_cache(self, stack):
        capped_list.flush()  # what earlier tests have left
        rows = CappedList("some", rows_max=10)
        before = capped_list.DROPPED._value.get()
        with redis.Redis.from_url(stack.operator_urls()["REDIS_URL"]) as operator:
            operator.config_set("maxmemory-policy", "noeviction")
            operator.config_set("maxmemory", 1)
            try:
                for _ in range(5):
                    rows.add({"n": 1})
                    capped_list.flush()
            finally:
                operator.config_set("maxmemory", 256 * 2**20)
                operator.config_set("maxmemory-policy", "allkeys-lru")

        assert not client.breaker.is_open
        assert rows.rows() == []
        assert capped_list.DROPPED._value.get() == before + 5

    def test_what_another_program_has_put_there_is_left_out(self, redis_client):
        rows = CappedList("some", rows_max=10)
        rows.add({"n": 1})
        capped_list.flush()
        redis_client.lpush(record_name("kept", "some"), b"no json", b"\xff", b"[1]", b'"text"')

        assert rows.rows() == [{"n": 1}]

    def test_adding_starts_one_thread(self):
        for _ in range(3):
            CappedList("some", rows_max=10).add({"n": 1})

        assert [thread.name for thread in threading.enumerate()].count("kept") == 1


class TestConservation:
    """Every row is written, waits, or is counted as dropped; and those that go are the oldest."""

    @given(
        room=st.integers(1, 12),
        at_once=st.integers(1, 12),
        # Rows that come before each attempt, rows that come during it, and whether Redis answers.
        attempts=st.lists(
            st.tuples(st.integers(0, 15), st.integers(0, 15), st.booleans()), max_size=8
        ),
    )
    def test_holds_whatever_fails_and_whoever_adds_meanwhile(self, room, at_once, attempts):
        writer, written, numbers = capped_list._Writer(), [], itertools.count()
        writer._thread = threading.current_thread()  # no other one writes meanwhile
        before = capped_list.DROPPED._value.get()

        def add(number: int) -> None:
            for _ in range(number):
                writer.add("list", 10, b"%d" % next(numbers))

        def attempt(during: int, answers: bool) -> None:
            def execute(operation, command):
                add(during if not coming.is_set() else 0)
                coming.set()
                if not answers:
                    raise CacheDown
                (batch,) = command.args
                written.extend(int(row) for _, _, row in batch)
                return [1] * len(batch)

            coming = threading.Event()
            with pytest.MonkeyPatch.context() as patch, contextlib.suppress(CacheDown):
                patch.setattr(capped_list, "execute", execute)
                writer.flush()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(capped_list, "_PENDING_MAX", room)
            patch.setattr(capped_list, "_BATCH", at_once)
            for coming_before, coming_during, answers in attempts:
                add(coming_before)
                attempt(coming_during, answers)
                waiting = [int(row) for _, _, row in writer._pending]
                dropped = int(capped_list.DROPPED._value.get() - before)
                added = next(numbers)
                numbers = itertools.count(added)
                assert len(waiting) <= room
                assert len(written) + len(waiting) + dropped == added
                assert written == sorted(written)
                assert waiting == list(range(added - len(waiting), added))
