"""Redis killed, paused and brought back, under the real code over HTTP."""

import json
import threading
import time

import pytest
from structlog.testing import capture_logs

from cachelayer import client
from config.stack import process
from tests.builders import make_note
from tests.cachelayer.test_read import Loads, Word, get_or_load, key
from tests.leases import trusted_again

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_restored")]


@pytest.fixture
def redis_restored(stack):
    yield
    stack.start("redis")
    client.breaker.reset()


def read(api, note_id, **headers):
    return api.get(f"/api/v1/notes/{note_id}", headers=headers)


def write(api, note_id, title):
    body = json.dumps({"title": title})
    return api.patch(f"/api/v1/notes/{note_id}", body, "application/json")


class TestRefused:
    def test_every_request_is_answered_from_postgresql(self, api, stack):
        note_id = make_note(title="before")
        read(api, note_id)
        stack.kill("redis")

        answers = [read(api, note_id), api.get("/api/v1/notes"), write(api, note_id, "after")]

        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert answers[0]["Cache-Status"] == "trilith; fwd=miss; detail=cache-down"
        assert read(api, note_id).json()["title"] == "after"

    def test_one_refusal_opens_the_breaker_and_nothing_is_asked_after_that(
        self, api, stack, monkeypatch
    ):
        note_id = make_note()
        stack.kill("redis")
        read(api, note_id)
        callers = []
        connected = client.client

        def observed():
            callers.append(threading.current_thread())
            return connected()

        monkeypatch.setattr(client, "client", observed)

        for _ in range(5):
            read(api, note_id)

        assert client.breaker.is_open
        assert threading.current_thread() not in callers  # threads in the background probe
        assert "redis" not in read(api, note_id)["Server-Timing"]

    def test_the_cache_is_used_again_once_redis_is_back(self, api, stack):
        note_id = make_note()
        stack.kill("redis")
        read(api, note_id)

        stack.start("redis")

        assert trusted_again()
        read(api, note_id)
        assert "hit" in read(api, note_id)["Cache-Status"]


class TestPaused:
    def test_reads_wait_for_the_timeout_until_the_breaker_opens_and_then_not(
        self, api, stack, settings
    ):
        note_id = make_note(title="before")
        read(api, note_id)
        stack.pause("redis")

        answers = []
        while not client.breaker.is_open and len(answers) < 10:
            answers.append(read(api, note_id))
        afterwards = read(api, note_id)

        assert {answer.status_code for answer in answers} == {200}
        assert len(answers) <= 3
        assert "redis" not in afterwards["Server-Timing"]
        assert afterwards["Cache-Status"] == "trilith; fwd=miss; detail=cache-down"

    def test_a_write_during_the_pause_is_not_lost_on_the_cache(self, api, stack):
        """Redis comes back with the old entry and its stamps: they must not be trusted."""
        note_id = make_note(title="before")
        read(api, note_id)
        stack.pause("redis")

        assert write(api, note_id, "after").status_code == 200
        stack.resume("redis")

        assert trusted_again()
        assert read(api, note_id).json()["title"] == "after"


class TestBreaker:
    def test_is_told_once_and_not_with_every_request(self, api, stack):
        note_id = make_note()
        stack.kill("redis")
        with capture_logs() as lines:
            for _ in range(5):
                read(api, note_id)

        warnings = [line for line in lines if line.get("operation") == "breaker"]
        assert [line["event"] for line in warnings] == ["Cache unavailable"]


class TestSharedLoads:
    def test_without_redis_a_caller_shares_only_loads_that_began_after_it_came(
        self, stack, settings
    ):

        stack.kill("redis")
        lock, running, most = threading.Lock(), [0], [0]
        count, came = [0], [0]

        def load():
            process.wait_until(lambda: came[0] == 20, 30)
            with lock:
                running[0] += 1
                count[0] += 1
                most[0] = max(most[0], running[0])
            threading.Event().wait(0.05)
            with lock:
                running[0] -= 1
            return Word(str(time.monotonic()))

        def come():
            with lock:
                came[0] += 1
            get_or_load(key(), load)

        threads = [threading.Thread(target=come) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert most[0] == 1  # one at a time
        assert count[0] <= 5  # not twenty

    def test_the_error_of_a_load_is_raised_and_the_next_caller_loads(self, stack):

        stack.kill("redis")
        with pytest.raises(KeyError):
            get_or_load(key(), lambda: {}["x"])

        assert get_or_load(key(), Loads()).value is not None
