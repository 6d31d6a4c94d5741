"""Loading before the time is over, many keys at once, and how many loads a store gets without Redis."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import pytest
from django.test import Client

from cachelayer import client, entries, load, metrics, protocol, read, refresh, trust
from cachelayer.entries import Overloaded, Source
from config.stack import process
from tests.builders import make_note
from tests.cachelayer.test_read import Loads, Word, age, get_or_load, key, never

pytestmark = pytest.mark.django_db(transaction=True)

# Past the soft TTL and not yet expired, whatever the jitter: 0.8 * 300 s and 270 s are the bounds.
AGED = 250  # leaves this test 20 s


def settled() -> bool:
    return process.wait_until(lambda: not refresh._under_way, 30)


class TestSoftTtl:
    def test_past_four_fifths_the_copy_is_served_and_loaded_again_in_the_background(self):
        get_or_load(key(), Loads(Word("old")))
        age(key(), seconds=AGED)
        again = Loads(Word("new"))

        cached = get_or_load(key(), again)

        assert (cached.value, cached.source) == (Word("old"), Source.HIT)
        assert settled()
        assert get_or_load(key(), never).value == Word("new")
        assert again.count == 1

    def test_a_young_copy_is_left_alone(self):
        get_or_load(key(), Loads())
        again = Loads()

        for _ in range(50):
            get_or_load(key(), again)

        assert settled()
        assert again.count == 0

    def test_many_readers_start_one_refresh(self):
        get_or_load(key(), Loads())
        age(key(), seconds=AGED)
        slow = Loads(Word("new"), during=lambda: threading.Event().wait(0.2))

        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda _: get_or_load(key(), slow), range(40)))

        assert settled()
        assert slow.count == 1

    def test_while_another_process_holds_the_lease_nothing_is_loaded(self):
        get_or_load(key(), Loads())
        age(key(), seconds=AGED)
        protocol.begin(key())  # the other process
        again = Loads()

        get_or_load(key(), again)

        assert settled()
        assert again.count == 0

    def test_a_refresh_that_fails_leaves_the_copy(self):
        get_or_load(key(), Loads(Word("old")))
        age(key(), seconds=AGED)

        get_or_load(key(), lambda: {}["x"])

        assert settled()
        assert protocol.look(key()).value == Word("old")

    def test_a_refresh_that_a_write_overtook_is_not_stored(self):
        get_or_load(key(), Loads(Word("old")))
        age(key(), seconds=AGED)

        get_or_load(key(), Loads(Word("old"), during=lambda: protocol.unlink(["word:one"])))

        assert settled()
        assert not protocol.look(key()).fresh

    def test_the_dearer_the_load_the_earlier(self):
        def share(load_ms: float) -> float:
            found = entries.Lookup(None, Word("x"), 70_000, 230_000, 0, load_ms)
            return sum(found.wants_refresh for _ in range(400)) / 400

        assert share(1) < 0.05 < share(10_000) < share(100_000)


class TestGetMany:
    def load(self, keys):
        return [None if key.member == "none" else Word(key.member) for key in keys]

    def test_answers_as_get_or_load_does_for_each(self):
        names = ["a", "none", "b", "c"]
        get_or_load(key("b"), Loads(Word("b")))

        answers = read.get_many([key(name) for name in names], self.load)

        assert [result.value for result in answers] == [Word("a"), None, Word("b"), Word("c")]
        assert [result.source for result in answers] == [
            Source.LOADED,
            Source.LOADED,
            Source.HIT,
            Source.LOADED,
        ]
        assert [get_or_load(key(name), never).value for name in names] == [
            result.value for result in answers
        ]

    def test_loads_all_misses_by_one_call(self):
        calls = []
        keys = [key(str(number)) for number in range(20)]

        read.get_many(keys, lambda keys: (calls.append(len(keys)), self.load(keys))[1])

        assert calls == [20]

    def test_what_a_write_overtook_is_not_stored(self):
        def load(keys):
            protocol.unlink(["word:a"])
            return self.load(keys)

        answers = read.get_many([key("a"), key("b")], load)

        assert [result.source for result in answers] == [Source.FENCED, Source.LOADED]

    def test_a_hit_is_as_verified_as_its_own_look_was(self, monkeypatch):
        """A lease that begins during the load of the misses says nothing of the hits before it."""
        get_or_load(key("a"), Loads(Word("a")))
        look_many = protocol.look_many

        def unverified(keys):
            lookups = look_many(keys)
            trust._local.is_verified = False
            return lookups

        monkeypatch.setattr(protocol, "look_many", unverified)

        answers = read.get_many([key("a"), key("b")], self.load)

        assert trust.is_verified()
        assert [result.source for result in answers] == [Source.UNVERIFIED, Source.LOADED]

    def test_without_redis_it_loads(self, monkeypatch, closed_breaker):
        monkeypatch.setattr(client.breaker, "is_open", True)

        answers = read.get_many([key("a")], self.load)

        assert (answers[0].value, answers[0].source) == (Word("a"), Source.CACHE_DOWN)


class TestOverload:
    def test_beyond_the_bound_a_request_is_a_503_that_says_when_to_try_again(
        self, monkeypatch, settings, closed_breaker
    ):
        note_id = make_note()
        settings.CACHELAYER = settings.CACHELAYER | {"LOADS_WAIT_MS": 20}
        monkeypatch.setattr(client.breaker, "is_open", True)
        monkeypatch.setattr(load, "_slots", cache(partial(threading.Semaphore, 0)))

        answer = Client().get(f"/api/v1/notes/{note_id}")

        assert answer.status_code == 503
        assert answer["Retry-After"] == "1"
        assert answer.json()["type"] == "urn:trilith:problem:overloaded"

    def test_the_slot_is_given_back_also_after_an_error(self, monkeypatch, closed_breaker):
        monkeypatch.setattr(client.breaker, "is_open", True)
        monkeypatch.setattr(load, "_slots", cache(partial(threading.BoundedSemaphore, 1)))

        for _ in range(3):
            with pytest.raises(KeyError):
                get_or_load(key(), lambda: {}["x"])

        assert get_or_load(key(), Loads()).value == Word("loaded")

    def test_threads_that_come_first_at_once_share_the_slots(self, monkeypatch):
        load._made_slots.cache_clear()
        made, semaphore = [], threading.BoundedSemaphore

        def make_slowly(value):
            made.append(value)
            time.sleep(0.05)
            return semaphore(value)

        monkeypatch.setattr(load.threading, "BoundedSemaphore", make_slowly)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: load._slots(), range(4)))
        load._made_slots.cache_clear()

        assert len(made) == 1

    def test_is_counted(self, monkeypatch, settings, closed_breaker):
        before = metrics.OVERLOADS._value.get()
        settings.CACHELAYER = settings.CACHELAYER | {"LOADS_WAIT_MS": 1}
        monkeypatch.setattr(client.breaker, "is_open", True)
        monkeypatch.setattr(load, "_slots", cache(partial(threading.Semaphore, 0)))

        with pytest.raises(Overloaded):
            get_or_load(key(), never)

        assert metrics.OVERLOADS._value.get() == before + 1


class TestConditional:
    def test_a_304_reads_no_body(self, api, redis_client):
        path = f"/api/v1/notes/{make_note(content='x' * 50_000)}"
        etag = api.get(path)["ETag"]
        before = redis_client.info("stats")["total_net_output_bytes"]

        answer = api.get(path, headers={"If-None-Match": etag})

        assert answer.status_code == 304
        assert redis_client.info("stats")["total_net_output_bytes"] - before < 15_000

    def test_another_etag_brings_the_body(self, api):
        path = f"/api/v1/notes/{make_note()}"
        api.get(path)

        answer = api.get(path, headers={"If-None-Match": '"another"'})

        assert answer.status_code == 200
        assert answer.json()["title"] == "A title"

    def test_a_list_is_answered_so_too(self, api):
        make_note()
        etag = api.get("/api/v1/notes")["ETag"]

        assert api.get("/api/v1/notes", headers={"If-None-Match": etag}).status_code == 304
