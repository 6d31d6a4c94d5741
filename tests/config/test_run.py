"""python -m config.run, as make run starts it: a real site in a checkout of its own."""

import contextlib
import fcntl
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
import termios
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from activity import spool
from config import run
from config.stack import ROOT, VARIABLES, Stack, process
from config.stack.site import is_answering

PATIENCE_SECONDS = 200  # ten times what a start takes alone
SOURCES = ("manage.py", "config", "cachelayer", "notes", "profiles", "activity")
# A proxy that answers nobody: whoever asks it for a site on loopback never gets there.
PROXIES = dict.fromkeys(("http_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")

CLEANS_UP_FOR_A_SECOND = """
import sys, threading
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def handle(self, *args, **options):
        try:
            print("working", flush=True)
            threading.Event().wait(60)
        except KeyboardInterrupt:
            threading.Event().wait(1)
            print("cleaned")
            sys.exit(7)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("Käse und Brot")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def port() -> int:
    return process.free_port()


def environment_of(port: int, **variables: str) -> dict[str, str]:
    ours = {*VARIABLES.values(), "SECRET_KEY", "ALLOWED_HOSTS", "NO_PROXY", "no_proxy", "MAKELEVEL"}
    inherited = {k: v for k, v in os.environ.items() if k not in ours}
    return inherited | PROXIES | {"PORT": str(port), "PYTHONUNBUFFERED": "1"} | variables


def start(checkout: Path, port: int, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "config.run", *arguments],
        cwd=checkout,
        env=environment_of(port, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A process in the background of a shell, as this one may be, ignores it, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def processes_of(checkout: Path) -> list[psutil.Process]:
    """Whatever runs from the checkout: its servers by their arguments, its site by its folder."""
    return [
        running
        for running in psutil.process_iter()
        if process._working_directory(running) == checkout
        or any(str(checkout) in part for part in process._arguments(running))
    ]


def operator_url(checkout: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES.values():
            patch.delenv(variable, raising=False)
        return Stack("dev", root=checkout).operator_urls()["DATABASE_URL"]


def waits_for_a_lock(checkout: Path) -> bool:
    with psycopg.connect(operator_url(checkout)) as connection:
        row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return row == (1,)


def answers(port: int) -> bool:
    return is_answering(f"http://127.0.0.1:{port}", "/health/ready")


def nothing_is_left(checkout: Path) -> bool:
    return process.wait_until(lambda: not processes_of(checkout), PATIENCE_SECONDS)


@pytest.fixture(autouse=True)
def _one_failure_is_one(checkout) -> Iterator[None]:
    """What a failed test leaves behind is not the next one's."""
    yield
    while running := processes_of(checkout):
        for left in running:
            with contextlib.suppress(psutil.NoSuchProcess):  # ended by the end of another
                left.kill()


def await_site(launcher: subprocess.Popen[str]) -> None:
    """Not once it answers: then the launcher may still be about to look."""
    printed = []
    for line in iter(launcher.stdout.readline, ""):
        printed.append(line)
        if line.startswith("Trilith serves at"):
            return
    pytest.fail("".join(printed))


@pytest.fixture
def site(checkout, port) -> Iterator[subprocess.Popen[str]]:
    launcher = start(checkout, port)
    await_site(launcher)
    yield launcher
    if launcher.poll() is None:
        launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=PATIENCE_SECONDS)


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
        output, _ = site.communicate(timeout=PATIENCE_SECONDS)
        asking.join()

        assert site.returncode == 0
        assert statuses == [200]
        assert "Finishing the requests in flight" in output
        assert processes_of(checkout) == []
        # What was recorded last has been shipped, too, and each worker has left its segment.
        assert spool.segments(checkout / ".stack/dev/spool") == []

    @pytest.mark.parametrize("victim", ["launcher", "its child", "granian"])
    def test_whichever_process_is_killed_nothing_is_left(self, checkout, site, victim):
        [child] = psutil.Process(site.pid).children()
        [granian] = [running for running in child.children() if "granian" in running.cmdline()]
        victims = {"launcher": psutil.Process(site.pid), "its child": child, "granian": granian}

        victims[victim].kill()
        site.communicate(timeout=PATIENCE_SECONDS)

        assert nothing_is_left(checkout)
        assert site.returncode != 0

    def test_the_end_of_make_ends_everything(self, checkout, port):
        make = subprocess.Popen(
            ["sh", "-c", '"$0" -m config.run; true', sys.executable],
            cwd=checkout,
            env=environment_of(port, MAKELEVEL="1"),
            stdout=subprocess.DEVNULL,
        )
        assert process.wait_until(lambda: answers(port), PATIENCE_SECONDS)

        make.kill()
        make.wait()

        assert nothing_is_left(checkout)

    def test_the_end_of_its_terminal_ends_everything(self, checkout, port):
        terminal, its_side = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "config.run"],
            cwd=checkout,
            env=environment_of(port),
            stdin=its_side,
            stdout=its_side,
            stderr=its_side,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        ) as launcher:
            os.close(its_side)
            assert process.wait_until(lambda: answers(port), PATIENCE_SECONDS)

            os.close(terminal)

            assert launcher.wait(PATIENCE_SECONDS) == 0
        assert nothing_is_left(checkout)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_during_the_start_ends_what_was_started(self, checkout, port, number):
        launcher = start(checkout, port)
        assert launcher.stdout.readline().startswith("Starting PostgreSQL")

        launcher.send_signal(number)
        launcher.communicate(timeout=PATIENCE_SECONDS)

        assert launcher.returncode == 128 + number
        assert nothing_is_left(checkout)

    @pytest.mark.parametrize(
        ("variables", "message"),
        [
            ({"PORT": "abc"}, "PORT='abc': must be a port number from 1 to 65535"),
            ({"PORT": "0"}, "PORT='0': must be a port number from 1 to 65535"),
            ({"PORT": "70000"}, "PORT='70000': must be a port number from 1 to 65535"),
            ({"PORT": "²"}, "PORT='²': must be a port number from 1 to 65535"),
            (
                {"WEB_WORKERS": "abc"},
                "WEB_WORKERS='abc': must be a whole number from 1 to 1000.",
            ),
        ],
    )
    def test_a_bad_setting_is_one_line_and_leaves_nothing(self, checkout, port, variables, message):
        launcher = start(checkout, port, **variables)
        printed, _ = launcher.communicate(timeout=PATIENCE_SECONDS)

        assert launcher.returncode == 1
        assert printed.removeprefix("Starting PostgreSQL, Redis and MongoDB ...\n") == (
            f"run: {message}\n"
        )
        assert nothing_is_left(checkout)

    def test_a_second_one_says_that_it_runs_and_after_a_kill_starts(self, checkout, port, site):
        second = start(checkout, port)
        output, _ = second.communicate(timeout=PATIENCE_SECONDS)

        assert second.returncode == 0
        assert output == f"Already running: http://127.0.0.1:{port} (pid {site.pid})\n"
        assert answers(port)

        site.kill()
        site.wait()

        again = start(checkout, port)  # at once: the first is still ending
        await_site(again)
        again.send_signal(signal.SIGTERM)
        again.communicate(timeout=PATIENCE_SECONDS)
        assert again.returncode == 0
        assert nothing_is_left(checkout)

    def test_a_checkout_that_cannot_be_written_is_one_line(self, checkout, port):
        stacks, aside = checkout / ".stack", checkout / "aside"
        if stacks.exists():
            stacks.rename(aside)
        stacks.touch()
        launcher = start(checkout, port)
        printed, _ = launcher.communicate(timeout=PATIENCE_SECONDS)
        stacks.unlink()
        if aside.exists():
            aside.rename(stacks)

        assert launcher.returncode == 1
        assert printed == f"run: Not a directory: {stacks / 'dev'}\n"

    def test_a_port_in_use_is_one_line(self, checkout, port, monkeypatch):
        program = (
            "import config.run as r, socket, sys; r._END_SECONDS = 0;"
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
        assert (
            done.stderr
            == f"run: port {port} is in use: stop the process that listens there, or set PORT\n"
        )


class TestManage:
    def test_runs_a_command_on_the_local_servers(self, checkout, port):
        done = start(checkout, port, "manage", "check")
        output, _ = done.communicate(timeout=PATIENCE_SECONDS)

        assert done.returncode == 0
        assert "no issues" in output

    def test_ctrl_c_lets_the_command_clean_up(self, checkout, port):
        command = checkout / "config" / "management" / "commands" / "undone.py"
        command.write_text(CLEANS_UP_FOR_A_SECOND)
        launcher = start(checkout, port, "manage", "undone")
        assert launcher.stdout.readline() == "working\n"

        os.killpg(launcher.pid, signal.SIGINT)  # as a terminal does
        output, _ = launcher.communicate(timeout=PATIENCE_SECONDS)
        command.unlink()

        assert output == "cleaned\n"
        assert launcher.returncode == 7

    def test_anything_else_is_misuse(self, checkout, port):
        done = start(checkout, port, "walk")
        output, _ = done.communicate(timeout=PATIENCE_SECONDS)

        assert done.returncode == 2
        assert "python -m config.run manage" in output


class TestSecretKey:
    def test_is_made_once_and_only_its_owner_reads_it(self, tmp_path):
        path = tmp_path / "secret_key"

        made = run._secret_key(path)

        assert len(made) > 50
        assert run._secret_key(path) == made
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_an_empty_one_is_made_anew(self, tmp_path):
        path = tmp_path / "secret_key"
        path.touch()

        assert run._secret_key(path)

    def test_a_crash_while_it_is_written_leaves_none(self, tmp_path, monkeypatch):
        def crash(*args: object, **options: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "write_text", crash)
        with pytest.raises(KeyboardInterrupt):
            run._secret_key(tmp_path / "secret_key")

        assert list(tmp_path.iterdir()) == []
