"""Where experiments intervene: between a load and its storing, before an invalidation, in sharing loads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cachelayer import hooks, protocol
from cachelayer.entries import Source
from tests.cachelayer.test_read import Loads, Word, get_or_load, key

pytestmark = pytest.mark.django_db(transaction=True)


class TestBeforeStore:
    def test_is_called_when_the_value_is_loaded_and_not_yet_stored(self, monkeypatch):
        monkeypatch.setattr(hooks, "before_store", [lambda: protocol.unlink(["word:one"])])

        assert get_or_load(key(), Loads(Word("old"))).source is Source.FENCED


class TestBeforeUnlink:
    def test_is_called_with_the_tags(self, monkeypatch):
        tags = []
        monkeypatch.setattr(hooks, "before_unlink", [tags.append])

        protocol.unlink(["word:one"])

        assert tags == [["word:one"]]


class TestSingleFlightScope:
    def test_with_nobody_each_miss_loads(self):
        together = threading.Barrier(2)  # breaks, and fails the test, unless both load at once
        loads = Loads(Word("x"), during=lambda: together.wait(20))

        with ThreadPoolExecutor(
            2, initializer=hooks.single_flight_scope.set, initargs=("none",)
        ) as pool:
            list(pool.map(lambda _: get_or_load(key(), loads), range(2)))

        assert loads.count == 2

    def test_within_the_process_no_lease_is_waited_for(self):
        assert protocol.begin(key()).leased  # by another process
        token = hooks.single_flight_scope.set("process")

        cached = get_or_load(key(), Loads(Word("x")))

        hooks.single_flight_scope.reset(token)

        assert (cached.value, cached.source) == (Word("x"), Source.LOADED)
