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
from config.stack.site import is_answering
from loadtests.testbed.site import Site, running_site

pytestmark = pytest.mark.timeout(300)

AT_ONCE = 50


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site("idempotency", notes=10, workers=2, threads=8) as running:
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
        assert kinds[201, False] == 1
        assert kinds.keys() <= {(201, False), (201, True), (409, False)}
        assert len({content for status, _, content in replies if status == 201}) == 1
        assert post(site, *request, key)[:2] == (201, True)


class TestKilled:
    def test_between_commit_and_reply_the_repetition_returns_the_note(self, site):
        """While Redis hangs a write is committed and not answered: there its worker is killed."""
        title, key = f"Killed {uuid4()}", str(uuid4())
        request = ("/api/v1/notes", {"title": title}, key)
        workers = psutil.Process(site.pid).children()
        site.stack.pause("redis")
        try:
            with ThreadPoolExecutor(1) as thread:
                first = thread.submit(post, site, *request)
                assert wait_until(lambda: titles(site, title) == 1, 30)
                assert not first.done()
                for worker in workers:
                    worker.kill()
                with pytest.raises((ConnectionError, http.client.HTTPException)):
                    first.result()
        finally:
            site.stack.resume("redis")
        assert wait_until(lambda: is_answering(site.url, "/health/ready"), 60)

        status, replayed, content = post(site, *request)

        assert (status, replayed) == (201, True)
        assert json.loads(content)["title"] == title
        assert titles(site, title) == 1
