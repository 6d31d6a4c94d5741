"""The site on a stack of its own, started for a measurement and stopped after it."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypedDict, Unpack

import psycopg

from config.stack import ROOT, VARIABLES, Stack
from config.stack.process import StackError, die_with_parent, free_port, wait_until
from config.stack.site import DRAIN_SECONDS, is_answering, site_command
from loadtests.testbed.servers import Servers, run_python, running_servers

WORKERS: Final = 2
THREADS: Final = 16
NOTES: Final = 20_000
INSTRUMENTED: Final = "loadtests.testbed.instrumented_wsgi:application"
_OUTBOX_SECONDS: Final = 10
_APPLICATION: Final = "config.wsgi:application"


class ServingOptions(TypedDict, total=False):
    """How a site is served: its processes, their threads, its WSGI application and its settings."""

    workers: int
    threads: int
    application: str
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Site:
    """A running site and the servers below it."""

    url: str
    stack: Stack
    pid: int  # of the server process, whose children are the workers
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # of its processes
    root: Path = ROOT  # of its code

    def manage(self, *command: str, variables: Mapping[str, str] | None = None) -> str:
        """Run manage.py against the site's servers; return what it printed. Raises StackError."""
        environment = {**self.environment, **(variables or {})}
        return run_python(["manage.py", *command], environment, self.root)

    def wait_for_outbox(self) -> None:
        """
        Wait until the outbox is empty: its rows are deleted some 50 ms after a write's answer.

        Until then a renewal of the lease may unlink their tags once more, and what was stored
        since. Raises StackError.
        """
        url = self.stack.operator_urls()["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            rows = "SELECT 1 FROM cachelayer_outbox LIMIT 1"
            if not wait_until(lambda: not connection.execute(rows).fetchone(), _OUTBOX_SECONDS):
                raise StackError(f"the outbox is not empty after {_OUTBOX_SECONDS} s")


@contextmanager
def running_site(
    name: str = "loadtests",
    *,
    notes: int = NOTES,
    root: Path = ROOT,
    **options: Unpack[ServingOptions],
) -> Iterator[Site]:
    """
    Start servers and a site on them; yield it; stop everything. Raises StackError.

    The site's code is that in root, run by this interpreter.
    """
    with running_servers(name, root) as servers, serving(servers, notes=notes, **options) as site:
        yield site


@contextmanager
def serving(
    servers: Servers,
    *,
    notes: int,
    workers: int = WORKERS,
    threads: int = THREADS,
    application: str = _APPLICATION,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """Start a site on servers that run; they are left running. Raises StackError."""
    servers.prepare(notes)
    folder = servers.stack.folder
    environment = {**servers.environment, **(variables or {})}
    environment["PROMETHEUS_MULTIPROC_DIR"] = empty_folder(folder / "metrics")
    command = partial(site_command, workers=workers, threads=threads, application=application)
    with _process(command, environment, folder / "site.log", servers.root) as (url, pid):
        yield Site(url, servers.stack, pid, environment, servers.root)


@contextmanager
def second_site(site: Site, *, variables: Mapping[str, str]) -> Iterator[str]:
    """
    Start a second process on the servers of a site, with other settings; yield its URL.

    Its metrics are its own. It is stopped at the end. Raises StackError.
    """
    folder = site.stack.folder
    metrics = {"PROMETHEUS_MULTIPROC_DIR": empty_folder(folder / "metrics-of-second")}
    environment = {**site.environment, **metrics, **variables}
    command = partial(site_command, workers=1, threads=THREADS, application=_APPLICATION)
    with _process(command, environment, folder / "second-site.log", site.root) as (url, _):
        yield url


@contextmanager
def starting_process(
    environment: Mapping[str, str], log: Path, *, threads: int, application: str
) -> Iterator[tuple[str, int]]:
    """Start a server process with one worker; yield its URL and pid; end it. It may not be ready yet."""
    port = free_port()
    command = site_command(port, workers=1, threads=threads, application=application)
    process = _spawn(command, environment, log, ROOT)
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        _end(process)


@contextmanager
def peer_of(
    site: Site, application: str, *, threads: int, variables: Mapping[str, str]
) -> Iterator[Site]:
    """
    Serve another WSGI application by as many processes as the site, over the same servers; yield it.

    It is ready once /health/ready answers. It is stopped at the end. Raises StackError.
    """
    own = {*VARIABLES.values(), "PROMETHEUS_MULTIPROC_DIR"}  # of the site
    environment = {k: v for k, v in site.environment.items() if k not in own} | {**variables}
    command = partial(site_command, workers=WORKERS, threads=threads, application=application)
    log = site.stack.folder / f"{application.partition(':')[0]}.log"
    with _process(command, environment, log, site.root) as (url, pid):
        yield Site(url, site.stack, pid, environment, site.root)


@contextmanager
def _process(
    command: Callable[[int], list[str]], environment: Mapping[str, str], log: Path, root: Path
) -> Iterator[tuple[str, int]]:
    """Serve on a free port until the end; yield URL and pid once it is ready. Raises StackError."""
    port = free_port()
    process = _spawn(command(port), environment, log, root)
    try:
        url = f"http://127.0.0.1:{port}"
        await_ready(url, log)
        yield url, process.pid
    finally:
        _end(process)


def await_ready(url: str, log: Path) -> None:
    """Wait until a site is ready. Raises StackError."""
    if not wait_until(lambda: is_answering(url, "/health/ready"), 60):
        raise StackError(f"the site did not become ready (log: {log})")


def empty_folder(folder: Path) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return str(folder)


def _spawn(
    command: list[str], environment: Mapping[str, str], log_file: Path, root: Path
) -> subprocess.Popen[bytes]:
    with log_file.open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(DRAIN_SECONDS + 2)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its session: workers whose master is gone, too
    process.wait()
