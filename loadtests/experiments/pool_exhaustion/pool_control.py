"""Resizing the pool, filling the server, and reading the pool's metrics meanwhile."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from config.stack.process import StackError, wait_until
from loadtests.generators.http_load import Call, fetch, send_once
from loadtests.testbed.sampling import sampled
from loadtests.testbed.site import Site

_REFUSALS: Final = ("sorry, too many clients", "too many connections", "connection slots are")
_EVERY_SECONDS: Final = 0.2
_SETTLED_SECONDS: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class PoolReading:
    """/api/v1/metrics/db at one moment, in seconds since the start, and the status of a cached read."""

    at: float
    active: int
    idle: int
    waiting: int
    server_connections: int  # of all clients; -1: the server did not tell
    exhausted: int  # requests that got no connection in time, so far
    breaker_open: bool
    cached_read: int  # its status


def resize(site: Site, size: int, *, acquire_ms: int) -> None:
    """Resize the pool; wait until all its connections are open and free. Raises StackError."""
    if not wait_until(
        lambda: _is_sized(ask_resize(site, size, acquire_ms), size), _SETTLED_SECONDS
    ):
        raise StackError(f"the pool does not get {size} connections")


def ask_resize(site: Site, size: int, acquire_ms: int) -> dict[str, int]:
    """Request a size and a timeout; return the pool's statistics at that moment."""
    statistics: dict[str, int] = fetch(site.url, f"/pool/{size}/{acquire_ms}")
    return statistics


def _is_sized(counts: dict[str, int], size: int) -> bool:
    return counts["pool_size"] == counts["pool_available"] == size


def watched(site: Site, cached_path: str) -> AbstractContextManager[list[PoolReading]]:
    """Return a context that yields a list of readings, to which one is added every 0.2 s."""
    zero = time.perf_counter()
    return sampled(lambda: read_pool(site, cached_path, zero), every_seconds=_EVERY_SECONDS)


def read_pool(site: Site, cached_path: str, zero: float) -> PoolReading:
    """Return one reading. Raises UnexpectedResponse if the site does not report."""
    cached = send_once(site.url, Call("cached", cached_path))
    metrics = fetch(site.url, "/api/v1/metrics/db")["postgres"]
    return PoolReading(
        at=time.perf_counter() - zero,
        active=metrics["active_connections"],
        idle=metrics["idle_connections"],
        waiting=metrics["waiting_requests"],
        server_connections=(metrics["server"] or {"connections": -1})["connections"],
        exhausted=metrics["errors"].get("PoolExhausted", 0),
        breaker_open=metrics["breaker_open"],
        cached_read=cached.status,
    )


@contextmanager
def full_server(site: Site) -> Iterator[int]:
    """Open every connection that PostgreSQL has left, for the block; yield their number."""
    with ExitStack() as held:
        number = 0
        while True:
            try:
                connection = psycopg.connect(site.stack.urls()["DATABASE_URL"], connect_timeout=5)
            except psycopg.OperationalError:
                break
            held.callback(connection.close)
            number += 1
        yield number


def refusals(site: Site) -> int:
    """Return how many connections PostgreSQL has refused for lack of room, by its log."""
    log = Path(site.stack.folder) / "postgres" / "server.log"
    lines = log.read_text(errors="replace").splitlines()
    return sum("FATAL" in line and any(sign in line for sign in _REFUSALS) for line in lines)
