"""POSTs with an Idempotency-Key to a real site: many at once, and a worker that dies before it answers."""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psutil
import psycopg
import pytest

from config.stack.process import wait_until
from loadtests.testbed.site import Site, running_site

AT_ONCE = 50


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site("idempotency", notes=10, workers=2, threads=8) as running:
        yield running
    running.stack.reset()


@pytest.fixture(scope="module")
def failing_site() -> Iterator[Site]:
    """
    A site for outages, of a single worker: once that accepts a write, the site has recovered.

    While Redis hangs, a write that is committed waits for it for half a minute before it is answered.
    """
    patient = {"REDIS_TIMEOUT_MS": "30000"}
    with running_site("idempotency-outages", notes=10, workers=1, variables=patient) as running:
        yield running
    running.stack.reset()


def post(site: Site, path: str, body: object, key: str) -> tuple[int, bool, bytes]:
    """Return the status of a POST, whether the reply was marked as a repetition, and its body."""
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=60)
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    connection.request("POST", path, json.dumps(body), headers)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, reply.headers["Idempotency-Replayed"] == "true", content


def titles(site: Site, title: str) -> int:
    with psycopg.connect(site.stack.operator_urls()["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM notes WHERE title = %s", [title]).fetchone()
    return row[0]


class TestAtOnce:
    @pytest.mark.parametrize("bulk", [False, True], ids=["single", "bulk"])
    def test_equal_posts_make_one_note(self, site, bulk):
        title, key = f"At once {uuid4()}", str(uuid4())
        body = {"title": title, "content": "words"}
        request = ("/api/v1/notes/bulk", {"notes": [body]}) if bulk else ("/api/v1/notes", body)
        start = threading.Barrier(AT_ONCE)

        def send(_: int) -> tuple[int, bool, bytes]:
            start.wait()
            return post(site, *request, key)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            replies = list(threads.map(send, range(AT_ONCE)))

        assert titles(site, title) == 1
        kinds = Counter((status, replayed) for status, replayed, _ in replies)
        assert kinds[201, False] <= 1
        # A busy machine may take too long for some, perhaps for the one that creates the note: 503.
        assert kinds.keys() <= {(201, False), (201, True), (409, False), (503, False)}
        assert len({content for status, _, content in replies if status == 201}) == 1
        assert post(site, *request, key)[:2] == (201, True)


def accepts_writes(site: Site) -> bool:
    try:
        return post(site, "/api/v1/notes", {"title": "Recovered"}, str(uuid4()))[0] == 201
    except (OSError, http.client.HTTPException):
        return False


class TestUnavailable:
    def test_what_postgres_did_after_its_503_is_not_done_again(self, failing_site):
        """A paused server may have the statement, and runs it once it goes on, answered as it was."""
        title, key = f"Paused {uuid4()}", str(uuid4())
        request = ("/api/v1/notes", {"title": title}, key)
        failing_site.stack.pause("postgres")
        try:
            assert post(failing_site, *request)[0] == 503
        finally:
            failing_site.stack.resume("postgres")
        assert wait_until(lambda: accepts_writes(failing_site), 60)

        status, _, content = post(failing_site, *request)

        assert status == 201
        assert json.loads(content)["title"] == title
        assert titles(failing_site, title) == 1
        assert post(failing_site, *request) == (201, True, content)


class TestKilled:
    def test_between_commit_and_reply_the_repetition_returns_the_note(self, failing_site):
        title, key = f"Killed {uuid4()}", str(uuid4())
        request = ("/api/v1/notes", {"title": title}, key)
        workers = psutil.Process(failing_site.pid).children()
        failing_site.stack.pause("redis")
        try:
            with ThreadPoolExecutor(1) as thread:
                first = thread.submit(post, failing_site, *request)
                assert wait_until(lambda: titles(failing_site, title) == 1, 30)
                assert not first.done()
                for worker in workers:
                    worker.kill()
                with pytest.raises((ConnectionError, http.client.HTTPException)):
                    first.result()
        finally:
            failing_site.stack.resume("redis")
        assert wait_until(lambda: accepts_writes(failing_site), 60)

        status, replayed, content = post(failing_site, *request)

        assert (status, replayed) == (201, True)
        assert json.loads(content)["title"] == title
        assert titles(failing_site, title) == 1
