"""Requests at one instant, against a small server."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loadtests.burst import burst
from loadtests.load import Call


class Counting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    together = threading.Barrier(3)

    def do_GET(self):
        if self.path == "/cut":
            self.close_connection = True
            return
        self.together.wait(10)  # answers once three are there, so they must come at once
        self.send_response(200)
        self.send_header("Cache-Status", "trilith; hit; ttl=1")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(self.headers["X-Number"].rjust(2).encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url():
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestBurst:
    def test_sends_so_many_at_once_and_the_rest_behind_them(self, url):
        calls = [Call("one", "/", headers={"X-Number": str(n)}) for n in range(6)]

        samples = burst(url, calls, at_once=3)

        assert {(one.call, one.status, one.cache) for one in samples} == {
            ("one", 200, "hit; ttl=1")
        }
        assert sorted(int(one.body) for one in samples) == list(range(6))
        assert all(one.latency_ms > 0 and one.at >= 0 for one in samples)

    def test_a_request_that_is_cut_off_is_a_sample_too(self, url):
        assert [one.status for one in burst(url, [Call("", "/cut")], at_once=1)] == [0]
