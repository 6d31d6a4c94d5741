"""The MongoDB client against a real server that is killed and paused."""

import threading
import time

import mongoengine
import pymongo
import pytest
from django.test import RequestFactory
from pymongo.errors import PyMongoError, WaitQueueTimeoutError

from cachelayer.failures import unavailable_store
from config import tracing
from config.mongodb import client as mongodb_client
from config.mongodb import metrics
from config.stack.process import wait_until
from config.web import problems


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
        assert wait_until(lambda: fails() and mongodb_client.breaker.is_open, 30)

        failure = fails()

        assert isinstance(failure, mongodb_client.CircuitOpen)
        assert unavailable_store(failure) == "mongodb"

    def test_counts_a_connection_that_a_frozen_server_does_not_complete(
        self, mongodb_restored, settings
    ):
        listeners = [mongodb_client.Commands(), mongodb_client.Pool()]
        with mongodb_client.Client(
            settings.MONGODB_URI, timeoutMS=500, event_listeners=listeners
        ) as client:
            client.admin.command("ping")  # on its only connection, which the first timeout closes
            mongodb_restored.pause("mongodb")
            for _ in range(3):
                with pytest.raises(PyMongoError):
                    client.admin.command("ping")

        assert mongodb_client.breaker.is_open

    def test_trusts_it_again_by_itself(self, mongodb_restored):
        mongodb_restored.kill("mongodb")
        fails()
        mongodb_restored.start("mongodb")

        assert wait_until(lambda: not mongodb_client.breaker.is_open, 30)
        ping()

    def test_one_call_takes_no_longer_than_its_timeout(self, mongodb_restored, settings):
        ping()
        mongodb_restored.pause("mongodb")
        started = time.monotonic()

        fails()

        # Far from pymongo's own 30 s, and from 2 s, its timeout here, as a loaded machine may be.
        assert time.monotonic() - started < 10

    def test_a_command_that_the_server_refuses_is_no_silence(self):
        for _ in range(5):
            with pytest.raises(PyMongoError):
                mongoengine.get_connection().admin.command("noSuchCommand")

        assert not mongodb_client.breaker.is_open


class TestCounts:
    def test_a_command_is_timed_for_its_request(self):
        with tracing.trace_request() as spent:
            ping()

        assert spent["mongodb"] > 0

    def test_a_refused_command_is_counted_by_its_kind(self):
        before = metrics.ERRORS.labels("CommandNotFound")._value.get()

        with pytest.raises(PyMongoError):
            mongoengine.get_connection().admin.command("noSuchCommand")

        assert metrics.ERRORS.labels("CommandNotFound")._value.get() == before + 1

    def test_a_connection_in_use_is_given_back(self):
        ping()

        assert metrics.CONNECTIONS._value.get() >= 1
        for gauge in (
            metrics.IN_USE,
            metrics.WAITING,
        ):  # background threads use it, too
            assert wait_until(lambda gauge=gauge: gauge._value.get() == 0, 30)


class TestPool:
    """A pool whose only connection is in use."""

    @pytest.fixture
    def small(self, settings):
        options = {"maxPoolSize": 1, "timeoutMS": 400, "retryReads": False}
        listeners = [mongodb_client.Commands(), mongodb_client.Pool()]
        with mongodb_client.Client(
            settings.MONGODB_URI, event_listeners=listeners, **options
        ) as client:
            client.admin.command("ping")
            yield client

    def test_has_the_sizes_of_the_settings(self):
        options = mongoengine.get_connection().options.pool_options

        assert (options.min_pool_size, options.max_pool_size) == (5, 20)
        assert options.max_idle_time_seconds == 30

    def test_exhausted_it_fails_in_time_is_counted_and_recovers(self, small):
        small.get_default_database().held.insert_one({})
        before = metrics.ERRORS.labels("PoolExhausted")._value.get()

        def hold() -> None:
            with pymongo.timeout(30):
                small.get_default_database().held.find_one({"$where": "sleep(3000) || true"})

        holder = threading.Thread(target=hold)
        holder.start()
        assert wait_until(lambda: metrics.IN_USE._value.get() >= 1, 30)
        with pytest.raises(WaitQueueTimeoutError) as raised:
            small.admin.command("ping")
        holder.join(30)

        assert unavailable_store(raised.value) == "mongodb"
        assert metrics.ERRORS.labels("PoolExhausted")._value.get() == before + 1
        assert not mongodb_client.breaker.is_open
        assert small.admin.command("ping")["ok"] == 1

    def test_is_said_to_be_in_use_by_the_answer(self, api):
        problem = problems.of_unavailable_store(
            RequestFactory().get("/"), "mongodb", WaitQueueTimeoutError("no connection")
        )

        assert problem["detail"] == "Every connection to mongodb is in use."
