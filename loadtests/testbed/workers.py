"""A site whose worker processes can be told apart: each has a port, and its own way to Redis and PostgreSQL."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import redis

from config.stack import Stack
from config.stack.process import StackError
from loadtests.testbed.proxy import Proxies, running_proxies
from loadtests.testbed.servers import running_servers
from loadtests.testbed.site import INSTRUMENTED, Site, await_ready, empty_folder, starting_process

_THREADS: Final = 8


@dataclass(frozen=True)
class Worker:
    """One worker process, which its own server process starts again when it dies."""

    number: int
    url: str
    pid: int  # of the server process, whose child is the worker

    @property
    def redis(self) -> str:
        """The name of its proxy to Redis."""
        return f"redis-{self.number}"

    @property
    def postgres(self) -> str:
        """The name of its proxy to PostgreSQL."""
        return f"postgres-{self.number}"

    def process(self) -> psutil.Process:
        """Return the worker itself. Raises StackError while there is none."""
        children = psutil.Process(self.pid).children()
        workers = [child for child in children if "granian" in arguments_of(child)]
        if not workers:
            raise StackError(f"worker {self.number} has no process at the moment")
        return workers[-1]


def arguments_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process, an empty one if it is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@dataclass(frozen=True)
class Workers:
    """The workers, their proxies, and the servers behind these."""

    site: Site  # of the first worker
    workers: tuple[Worker, ...]
    proxies: Proxies = field(repr=False)

    @property
    def stack(self) -> Stack:
        """The servers."""
        return self.site.stack

    def redis(self) -> redis.Redis:
        """Return a client with every right, past the proxies."""
        return redis.Redis.from_url(
            self.stack.operator_urls()["REDIS_URL"], socket_timeout=2, decode_responses=True
        )

    def postgres(self) -> psycopg.Connection:
        """Return a connection with every right, past the proxies."""
        return psycopg.connect(self.stack.operator_urls()["DATABASE_URL"], autocommit=True)

    def owner_of(self, client_port: int) -> Worker | None:
        """Return the worker whose connection PostgreSQL knows by this port."""
        for worker in self.workers:
            if client_port in self.proxies.upstream_ports(worker.postgres):
                return worker
        return None


@contextmanager
def running_workers(
    name: str, count: int, *, notes: int = 100, variables: Mapping[str, str] | None = None
) -> Iterator[Workers]:
    """
    Start servers, proxies and that many workers; yield them; stop everything. Raises StackError.

    The workers are one site on one host: they share the spool, the folder of metrics and all settings but two URLs.
    """
    with running_servers(name) as servers, ExitStack() as resources:
        servers.prepare(notes)
        urls = {"redis": "REDIS_URL", "postgres": "DATABASE_URL"}
        targets = {
            f"{server}-{number}": _port(servers.environment[variable])
            for number in range(count)
            for server, variable in urls.items()
        }
        proxies = resources.enter_context(running_proxies(targets))
        folder = servers.stack.folder
        environment = {
            **servers.environment,
            **(variables or {}),
            "PROMETHEUS_MULTIPROC_DIR": empty_folder(folder / "metrics"),
        }
        workers = []
        for number in range(count):
            own = {
                variable: _at_port(environment[variable], proxies.ports[f"{server}-{number}"])
                for server, variable in urls.items()
            }
            log = folder / f"worker-{number}.log"
            url, pid = resources.enter_context(
                starting_process(environment | own, log, threads=_THREADS, application=INSTRUMENTED)
            )
            workers.append(Worker(number, url, pid))
        for worker in workers:
            await_ready(worker.url, folder / f"worker-{worker.number}.log")
        site = Site(workers[0].url, servers.stack, workers[0].pid, environment, servers.root)
        yield Workers(site, tuple(workers), proxies)


def _port(url: str) -> int:
    port = urlsplit(url).port
    if port is None:
        raise StackError("the URL of a server has no port")
    return port


def _at_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rsplit(':', 1)[0]}:{port}"))
