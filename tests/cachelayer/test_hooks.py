"""
Where experiments intervene: between a load and its storing, before an invalidation, in sharing loads;
and what sees the operations of a read.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from cachelayer import hooks, protocol, read
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


class TestObserve:
    @pytest.fixture
    def observed(self, monkeypatch) -> list[tuple[str, str, str]]:
        """Each operation that has ended, with its namespace and what it reported."""
        operations = []

        @contextmanager
        def observe(operation, namespace):
            outcomes = []
            try:
                yield outcomes.append
            finally:
                operations.append((operation, namespace, *outcomes))

        monkeypatch.setattr(hooks, "observe", observe)
        return operations

    def test_is_called_with_each_operation_of_a_miss_and_of_a_hit(self, observed):
        for _ in range(2):
            get_or_load(key(), Loads(Word("x")))

        assert observed == [
            ("look", "words", "absent"),
            ("begin", "words", "leased"),
            ("load", "words", "loaded"),
            ("end", "words", "stored"),
            ("look", "words", "hit"),
        ]

    def test_sees_that_nothing_was_stored(self, observed, monkeypatch):
        monkeypatch.setattr(hooks, "before_store", [lambda: protocol.unlink(["word:one"])])
        get_or_load(key(), Loads(Word("old")))

        assert observed[-1] == ("end", "words", "fenced")

    def test_sees_that_there_is_no_such_thing(self, observed):
        get_or_load(key(), Loads(None))

        assert ("load", "words", "absent") in observed

    def test_of_what_raises_is_told_no_outcome(self, observed):
        with pytest.raises(ZeroDivisionError):
            get_or_load(key(), Loads(Word("x"), during=lambda: 1 // 0))

        assert observed[-1] == ("load", "words")

    def test_sees_a_read_of_many_keys_as_a_whole(self, observed):
        get_or_load(key("one"), Loads(Word("x")))
        observed.clear()
        read.get_many([key("one"), key("two")], lambda keys: [Word("y") for _ in keys])

        assert observed == [
            ("look", "words", "mixed"),
            ("begin", "words", "unleased"),
            ("load", "words", "loaded"),
            ("end", "words", "stored"),
        ]


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
