"""Copies in the process: what they are served under, what kills them, what they may take."""

import threading
import time
import tracemalloc

import pytest
from django.db import transaction

from cachelayer import first_level, slots, trust
from cachelayer.first_level import OVERHEAD_BYTES, Copies, guard_of
from cachelayer.namespace import key_named
from tests.leases import without_lease

hears_the_server = first_level._hears_the_server
KEY = "notes:5f4dcc3b-5aa7-4d61-9d83-27deb882cf99"


@pytest.fixture
def level_on(monkeypatch) -> None:
    """The level as if a listener vouched for an hour, and the lease held."""
    slots.attach()
    assert slots.words is not None
    monkeypatch.setattr(first_level, "_hears_the_server", lambda words: True)
    slots.words[slots.LISTENING] = slots.clock() + 3600 * 10**9
    monkeypatch.setattr(trust.lease, "deadline", trust.clock() + 3600)


@pytest.fixture
def copies(level_on) -> Copies:
    return Copies()


@pytest.fixture
def key(level_on):
    return key_named(KEY)


def kept(
    copies: Copies, key, payload: str = "value", *, name: str = "a", seconds: float = 60.0
) -> None:
    guard = guard_of(key)
    assert guard is not None
    copies.put(name, payload, 100, guard, seconds)


class TestCopies:
    def test_a_copy_is_served(self, copies, key):
        kept(copies, key)

        assert copies.get("a") == "value"

    @pytest.mark.parametrize("number", [0, 1])
    def test_any_tag_kills_it(self, copies, key, number):
        kept(copies, key)

        slots.overwrite([key.tags[number]])

        assert copies.get("a") is None
        assert copies.figures()["copies"] == 0

    def test_other_tags_do_not(self, copies, key):
        kept(copies, key)
        slots.overwrite(["note:another"])

        assert copies.get("a") == "value"

    def test_tags_that_share_a_slot_cost_a_miss(self, copies, key):
        slot = slots.slot_of(key.tags[1])
        other = next(t for t in map(str, range(10_000_000)) if slots.slot_of(t) == slot)
        kept(copies, key)

        slots.overwrite([other])

        assert copies.get("a") is None

    def test_a_store_seen_half_done_is_a_miss(self, copies, key):
        kept(copies, key)
        slots.words[slots.slot_of(key.tags[1])] ^= 0xFFFF_FFFF  # one half of the word

        assert copies.get("a") is None

    def test_the_epoch_kills_it(self, copies, key):
        kept(copies, key)
        slots.overwrite_word(slots.words, slots.EPOCH)

        assert copies.get("a") is None

    def test_a_copy_of_an_earlier_lease_is_dead(self, copies, key, monkeypatch):
        kept(copies, key)
        monkeypatch.setattr(trust, "generation", trust.generation + 1)

        assert copies.get("a") is None

    def test_without_a_lease_nothing_is_served_or_kept(self, copies, key, monkeypatch):
        kept(copies, key)
        without_lease(monkeypatch)

        assert copies.get("a") is None
        assert guard_of(key) is None

    def test_while_nobody_listens_nothing_is_served_or_kept(self, copies, key):
        kept(copies, key)
        slots.words[slots.LISTENING] = slots.clock()

        assert copies.get("a") is None
        assert guard_of(key) is None

    def test_a_copy_ends(self, copies, key):
        kept(copies, key, seconds=0.01)
        time.sleep(0.02)

        assert copies.get("a") is None

    def test_invalidated_between_guard_and_put_it_is_never_served(self, copies, key):
        guard = guard_of(key)
        slots.overwrite(key.tags)
        copies.put("a", "old", 100, guard, 60)

        assert copies.get("a") is None

    @pytest.mark.django_db(transaction=True)
    def test_nothing_is_kept_inside_a_transaction(self, key):
        with transaction.atomic():
            assert guard_of(key) is None
        assert guard_of(key) is not None

    def test_a_listener_that_hears_another_server_is_none(self, key, monkeypatch):
        monkeypatch.setattr(first_level, "_hears_the_server", hears_the_server)
        slots.words[slots.SERVER] = slots.number_of(trust.lease.server) ^ 1

        assert guard_of(key) is None

    def test_the_setting_turns_it_off(self, key, settings):
        settings.CACHELAYER = settings.CACHELAYER | {"FIRST_LEVEL_BYTES": 0}

        assert guard_of(key) is None

    def test_sweeping_drops_what_is_dead(self, copies, key):
        kept(copies, key)
        kept(copies, key, name="b", seconds=0.001)
        time.sleep(0.01)
        copies.sweep()
        assert copies.figures()["copies"] == 1

        slots.overwrite([key.tags[1]])
        copies.sweep()

        assert copies.figures() == {"copies": 0, "bytes": 0, "evictions": 0}


class TestBound:
    def test_bytes_stay_within_the_setting(self, copies, key, settings):
        bound = 100 * OVERHEAD_BYTES
        settings.CACHELAYER = settings.CACHELAYER | {"FIRST_LEVEL_BYTES": bound}
        guard = guard_of(key)
        for number in range(1_000):
            copies.put(number, "value", number % 500, guard, 60)
            assert copies.figures()["bytes"] <= bound
        figures = copies.figures()

        assert figures["copies"] + figures["evictions"] == 1_000
        assert figures["copies"] > 20

    def test_what_is_read_stays(self, copies, key, settings):
        settings.CACHELAYER = settings.CACHELAYER | {"FIRST_LEVEL_BYTES": 100 * OVERHEAD_BYTES}
        guard = guard_of(key)
        copies.put("hot", "value", 0, guard, 60)
        for number in range(1_000):
            copies.put(number, "value", 0, guard, 60)
            assert copies.get("hot") == "value"

    def test_a_payload_too_large_for_it_is_not_kept(self, copies, key, settings):
        settings.CACHELAYER = settings.CACHELAYER | {"FIRST_LEVEL_BYTES": 100 * OVERHEAD_BYTES}
        copies.put("large", "value", 50 * OVERHEAD_BYTES, guard_of(key), 60)

        assert copies.get("large") is None

    def test_the_sum_is_right_after_threads_have_changed_it(self, copies, key, settings):
        settings.CACHELAYER = settings.CACHELAYER | {"FIRST_LEVEL_BYTES": 50 * OVERHEAD_BYTES}
        guard = guard_of(key)

        def work(offset: int) -> None:
            for number in range(2_000):
                copies.put((number + offset) % 90, "value", number % 300, guard, 60)
                copies.get(number % 90)
                if number % 500 == 0:
                    copies.sweep()

        threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tables = [*copies._young.values(), *copies._old.values()]

        assert copies.figures()["bytes"] == sum(copy[-1] for copy in tables)
        assert copies.figures()["copies"] == len(tables)

    def test_what_a_copy_takes_is_counted(self, key):
        copies = Copies()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(2_000):
                copies.put(number, "value", 0, guard_of(key), 60)
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()

        assert taken / 2_000 < OVERHEAD_BYTES
