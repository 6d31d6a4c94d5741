"""The site on a stack of its own, started for a measurement and stopped after it."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config.stack import ROOT, VARIABLES, Stack
from config.stack.process import StackError, free_port, wait_until
from config.stack.site import DRAIN_SECONDS, die_with_parent, is_answering, site_command

WORKERS = 2
THREADS = 16
NOTES = 20_000


@dataclass(frozen=True)
class Site:
    """A running site and the servers below it."""

    url: str
    stack: Stack
    pid: int  # of the server process, whose children are the workers
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # of its processes

    def manage(self, *command: str) -> str:
        """Run manage.py against the site's servers; return what it printed. Raises StackError."""
        return _manage(list(command), self.environment)


@contextmanager
def running_site(
    name: str = "loadtests",
    *,
    notes: int = NOTES,
    workers: int = WORKERS,
    threads: int = THREADS,
    application: str = "config.wsgi:application",
    variables: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """
    Start servers and site, seed so many notes, yield; stop everything, whatever happened.

    The servers are the stack's own, never those that the environment names. Raises StackError.
    """
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES.values()}
    named = {v: os.environ.pop(v) for v in VARIABLES.values() if v in os.environ}
    stack = Stack(name)
    try:
        stack.up()
        environment |= stack.urls() | {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "ALLOWED_HOSTS": "127.0.0.1",
            "PYTHON_DOTENV_DISABLED": "1",
            "LOG_LEVEL": "WARNING",
            "ACTIVITY_SPOOL_DIR": str(stack.folder / "spool"),
            **(variables or {}),
        }
        _prepare(notes, environment)
        environment["PROMETHEUS_MULTIPROC_DIR"] = _emptied(stack.folder / "metrics")
        port = free_port()
        command_line = site_command(port, workers=workers, threads=threads, application=application)
        process = _spawn(command_line, environment, stack.folder / "site.log")
        try:
            url = f"http://127.0.0.1:{port}"
            if not wait_until(lambda: is_answering(url, "/health/ready"), 60):
                raise StackError(f"the site does not get ready (log: {stack.folder}/site.log)")
            yield Site(url, stack, process.pid, environment)
        finally:
            _end(process)
    finally:
        stack.down()
        os.environ.update(named)


def _prepare(notes: int, environment: Mapping[str, str]) -> None:
    for command in (
        ["migrate", "-v0"],
        ["mongo_indexes", "--ensure"],
        ["seed_notes", f"--count={notes}", "--users=200"],
        ["seed_profiles", "--count=200"],
    ):
        _manage(command, environment)


def _emptied(folder: Path) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return str(folder)


def _spawn(
    command: list[str], environment: Mapping[str, str], log_file: Path
) -> subprocess.Popen[bytes]:
    with log_file.open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _manage(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1]
        raise StackError(f"manage.py {command[0]} failed: {last}")
    return done.stdout


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(DRAIN_SECONDS + 2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
