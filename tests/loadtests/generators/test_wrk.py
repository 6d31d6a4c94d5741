"""The closed loop of the bench, by the real wrk."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from config.stack.process import StackError
from loadtests.generators import wrk
from loadtests.generators.http_load import Call, UnexpectedResponse
from loadtests.generators.wrk import saturate


@contextmanager
def serving(status_of: Callable[[BaseHTTPRequestHandler, str], int]) -> Iterator[str]:
    """A server that answers with the status that the function returns for a request and its body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            self.send_response(status_of(self, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_GET  # noqa: N815  # the name that the base calls

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class TestSaturate:
    def test_sends_the_calls_in_their_order_over_its_connections(self):
        requests = []

        def answer(request, body):
            requests.append((request.path, request.client_address))
            return 200

        calls = [Call("", f"/{number}") for number in range(3)]
        with serving(answer) as url:
            load = saturate(url, calls, order=[2, 0, 0, 1], connections=1, seconds=0.5)

        paths = [path for path, _ in requests]
        assert "/2/0/0/1/2/0/0/1" in "".join(paths)  # wrk asks for one before it begins
        assert len({connection for _, connection in requests}) == 1
        assert load.requests <= len(requests)
        assert load.errors == 0
        assert 0 < load.p50_ms <= load.p99_ms
        assert load.per_second == pytest.approx(load.requests / load.seconds)
        assert load.seconds < 5

    def test_sends_method_headers_and_a_body_with_a_number_of_its_own(self):
        requests = []

        def answer(request, body):
            requests.append((request.command, request.headers["X-User-Id"], json.loads(body)))
            return 200

        text = {"title": 'Ünïcode "quoted" \\ %1 \n', "content": "{n} of {n}"}
        call = Call("", "/", "PUT", {"X-User-Id": "abc"}, json.dumps(text, ensure_ascii=False))
        with serving(answer) as url:
            saturate(url, [call], connections=1, seconds=0.5, first=41)

        assert requests[:2] == [  # wrk asks for one, 42, before it begins
            ("PUT", "abc", {**text, "content": f"{number} of {number}"}) for number in (43, 44)
        ]

    def test_counts_what_failed(self):
        with serving(lambda request, body: 503) as url:
            load = saturate(url, [Call("", "/")], connections=2, seconds=0.5)

        assert load.errors == load.requests > 0

    def test_goes_on_until_a_slow_site_has_answered(self):
        with serving(lambda request, body: threading.Event().wait(0.5) or 200) as url:
            load = saturate(url, [Call("", "/")], connections=1, seconds=0.1)

        assert load.requests > 0
        assert load.seconds > 0.5

    def test_says_that_nothing_was_answered(self, monkeypatch):
        monkeypatch.setattr(wrk, "TIMEOUT_SECONDS", 1.0)
        with (
            serving(lambda request, body: threading.Event().wait(20) or 200) as url,
            pytest.raises(UnexpectedResponse, match=r"/slow: no response within 1 s"),
        ):
            saturate(url, [Call("", "/slow")], connections=1, seconds=0.2)

    def test_says_what_wrk_says_where_nobody_listens(self):
        with pytest.raises(StackError, match="wrk wrote no figures, but: unable to connect"):
            saturate("http://127.0.0.1:9", [Call("", "/")], connections=1, seconds=0.2)

    def test_no_load_goes_to_another_machine(self):
        with pytest.raises(ValueError, match="loopback only"):
            saturate("http://example.com:80", [Call("", "/")], connections=1, seconds=0.2)

    def test_says_how_to_install_wrk(self, monkeypatch):
        monkeypatch.setattr(wrk.shutil, "which", lambda name: None)

        with pytest.raises(StackError, match="apt-get install wrk"):
            saturate("http://127.0.0.1:9", [Call("", "/")], connections=1, seconds=0.2)

    def test_one_that_does_not_end_is_killed(self, monkeypatch):
        monkeypatch.setattr(wrk, "TIMEOUT_SECONDS", 0.2)

        with pytest.raises(StackError, match="wrk did not end"):
            wrk._run(["sh", "-c", "trap '' INT; while :; do :; done"], 0.1)
