"""Made-up users: locust in its own process, against the site and against what is none."""

import re
import subprocess
import threading
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from config.stack.process import StackError
from loadtests.__main__ import main
from loadtests.generators import cli as load_cli
from loadtests.testbed.site import Site

# Namespaces of XML, and where errors of its libraries are explained; no request goes there.
NAMED = {"127.0.0.1", "www.w3.org", "github.com", "mui.com", "react.dev"}


def options(*arguments):
    parser = ArgumentParser()
    load_cli.add_options(parser)
    return parser.parse_args(["--users", "6", *arguments])


@pytest.fixture(scope="module")
def broken():
    """A site that answers nothing but 500."""

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815  # the names that the base calls

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def runs(site, broken, tmp_path_factory):
    """What four runs at once ended with, by what is special of each; and the report of one."""
    folder = tmp_path_factory.mktemp("reports")
    cases = {
        "kept": (site, "--seconds", "3", "--p95-ms", "60000"),
        "slow": (site, "--seconds", "2", "--p95-ms", "0.001", "--kind", "reader"),
        "failing": (Site(broken, site.stack, 0), "--seconds", "2", "--p95-ms", "60000"),
        "elsewhere": (Site("http://example.com:80", site.stack, 0), "--seconds", "2"),
    }

    def run(name):
        where, *arguments = cases[name]
        parsed = options(*arguments, "--html", str(folder / f"{name}.html"))
        try:
            return load_cli.run_users(where, parsed)
        except StackError as exc:
            return str(exc)

    with ThreadPoolExecutor() as pool:
        return dict(zip(cases, pool.map(run, cases), strict=True)), folder


class TestRunUsers:
    def test_the_thresholds_set_the_exit_status(self, runs):
        statuses, _ = runs

        assert statuses["kept"] == 0
        assert statuses["slow"] == 1
        assert statuses["failing"] == 1

    def test_no_load_goes_to_another_machine(self, runs):
        statuses, folder = runs

        assert statuses["elsewhere"] == "locust ended with exit status 2"
        assert not (folder / "elsewhere.html").exists()

    def test_the_report_needs_no_network(self, runs):
        _, folder = runs
        page = (folder / "kept.html").read_text()

        assert "GET /notes/{id}" in page
        assert set(re.findall(r"https?://([\w.-]+)", page)) <= NAMED
        assert not re.search(r"XMLHttpRequest|WebSocket\(|importScripts|url\(", page)


class TestRun:
    def test_an_interruption_ends_locust(self, site, tmp_path, monkeypatch):
        started = []

        def interrupted(process, seconds):
            started.append(process)
            raise KeyboardInterrupt

        monkeypatch.setattr(load_cli, "running_site", lambda *args, **how: nullcontext(site))
        monkeypatch.setattr(load_cli, "_wait", interrupted)

        assert main(["load", "--html", str(tmp_path / "new" / "x.html")]) == 130
        assert started[0].poll() is not None

    def test_one_that_does_not_end_is_given_up(self, monkeypatch):
        monkeypatch.setattr(load_cli, "_SHUTDOWN_SECONDS", 0.1)

        with (
            subprocess.Popen(["sleep", "60"]) as process,
            pytest.raises(StackError, match=r"did not end within 0\.2 s"),
        ):
            try:
                load_cli._wait(process, 0.1)
            finally:
                load_cli._end(process)

    def test_says_that_locust_is_not_installed(self, monkeypatch, capsys):
        monkeypatch.setattr(load_cli.importlib.util, "find_spec", lambda name: None)

        assert main(["load"]) == 1
        assert "pip install -r requirements-load.txt" in capsys.readouterr().err
