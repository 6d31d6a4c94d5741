"""The MongoDB client against a real server that is killed and paused."""

import time

import mongoengine
import pytest
from pymongo.errors import PyMongoError

from cachelayer import timings
from cachelayer.failures import unavailable_store
from config import mongodb
from config.stack.process import wait_until


def ping() -> None:
    mongoengine.get_connection().admin.command("ping")


def fails() -> Exception:
    with pytest.raises(PyMongoError) as caught:
        ping()
    return caught.value


class TestClient:
    @pytest.mark.parametrize("fault", ["kill", "pause"])
    def test_waits_for_a_silent_server_a_few_times_and_then_no_more(self, mongodb_restored, fault):
        ping()
        getattr(mongodb_restored, fault)("mongodb")
        assert wait_until(lambda: fails() and mongodb.breaker.is_open, 15)

        failure = fails()

        assert isinstance(failure, mongodb.NotAsked)
        assert unavailable_store(failure) == "mongodb"

    def test_trusts_it_again_by_itself(self, mongodb_restored):
        mongodb_restored.kill("mongodb")
        fails()
        mongodb_restored.start("mongodb")

        assert wait_until(lambda: not mongodb.breaker.is_open, 10)
        ping()

    def test_one_call_takes_no_longer_than_its_timeout(self, mongodb_restored, settings):
        ping()
        mongodb_restored.pause("mongodb")
        started = time.monotonic()

        fails()

        # A bound of the contract, 3 s, not a speed.
        assert time.monotonic() - started < 3

    def test_a_command_that_the_server_refuses_is_no_silence(self):
        for _ in range(5):
            with pytest.raises(PyMongoError):
                mongoengine.get_connection().admin.command("noSuchCommand")

        assert not mongodb.breaker.is_open


class TestCounts:
    def test_a_command_is_timed_for_its_request(self):
        with timings.ledger() as spent:
            ping()

        assert spent["mongodb"] > 0

    def test_a_refused_command_is_counted_by_its_kind(self):
        before = mongodb.ERRORS.labels("CommandNotFound")._value.get()

        with pytest.raises(PyMongoError):
            mongoengine.get_connection().admin.command("noSuchCommand")

        assert mongodb.ERRORS.labels("CommandNotFound")._value.get() == before + 1

    def test_a_connection_in_use_is_given_back(self):
        ping()

        assert mongodb.CONNECTIONS._value.get() >= 1
        assert mongodb.IN_USE._value.get() == 0
        assert mongodb.WAITING._value.get() == 0
