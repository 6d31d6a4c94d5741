"""
Three real servers without Docker: PostgreSQL, Redis and MongoDB from Python wheels.

They run on loopback, on ports and with passwords that are made at the first start and kept,
with their data under .stack/NAME of the project. This package starts before Django and imports
nothing of it.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, ClassVar, Final

import psutil

from config import output_file
from config.stack import dotenv_file, process
from config.stack.mongodb import MongoDB
from config.stack.postgres import Postgres
from config.stack.process import StackError
from config.stack.redis import Redis
from config.stack.server import PortTaken, Server

ROOT: Final = Path(__file__).resolve().parents[2]
VARIABLES: Final = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "mongodb": "MONGODB_URI"}
_SERVERS: Final[dict[str, type[Server]]] = {
    "postgres": Postgres,
    "redis": Redis,
    "mongodb": MongoDB,
}
_PASSWORDS: Final = (
    "postgres",
    "postgres_superuser",
    "redis",
    "redis_operator",
    "mongodb",
    "mongodb_root",
)
_LOCK_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Status:
    """The state of one server."""

    server: str
    state: str  # running, silent (it runs and does not answer), paused, stopped or external
    version: str | None = None
    pid: int | None = None
    port: int | None = None
    origin: str | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Memory:
    """What is generated at the first start and kept."""

    ports: dict[str, int]
    passwords: dict[str, str]

    @property
    def topology(self) -> str:
        return "ha" if "balancer" in self.ports else "single"


def unknown() -> Memory:
    """Return a memory for what is to end alone: a server is recognised by its folder."""
    return Memory(defaultdict(int), defaultdict(str))


class Stack:
    """
    A named set of the three servers.

    A server whose URL the environment (or .env) names is external: it is used and never touched.
    A URL of the stack's own, as env prints it, makes no server external. With own_only none is
    external, whatever is named: for measurements and experiments, which break and overwrite.
    Every method raises StackError with one line that says what to do.
    """

    passwords: ClassVar[tuple[str, ...]] = _PASSWORDS
    topology: ClassVar[str] = "single"

    def __init__(self, name: str = "dev", root: Path = ROOT, *, own_only: bool = False) -> None:
        if not re.fullmatch("[a-z0-9][a-z0-9-]{0,31}", name):
            raise StackError(f"--name {name}: use 1 to 32 of a-z 0-9 -")
        self.name = name
        self.folder = root.resolve() / ".stack" / name
        dotenv_file.load(root / ".env")
        self._external: dict[str, str] = {}
        if own_only:
            return
        # Read once: a caller may export the URLs of this stack later, which does not make it external.
        own: dict[str, str] = {}
        with suppress(StackError):  # of a damaged stack.json, which only reset overlooks
            own = {server.name: server.url for server in self._own()}
        self._external = {
            server: os.environ[variable]
            for server, variable in VARIABLES.items()
            if os.environ.get(variable) not in (None, "", own.get(server))
        }

    def up(self, *, new_ports: bool = False) -> None:
        """Start the servers that do not run; do nothing if all run."""
        with self._locked():
            known = self._remembered()
            if new_ports and known:
                self._stop_all()
                self._remember(Memory(self._choose_ports(), known.passwords))
            self._start_all(attempts=1 if known else 3)

    def _start_all(self, *, attempts: int) -> None:
        """Start all. At the very first start, a port that is lost meanwhile is replaced."""
        try:
            self._each(lambda server: server.start())
        except PortTaken:
            if attempts == 1:
                raise
            self._stop_all()
            self._remember(Memory(self._choose_ports(), self._known().passwords))
            self._start_all(attempts=attempts - 1)

    def down(self) -> list[str]:
        """Stop what runs; return the servers that had to be killed because they did not end."""
        with self._locked():
            return self._stop_all()

    def reset(self) -> None:
        """Stop everything and delete the data, the passwords and the ports, readable or not."""
        with self._locked():
            for server in self._servers(unknown()):
                server.end()
            shutil.rmtree(self.folder)

    def start(self, server: str) -> None:
        with self._locked():
            self._one(server).start()

    def stop(self, server: str) -> None:
        with self._locked():
            self._one(server).stop()

    def stop_descendants(self) -> None:
        """Stop those servers that this process has started, or has adopted from one that it started."""
        if not process.descendants():  # where the folder cannot be written, nothing can be locked
            return
        with self._locked():
            started = process.descendants()
            self._stop(server for server in self._own() if server.process() in started)

    def own_processes(self) -> list[psutil.Process]:
        """Return the processes of the stack's own servers that run."""
        running = [server.process() for server in self._own()]
        return [server for server in running if server is not None]

    def kill(self, server: str) -> None:
        """SIGKILL the server and its children."""
        with self._locked():
            self._one(server).kill()

    def pause(self, server: str) -> None:
        """SIGSTOP the server and its children: it takes connections and answers nothing."""
        with self._locked():
            self._one(server).pause()

    def resume(self, server: str) -> None:
        """SIGCONT the server and its children."""
        with self._locked():
            self._one(server).resume()

    def urls(self) -> dict[str, str]:
        """Return DATABASE_URL, REDIS_URL and MONGODB_URI. The stack was up at least once."""
        return self._urls(lambda server: server.url)

    def operator_urls(self) -> dict[str, str]:
        """Return the same URLs with all privileges, for drills and tests; external ones unchanged."""
        return self._urls(lambda server: server.operator_url)

    def status(self) -> list[Status]:
        """Return the state of each server, external ones included."""
        external = [Status(name, "external") for name in self._external]
        return [_status(server) for server in self._made()] + external

    def _urls(self, url_of: Callable[[Server], str]) -> dict[str, str]:
        made = {server.name: server for server in self._made()}
        missing = [name for name in VARIABLES if name not in made and name not in self._external]
        if missing:
            raise StackError(f"the stack {self.name} was never started: python -m config.stack up")
        return {
            variable: url_of(made[name]) if name in made else self._external[name]
            for name, variable in VARIABLES.items()
        }

    def _one(self, name: str) -> Server:
        if name in self._external:
            raise StackError(f"{name} is external ({VARIABLES[name]} is set), so it is left alone")
        servers = {server.name: server for server in self._made() or self._make()}
        if name not in servers:
            raise StackError(f"there is no server {name}; there are {', '.join(servers)}")
        return servers[name]

    def _own(self) -> list[Server]:
        """Return the servers of a stack that was started before; none if it never was. Raises StackError."""
        known = self._remembered()
        if known is None:
            return []
        return self._servers(known)

    def _servers(self, known: Memory) -> list[Server]:
        """Return every server, in the order in which they start."""
        return [
            make(self.folder / name, known.ports[name], known.passwords)
            for name, make in _SERVERS.items()
        ]

    def _choose_ports(self) -> dict[str, int]:
        return {name: process.free_port() for name in _SERVERS}

    def _made(self) -> list[Server]:
        """Return the stack's own servers that no external one replaces."""
        return [server for server in self._own() if server.name not in self._external]

    def _make(self) -> list[Server]:
        if not self._remembered():
            passwords = {name: secrets.token_urlsafe(24) for name in self.passwords}
            self._remember(Memory(self._choose_ports(), passwords))
        return self._made()

    def _each(self, act: Callable[[Server], None]) -> None:
        servers = self._make()
        with ThreadPoolExecutor(3) as pool:
            outcomes = [pool.submit(act, server) for server in servers]
        for outcome in outcomes:
            outcome.result()

    def _stop_all(self) -> list[str]:
        # All that run from this folder: some may have been started before an external URL was set.
        return self._stop(self._own())

    def _stop(self, servers: Iterable[Server]) -> list[str]:
        """Stop these at once; return the names of those that had to be killed for it."""
        stopping = list(servers)
        with ThreadPoolExecutor(8) as pool:
            killed = list(pool.map(lambda server: server.stop(), stopping))
        return [server.name for server, hard in zip(stopping, killed, strict=True) if hard]

    @property
    def _memory(self) -> Path:
        return self.folder / "stack.json"

    def _remembered(self) -> Memory | None:
        if not self._memory.exists():
            return None
        try:
            known = Memory(**json.loads(self._memory.read_text()))
            topology = known.topology
        except (ValueError, TypeError, RecursionError) as exc:
            raise StackError(f"{self._memory} is damaged ({exc}): start over with: reset") from exc
        if topology != self.topology:
            raise StackError(
                f"{self._memory} is of topology {topology}, not {self.topology}: say --topology {topology}"
            )
        return known

    def _known(self) -> Memory:
        known = self._remembered()
        if known is None:
            raise StackError(f"{self._memory} is gone: start over with: reset")
        return known

    def _remember(self, memory: Memory) -> None:
        output_file.write(self._memory, json.dumps(asdict(memory), indent=1), mode=0o600)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one command at a time change the stack; the lock dies with its process."""
        try:
            # Passable, not readable: PostgreSQL may run as another user below.
            for folder in (self.folder.parent, self.folder, self.folder / "postgres"):
                folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            with (self.folder / "lock").open("w") as lock:
                self._take(lock)
                yield
        except OSError as exc:
            raise StackError(f"{exc.strerror}: {exc.filename or self.folder}") from exc

    def _take(self, lock: IO[str]) -> None:
        def acquired() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not process.wait_until(acquired, _LOCK_SECONDS):
            raise StackError(
                f"another command has held the stack {self.name} for {_LOCK_SECONDS:g} s"
            )


def _status(server: Server) -> Status:
    running = server.process()
    state = server.state()
    try:
        origin = server.binary().origin
    except StackError as exc:
        origin = str(exc)
    if running is None:
        return Status(server.name, state, port=server.port, origin=origin)
    shown, version = str(state), None
    if state == "running":
        try:
            version = server.version()
        except Exception:  # noqa: BLE001  # of any driver: it starts, ends, or is cut off
            shown = "silent"
    memory = process.memory_bytes(running)
    return Status(server.name, shown, version, running.pid, server.port, origin, memory)
