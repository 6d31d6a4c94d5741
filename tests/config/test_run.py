"""python -m config.run, as make run starts it: a real site in a checkout of its own."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from config.stack import ROOT, VARIABLES, Stack, process

SOURCES = ("manage.py", "config", "cachelayer", "notes", "profiles", "activity")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def port() -> int:
    return process.free_port()


def start(checkout: Path, port: int, *arguments: str) -> subprocess.Popen[str]:
    ours = {*VARIABLES.values(), "SECRET_KEY", "ALLOWED_HOSTS"}
    environment = {k: v for k, v in os.environ.items() if k not in ours}
    return subprocess.Popen(
        [sys.executable, "-m", "config.run", *arguments],
        cwd=checkout,
        env=environment | {"PORT": str(port), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(checkout: Path) -> list[psutil.Process]:
    """Whatever runs from the checkout: its servers by their arguments, its site by its folder."""
    return [
        one
        for one in psutil.process_iter()
        if process._working_directory(one) == checkout
        or any(str(checkout) in part for part in process._arguments(one))
    ]


def operator_url(checkout: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES.values():
            patch.delenv(variable, raising=False)
        return Stack("dev", root=checkout).operator_urls()["DATABASE_URL"]


def waits_for_a_lock(checkout: Path) -> bool:
    with psycopg.connect(operator_url(checkout)) as asked:
        row = asked.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return row == (1,)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=3) as reply:
            return reply.status == 200
    except OSError:
        return False


@pytest.fixture
def site(checkout, port) -> Iterator[subprocess.Popen[str]]:
    launcher = start(checkout, port)
    assert process.wait_until(lambda: answers(port) or launcher.poll() is not None, 100)
    yield launcher
    if launcher.poll() is None:
        launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=60)


class TestServe:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_finishes_what_is_in_flight_and_leaves_no_process(self, checkout, port, site, number):
        url = f"http://127.0.0.1:{port}/api/v1/notes?cache=false"
        statuses = []

        def ask() -> None:
            with urllib.request.urlopen(url, timeout=10) as reply:
                statuses.append(reply.status)

        with psycopg.connect(operator_url(checkout)) as holder:
            holder.execute("LOCK TABLE notes")
            asking = threading.Thread(target=ask)
            asking.start()
            assert process.wait_until(lambda: waits_for_a_lock(checkout), 30)
            site.send_signal(number)
            threading.Event().wait(0.5)
        told, _ = site.communicate(timeout=60)
        asking.join()

        assert site.returncode == 0
        assert statuses == [200]
        assert "Trilith serves at" in told
        assert "Finishing the requests in flight" in told
        assert processes_of(checkout) == []

    def test_a_second_one_says_that_it_runs_and_after_a_kill_starts(self, checkout, port, site):
        second = start(checkout, port)
        told, _ = second.communicate(timeout=60)

        assert second.returncode == 0
        assert told == f"Already running: http://127.0.0.1:{port} (pid {site.pid})\n"
        assert answers(port)

        site.kill()
        site.wait()

        again = start(checkout, port)
        try:
            assert process.wait_until(lambda: again.poll() is not None or answers(port), 100)
            assert again.poll() is None
        finally:
            again.send_signal(signal.SIGTERM)
            again.communicate(timeout=60)
            for one in processes_of(checkout):
                one.kill()

    def test_a_taken_port_is_one_line(self, checkout, port, monkeypatch):
        program = (
            "import config.run as r, socket, sys; r.DRAIN_SECONDS = -2;"
            f"s = socket.create_server(('127.0.0.1', {port}));"
            "sys.exit(r.main([]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=checkout,
            env=os.environ | {"PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 1
        assert done.stderr == f"run: port {port} is taken: end what listens there, or set PORT\n"


class TestManage:
    def test_runs_a_command_on_the_local_servers(self, checkout, port):
        done = start(checkout, port, "manage", "check")
        told, _ = done.communicate(timeout=60)
        for one in processes_of(checkout):
            one.kill()

        assert done.returncode == 0
        assert "no issues" in told

    def test_anything_else_is_misuse(self, checkout, port):
        done = start(checkout, port, "walk")
        told, _ = done.communicate(timeout=60)

        assert done.returncode == 2
        assert "python -m config.run manage" in told
