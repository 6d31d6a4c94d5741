"""Reads through the cache while the first level is on: what they cost, and what kills the copies."""

import os
import time
import uuid

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from cachelayer import client, entries, explain, first_level, hooks, slots, stats, trust
from cachelayer.conf import config
from cachelayer.entries import Bypass, Source
from cachelayer.invalidation import invalidate
from cachelayer.read import get_or_load
from cachelayer.upkeep import SWEEP_SECONDS, Upkeep
from notes import cache_keys as note_keys
from tests.cachelayer.test_read import LOADED, Loads, Word, age, key, never

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("level_on")]


@pytest.fixture
def level_on(transactional_db):
    """The level as if a listener vouched for an hour."""
    assert trust.lease.wait(30)
    slots.attach()
    slots.words[slots.SERVER] = slots.number_of(trust.lease.server)
    slots.words[slots.LISTENING] = slots.clock() + 3600 * 10**9


@pytest.fixture
def copied():
    """A key whose value is kept in the process."""
    one = key()
    get_or_load(one, Loads())
    assert get_or_load(one, never).source is Source.HIT
    return one


class TestHit:
    def test_takes_no_round_trip_and_no_query(self, copied, monkeypatch):
        operations = []
        monkeypatch.setattr(client, "observers", [lambda name, *_: operations.append(name)])
        with CaptureQueriesContext(connection) as queries:
            cached = get_or_load(copied, never)

        assert (cached.value, cached.source) == (LOADED, Source.FIRST_LEVEL)
        assert set(operations) <= {"keep"}  # of the lease, by its own thread
        assert not queries

    def test_tells_the_freshness_of_the_entry(self, copied):
        cached = get_or_load(copied, never)

        assert 260 <= cached.remaining_seconds <= 300

    def test_may_be_kept_on_under_the_same_guard(self, copied):
        cached = get_or_load(copied, never)
        replies = first_level.Copies()
        replies.put("reply", b"{}", 2, cached.guard, cached.fresh_ms / 1000)

        assert replies.get("reply") == b"{}"
        assert 0 < cached.fresh_ms <= 300_000 * 0.8
        invalidate(*copied.tags)
        assert replies.get("reply") is None

    def test_says_that_there_is_no_such_thing(self):
        one = key("nothing")
        get_or_load(one, Loads(None))
        get_or_load(one, never)
        cached = get_or_load(one, never)

        assert (cached.value, cached.source) == (None, Source.FIRST_LEVEL)

    def test_serves_who_has_a_copy_of_the_head_alone(self, copied):
        one = get_or_load(copied, never, accepts_head=lambda value: True)

        assert (one.source, one.head_only) == (Source.FIRST_LEVEL, False)


class TestCopy:
    def test_dies_with_a_write(self, copied):
        invalidate(copied.tags[1])

        assert get_or_load(copied, Loads(Word("new"))).value == Word("new")

    def test_dies_when_its_entry_is_purged(self, copied):
        invalidate(copied.purge)

        assert get_or_load(copied, Loads(Word("new"))).value == Word("new")

    def test_is_not_used_inside_a_transaction(self, copied):
        with transaction.atomic():
            assert get_or_load(copied, Loads(Word("own"))).source is Source.BYPASSED

    @pytest.mark.parametrize("bypass", [Bypass.REFRESH, Bypass.NO_STORE])
    def test_is_not_used_past_the_cache(self, copied, bypass):
        assert get_or_load(copied, Loads(Word("own")), bypass=bypass).value == Word("own")

    def test_a_value_refreshed_by_its_reader_is_not_hidden_by_an_older_copy(self, copied):
        get_or_load(copied, Loads(Word("own")), bypass=Bypass.REFRESH)

        assert get_or_load(copied, never).value == Word("own")

    def test_is_not_made_past_the_soft_ttl_so_that_readers_refresh_the_entry(self, monkeypatch):
        one = key()
        get_or_load(one, Loads())
        age(one, seconds=250)
        monkeypatch.setattr("cachelayer.refresh.refresh", lambda key, load: True)

        assert [get_or_load(one, never).source for _ in range(3)] == [Source.HIT] * 3

    def test_ends_at_the_soft_ttl(self, copied):
        lookup = entries.Lookup(None, None, remaining_ms=200_000, age_ms=100_000)
        assert lookup.copy_ms == 140_000
        assert entries.soft_ttl_ms(270_000) == 216_000

    def test_of_a_value_invalidated_during_its_look_is_never_served(self, copied, monkeypatch):
        first_level.copies.clear()
        guards = []
        real = first_level.guard_of

        def guard_of(key):
            guards.append(real(key))
            slots.overwrite([copied.tags[1]])  # another process's write, just now
            return guards[-1]

        monkeypatch.setattr(first_level, "guard_of", guard_of)
        assert get_or_load(copied, never).source is Source.HIT
        assert get_or_load(copied, never).source is Source.HIT

    def test_a_loaded_value_carries_the_guard_only_where_it_was_stored(self):
        one = key("two")
        assert get_or_load(one, Loads()).guard is not None
        invalidate(one.tags[1])
        fenced = get_or_load(one, Loads(during=lambda: invalidate(one.tags[1])))

        assert (fenced.source, fenced.guard) == (Source.FENCED, None)

    def test_of_a_loaded_value_survives_the_push_of_the_stamps_that_its_load_has_made(self):
        one = key("three")
        cached = get_or_load(one, Loads(during=lambda: slots.overwrite([one.tags[1]])))
        replies = first_level.Copies()
        replies.put("reply", b"{}", 2, cached.guard, cached.fresh_ms / 1000)

        assert replies.get("reply") == b"{}"

    def test_of_a_loaded_value_dies_with_a_write_from_before_it_is_stored(self, monkeypatch):
        one = key("four")
        monkeypatch.setattr(hooks, "before_store", [lambda: slots.overwrite([one.tags[1]])])
        cached = get_or_load(one, Loads())
        replies = first_level.Copies()
        replies.put("reply", b"{}", 2, cached.guard, cached.fresh_ms / 1000)

        assert replies.get("reply") is None


class TestFileCutOff:
    """Somebody cuts the file of slots off while this process has it mapped."""

    def test_reads_and_writes_go_on_without_the_level(self, copied):
        os.truncate(slots.path(), 4_096)

        assert get_or_load(copied, never).source is Source.HIT
        invalidate(copied.tags[1])
        assert get_or_load(copied, Loads(Word("new"))).value == Word("new")
        assert get_or_load(copied, never).source is Source.HIT
        assert first_level.reason_off() == "no file of slots"

    def test_once_it_is_moved_away_no_copy_from_before_is_served(self, copied):
        file = slots.path()
        os.truncate(file, 4_096)
        get_or_load(copied, never)
        file.unlink()
        slots.attach()
        slots.words[slots.LISTENING] = slots.clock() + 3600 * 10**9

        assert slots.mapped()
        assert get_or_load(copied, never).source is Source.HIT


class TestFigures:
    def test_tell_what_the_level_does(self, copied):
        upkeep = Upkeep()
        before = stats.cache_figures()["first_level"]
        get_or_load(copied, never)
        upkeep._show()

        figures = stats.cache_figures()["first_level"]

        assert (figures["on"], figures["reason"], figures["processes"]) == (True, None, 1)
        assert figures["hits"] == before["hits"] + 1
        assert figures["copies"] == 1
        assert 0 < figures["bytes"] < figures["bound_bytes"] == config().FIRST_LEVEL_BYTES

    def test_say_why_it_is_off(self, copied):
        slots.words[slots.LISTENING] = 0
        slots.words[slots.REASON] = slots.REASONS.index("no listener runs")
        Upkeep()._show()

        figures = stats.cache_figures()["first_level"]

        assert (figures["on"], figures["reason"]) == (False, "no listener runs")

    def test_are_those_of_prometheus_too(self, copied):
        Upkeep()._show()
        text = stats.as_prometheus().decode()

        for name in ("on", "copies", "bytes", "bound_bytes", "hits_total", "evictions_total"):
            assert f"\ncachelayer_first_level_{name} " in text

    def test_explain_tells_of_a_copy_in_this_process(self, monkeypatch):
        key = note_keys.note(uuid.uuid4())
        for _ in range(2):
            get_or_load(key, lambda: None)

        assert explain.explain(key.name)["first_level"] == {"off": None, "copied": True}


class TestUpkeep:
    def test_what_was_purged_leaves_memory_within_its_time(self, copied, monkeypatch):
        upkeep = Upkeep()
        monkeypatch.setattr(upkeep, "_watch_listener", lambda: None)
        invalidate(copied.purge)
        assert first_level.copies.figures()["copies"] == 1
        upkeep.round()
        monkeypatch.setattr(upkeep, "_swept_at", time.monotonic() - SWEEP_SECONDS)

        upkeep.round()

        assert first_level.copies.figures() == {"copies": 0, "bytes": 0, "evictions": 0}
