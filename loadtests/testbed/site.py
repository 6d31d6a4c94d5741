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

from config.stack import ROOT, Stack
from config.stack.process import StackError, die_with_parent, free_port, wait_until
from config.stack.site import DRAIN_SECONDS, is_answering, site_command
from loadtests.testbed.servers import Servers, run_python, running_servers

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
    root: Path = ROOT  # of its code

    def manage(self, *command: str, variables: Mapping[str, str] | None = None) -> str:
        """Run manage.py against the site's servers; return what it printed. Raises StackError."""
        environment = {**self.environment, **(variables or {})}
        return run_python(["manage.py", *command], environment, self.root)


@contextmanager
def running_site(
    name: str = "loadtests",
    *,
    notes: int = NOTES,
    workers: int = WORKERS,
    threads: int = THREADS,
    application: str = "config.wsgi:application",
    variables: Mapping[str, str] | None = None,
    root: Path = ROOT,
) -> Iterator[Site]:
    """
    Start servers and a site on them; yield it; stop everything. Raises StackError.

    The site's code is that in root, run by this interpreter.
    """
    with (
        running_servers(name, root) as servers,
        serving(
            servers,
            notes=notes,
            workers=workers,
            threads=threads,
            application=application,
            variables=variables,
        ) as site,
    ):
        yield site


@contextmanager
def serving(
    servers: Servers,
    *,
    notes: int,
    workers: int,
    threads: int,
    application: str,
    variables: Mapping[str, str] | None,
) -> Iterator[Site]:
    """Start a site on servers that run; they are left running. Raises StackError."""
    servers.prepare(notes)
    folder = servers.stack.folder
    environment = {**servers.environment, **(variables or {})}
    environment["PROMETHEUS_MULTIPROC_DIR"] = _emptied(folder / "metrics")
    log = folder / "site.log"
    command = _serves(workers, threads, application)
    with _process(command, environment, log, servers.root) as (url, pid):
        yield Site(url, servers.stack, pid, environment, servers.root)


@contextmanager
def another_site(site: Site, *, variables: Mapping[str, str]) -> Iterator[str]:
    """
    Start a further process on the servers of a site, as they are, with other settings; yield its URL.

    It keeps its counts apart. Stopped at the end. Raises StackError.
    """
    folder = site.stack.folder
    counted = {"PROMETHEUS_MULTIPROC_DIR": _emptied(folder / "metrics-of-another")}
    environment = {**site.environment, **counted, **variables}
    log = folder / "another-site.log"
    command = _serves(1, THREADS, "config.wsgi:application")
    with _process(command, environment, log, site.root) as (url, _):
        yield url


def _serves(workers: int, threads: int, application: str) -> Callable[[int], list[str]]:
    """Return what makes the command line that serves on a port."""
    return partial(site_command, workers=workers, threads=threads, application=application)


@contextmanager
def _process(
    command: Callable[[int], list[str]], environment: Mapping[str, str], log: Path, root: Path
) -> Iterator[tuple[str, int]]:
    """Serve on a free port until the end; yield URL and pid once it is ready. Raises StackError."""
    port = free_port()
    process = _spawn(command(port), environment, log, root)
    try:
        url = f"http://127.0.0.1:{port}"
        if not wait_until(lambda: is_answering(url, "/health/ready"), 60):
            raise StackError(f"the site does not get ready (log: {log})")
        yield url, process.pid
    finally:
        _end(process)


def _emptied(folder: Path) -> str:
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
