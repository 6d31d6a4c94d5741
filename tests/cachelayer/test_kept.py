"""Rows that are kept past the request: bounded, in order, and not lost with a short outage."""

import threading

import pytest
import redis

from cachelayer import client, kept
from cachelayer.client import CacheDown
from cachelayer.kept import Kept
from cachelayer.namespaces import note_name
from config.stack.process import wait_until


@pytest.fixture
def without_redis(stack, closed_breaker):
    stack.kill("redis")
    yield stack
    stack.start("redis")
    client.breaker.reset()
    kept.flush()


class TestKept:
    def test_returns_the_newest_first(self):
        rows = Kept("some", rows_max=10)
        rows.add({"n": 1})
        rows.add({"n": 2})
        kept.flush()

        assert rows.rows() == [{"n": 2}, {"n": 1}]

    def test_is_written_by_a_thread_without_being_told(self):
        rows = Kept("some", rows_max=10)
        rows.add({"n": 1})

        assert wait_until(lambda: rows.rows() == [{"n": 1}], 30)

    def test_keeps_no_more_than_it_may(self):
        rows = Kept("some", rows_max=3)
        for number in range(250):
            rows.add({"n": number})
        kept.flush()

        assert [row["n"] for row in rows.rows()] == [249, 248, 247]

    def test_lists_are_apart_and_of_their_own_prefix(self, settings):
        Kept("some", rows_max=3).add({"n": 1})
        settings.CACHE_PREFIX += "-other"
        kept.flush()

        assert Kept("some", rows_max=3).rows() == []

    def test_expires_when_nothing_is_added(self, redis_client):
        Kept("some", rows_max=3).add({"n": 1})
        kept.flush()

        assert 0 < redis_client.ttl(note_name("kept", "some")) <= kept.KEPT_SECONDS

    def test_rows_wait_for_redis_and_the_oldest_are_given_up(self, without_redis, monkeypatch):
        monkeypatch.setattr(kept, "_PENDING_MAX", 5)
        rows = Kept("some", rows_max=10)
        before = kept.DROPPED._value.get()

        for number in range(8):
            rows.add({"n": number})
        with pytest.raises(CacheDown):
            kept.flush()
        without_redis.start("redis")
        client.breaker.reset()
        kept.flush()

        assert [row["n"] for row in rows.rows()] == [7, 6, 5, 4, 3]
        assert kept.DROPPED._value.get() == before + 3

    def test_a_full_redis_is_no_failure_of_the_cache(self, stack):
        rows = Kept("some", rows_max=10)
        with redis.Redis.from_url(stack.operator_urls()["REDIS_URL"]) as operator:
            operator.config_set("maxmemory-policy", "noeviction")
            operator.config_set("maxmemory", 1)
            try:
                for _ in range(5):
                    rows.add({"n": 1})
                    kept.flush()
            finally:
                operator.config_set("maxmemory", 256 * 2**20)
                operator.config_set("maxmemory-policy", "allkeys-lru")

        assert not client.breaker.is_open
        assert rows.rows() == []

    def test_adding_starts_one_thread(self):
        for _ in range(3):
            Kept("some", rows_max=10).add({"n": 1})

        assert [one.name for one in threading.enumerate()].count("kept") == 1
