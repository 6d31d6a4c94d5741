"""Load on loopback: how many requests, when, and what is counted."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import pytest

from loadtests.generators.http_load import (
    Call,
    OpenLoop,
    UnexpectedResponse,
    address,
    closed_loop,
    fetch,
    fixed_count,
    intervals,
)


@contextmanager
def serving(
    answer: Callable[[BaseHTTPRequestHandler], None],
    server_class: type[HTTPServer] = ThreadingHTTPServer,
) -> Iterator[str]:
    """A server that does what answer does, and then says 200."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            answer(self)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with server_class(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def answering(statuses: Iterator[int], *, retry_after: bool = True) -> Iterator[str]:
    """A server that answers with each status in turn."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status = next(statuses)
            self.send_response(status)
            if status == 503 and retry_after:
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(str(status).encode())

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class TestFetch:
    def test_repeats_a_refusal_until_it_is_served(self):
        with answering(iter([503, 503, 201])) as url:
            assert fetch(url, "/") == 201

    def test_says_that_it_is_refused_for_so_long(self):
        with (
            answering(itertools.repeat(503)) as url,
            pytest.raises(UnexpectedResponse, match=r"GET /: status 503, still after 0.3 s"),
        ):
            fetch(url, "/", refused_seconds=0.3)

    @pytest.mark.parametrize(
        ("status", "retry_after", "seconds"),
        [(500, True, 20), (503, False, 20), (503, True, 0)],
        ids=["another error", "no Retry-After", "no time for it"],
    )
    def test_repeats_nothing_else(self, status, retry_after, seconds):
        with (
            answering(iter([status, 200]), retry_after=retry_after) as url,
            pytest.raises(UnexpectedResponse, match=f"GET /: status {status}"),
        ):
            fetch(url, "/", refused_seconds=seconds)


class TestFixedCount:
    def test_sends_exactly_so_many_over_connections_of_their_own(self):
        requests = []
        with serving(lambda request: requests.append(request.client_address)) as url:
            samples = fixed_count(url, Call("x", "/"), requests=103, concurrency=10)

        assert len(samples) == len(requests) == len(set(requests)) == 103
        assert {sample.status for sample in samples} == {200}

    def test_has_so_many_under_way_at_a_time(self):
        together = threading.Barrier(4)  # breaks, and fails the test, unless 4 come at once
        with serving(lambda request: together.wait(20)) as url:
            samples = fixed_count(url, Call("x", "/"), requests=8, concurrency=4)

        assert [sample.status for sample in samples] == [200] * 8


class TestClosedLoop:
    def test_takes_several_calls_in_turn(self):
        requests = []
        calls = [Call("x", f"/{number}") for number in range(4)]
        with serving(lambda request: requests.append(request.path)) as url:
            closed_loop(url, calls, connections=2, seconds=0.2)

        assert set(requests) == {"/0", "/1", "/2", "/3"}


class TestIntervals:
    def test_are_those_of_the_rate(self):
        poisson = list(itertools.islice(intervals(50, seed=1), 20_000))

        assert list(itertools.islice(intervals(50), 3)) == [0.02] * 3
        assert sum(poisson) / len(poisson) == pytest.approx(0.02, rel=0.03)
        assert sum(interval < 0.02 for interval in poisson) / len(poisson) == pytest.approx(
            0.632, abs=0.02
        )

    def test_are_the_same_for_the_same_seed(self):
        first, again, other = (
            list(itertools.islice(intervals(50, seed=seed), 5)) for seed in (1, 1, 2)
        )

        assert first == again != other


class TestOpenLoop:
    @pytest.mark.parametrize("keep_alive", [False, True])
    def test_counts_the_wait_from_when_a_request_was_meant_to_start(self, keep_alive):
        with serving(lambda request: threading.Event().wait(0.2)) as url:
            loop = OpenLoop(url, per_second=50, keep_alive=keep_alive)
            loop.run(iter([Call("slow", "/")] * 10), seconds=1)
            samples = loop.finish()

        assert len(samples) == 10
        assert {sample.status for sample in samples} == {200}
        assert all(sample.latency_ms >= 200 for sample in samples)

    def test_does_not_hide_a_stall(self):
        """One request at a time, and the first stalls for half a second: all feel it."""
        stall = iter([0.5])

        def answer(request: BaseHTTPRequestHandler) -> None:
            threading.Event().wait(next(stall, 0))
            request.close_connection = True

        with serving(answer, HTTPServer) as url:
            loop = OpenLoop(url, per_second=50)
            loop.run(iter([Call("x", "/")] * 10), seconds=1)
            samples = loop.finish()

        assert all(sample.latency_ms >= 500 - sample.at * 1000 - 1 for sample in samples)
        assert len(samples) == 10

    def test_uses_idle_connections_again_where_told_to(self):
        requests = []
        with serving(lambda request: requests.append(request.client_address)) as url:
            loop = OpenLoop(url, per_second=20, keep_alive=True)
            loop.run(iter([Call("x", "/")] * 5), seconds=1)
            samples = loop.finish()

        assert len(requests) == len(samples) == 5
        assert len(set(requests)) < 5

    def test_an_answer_that_never_comes_is_a_sample_too(self):
        loop = OpenLoop("http://127.0.0.1:9", per_second=10)
        loop.run(iter([Call("x", "/")]), seconds=1)

        assert [sample.status for sample in loop.finish()] == [0]


class TestAddress:
    @pytest.mark.parametrize(
        "url", ["http://example.com:80", "http://10.0.0.1:80", "http://127.0.0.1"]
    )
    def test_refuses_whatever_is_not_this_machine(self, url):
        with pytest.raises(ValueError, match="loopback only"):
            address(url)
