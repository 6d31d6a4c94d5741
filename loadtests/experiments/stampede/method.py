"""The method: bursts and even arrivals at a cold note, counted at PostgreSQL and at Redis."""

import random
import re
import secrets
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, product
from typing import Final

import psutil
import psycopg
import redis

from loadtests.generators.http_load import (
    Call,
    OpenLoop,
    Sample,
    connected,
    create_note,
    fetch,
    fixed_count,
    send_now,
    send_once,
)
from loadtests.lab.lab import Lab
from loadtests.testbed.sampling import sampled
from loadtests.testbed.site import INSTRUMENTED, Site
from loadtests.testbed.statement_log import Statement, StatementLog, statements_logged

WORKERS: Final = 4
REQUESTS: Final = 100
AT_ONCE: Final = 50
ARMS: Final = ("off", "process", "on")  # of single flight, as X-Single-Flight says
LOADS_MS: Final = (0, 5, 20, 50)  # what is added to a load
EVEN_LOADS_MS: Final = (0, 20, 50, 100, 200)
EVEN_PER_SECOND: Final = 100.0
ROUNDS: Final = 8
EVEN_ROUNDS: Final = 5
ALONE: Final = 15  # cold reads of one client
_TOKEN: Final = "stampede"  # noqa: S105  # of a site that lives for a minute, on loopback
_STAFF: Final = {"Authorization": f"Bearer {_TOKEN}"}
_SAMPLE_SECONDS: Final = 0.002
_ACTIVE: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
    " AND pid <> pg_backend_pid()"
)


@dataclass(frozen=True)
class Burst:
    """What one burst saw and did."""

    arm: str
    load_ms: int
    samples: list[Sample]
    lookups: int  # of the note in PostgreSQL
    busy_ms: float  # that PostgreSQL spent on statements of the burst
    peak: int  # backends at work for it at one time, as sampled
    writers: list[int]  # the process of each SET of the entry
    after: Sample  # the request after it
    statements_after: int  # that the request after it ran


@dataclass(frozen=True)
class EvenArrivals:
    """How often the note was looked up while requests for it arrived evenly."""

    arm: str
    load_ms: int
    requests: int
    lookups: int


@dataclass
class Observations:
    """All that was measured; load_ms is what is added to a load."""

    alone_ms: list[float] = field(default_factory=list)  # cold reads of one client
    bursts: list[Burst] = field(default_factory=list)
    even: list[EvenArrivals] = field(default_factory=list)

    @property
    def longest_ms(self) -> int:
        """The longest load of the bursts."""
        return max(burst.load_ms for burst in self.bursts)

    @property
    def longest_even_ms(self) -> int:
        """The longest load under even arrivals."""
        return max(even.load_ms for even in self.even)

    def bursts_of(self, arm: str, load_ms: int | None = None) -> list[Burst]:
        """Return the bursts of an arm, at one load or (None) at all."""
        return [
            burst for burst in self.bursts if burst.arm == arm and load_ms in (None, burst.load_ms)
        ]

    def longest(self, arm: str) -> list[Burst]:
        """Return the bursts of an arm whose load took longest."""
        return self.bursts_of(arm, self.longest_ms)

    def even_lookups(self, arm: str, load_ms: int) -> list[int]:
        """Return the look-ups under even arrivals."""
        return [even.lookups for even in self.even if (even.arm, even.load_ms) == (arm, load_ms)]

    def predicted_lookups(self, load_ms: int) -> float:
        """Return the look-ups without prevention: the first, and what arrives until it has stored."""
        return 1 + EVEN_PER_SECOND * (statistics.median(self.alone_ms) + load_ms) / 1000


def run(lab: Lab) -> Observations:
    """Run every arm at every load, again and again in an order drawn by the lab's seed."""
    loads = (0, LOADS_MS[-1]) if lab.quick else LOADS_MS
    even_loads = (0, 100) if lab.quick else EVEN_LOADS_MS
    rounds, even_rounds = (2, 2) if lab.quick else (ROUNDS, EVEN_ROUNDS)
    rng = random.Random(lab.seed)  # noqa: S311  # to be repeatable
    observations = Observations()
    with (
        lab.site(
            "both arms",
            notes=500,
            workers=WORKERS,
            application=INSTRUMENTED,
            variables={"ADMIN_TOKEN": _TOKEN},
        ) as site,
        statements_logged(site.stack) as log,
    ):
        cold = _ColdNote(site, log)
        cold.warm_up()
        lab.progress("one client, cold reads")
        observations.alone_ms = [cold.alone() for _ in range(ALONE)]
        for number in range(rounds):
            lab.progress(f"bursts, round {number + 1} of {rounds}")
            for arm, load_ms in _shuffled(rng, loads):
                observations.bursts.append(cold.burst(arm, load_ms))
        for number in range(even_rounds):
            lab.progress(f"even arrivals, round {number + 1} of {even_rounds}")
            for arm, load_ms in _shuffled(rng, even_loads):
                if arm != "process":
                    observations.even.append(cold.even(arm, load_ms))
    return observations


def _shuffled(rng: random.Random, loads: tuple[int, ...]) -> list[tuple[str, int]]:
    return rng.sample(list(product(ARMS, loads)), k=len(ARMS) * len(loads))


class _ColdNote:
    """One site, one note, and what the servers themselves log of the requests."""

    def __init__(self, site: Site, log: StatementLog) -> None:
        self._site = site
        self._log = log
        self._numbers = count()
        self._run = secrets.token_hex(4)  # the log has other runs, too
        note = create_note(site.url, "stampede", "Cold")
        self._path = f"/api/v1/notes/{note}"
        self._entry = f":notes:{note}"  # how the entry's name in Redis ends
        self._redis = redis.Redis.from_url(site.stack.operator_urls()["REDIS_URL"])

    def warm_up(self) -> None:
        """Let every process open the connections that a burst needs."""
        for _ in range(4):
            self.burst("off", LOADS_MS[-1])

    def alone(self) -> float:
        """Return the latency in ms of a cold read without other requests."""
        self._clear()
        with connected(self._site.url) as connection:
            connection.connect()
            return send_now(connection, self._call("off", 0, "")).latency_ms

    def burst(self, arm: str, load_ms: int) -> Burst:
        """Clear the cache, then send REQUESTS for the note, AT_ONCE at a time."""
        marker = self._marker()
        self._clear()
        call = self._call(arm, load_ms, f"{marker}-burst")
        with _sets_counted(self._redis, self._entry) as ports, self._peak(marker) as peak:
            samples = fixed_count(self._site.url, call, requests=REQUESTS, concurrency=AT_ONCE)
        statements = self._log.read(f"'{marker}-")
        after = send_once(self._site.url, self._call(arm, load_ms, f"{marker}-after"))
        processes = self._processes()
        return Burst(
            arm,
            load_ms,
            samples,
            _lookups(statements),
            sum(statement.duration_ms for statement in statements),
            max(peak, default=0),
            [processes.get(port, 0) for port in ports],
            after,
            len(self._log.read(f"'{marker}-after")),
        )

    def even(self, arm: str, load_ms: int) -> EvenArrivals:
        """Clear the cache, then send requests for the note at a fixed rate for one load's time."""
        marker = self._marker()
        loop = OpenLoop(self._site.url, per_second=EVEN_PER_SECOND)
        self._clear()
        calls = (self._call(arm, load_ms, f"{marker}-{number}") for number in count())
        loop.run(calls, seconds=load_ms / 1000 + 0.2)
        samples = loop.finish()
        return EvenArrivals(arm, load_ms, len(samples), _lookups(self._log.read(f"'{marker}-")))

    def _marker(self) -> str:
        return f"stampede-{self._run}-{next(self._numbers)}"

    def _call(self, arm: str, load_ms: int, request_id: str) -> Call:
        headers = {"X-Single-Flight": arm, "X-Request-ID": request_id or self._marker()}
        if load_ms:
            headers["X-Load-Ms"] = str(load_ms)
        return Call("", self._path, headers=headers)

    def _clear(self) -> None:
        fetch(self._site.url, Call("", "/api/v1/admin/cache/clear", "DELETE", _STAFF))
        self._site.wait_for_outbox()

    @contextmanager
    def _peak(self, marker: str) -> Iterator[list[int]]:
        """Sample how many backends run a statement of the burst."""
        url = self._site.stack.operator_urls()["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:

            def running() -> int:
                row = connection.execute(_ACTIVE, [f"%'{marker}-%"]).fetchone()
                return row[0] if row else 0

            with sampled(running, every_seconds=_SAMPLE_SECONDS) as peaks:
                yield peaks

    def _processes(self) -> Mapping[int, int]:
        """Return the site's process for each local port of its connections."""
        return {
            connection.laddr.port: worker.pid
            for worker in psutil.Process(self._site.pid).children()
            for connection in worker.net_connections("tcp4")
        }


@contextmanager
def _sets_counted(server: redis.Redis, entry: str) -> Iterator[list[int]]:
    """Yield a list that holds, afterwards, the client's port for each SET of the entry by a script."""
    ports: list[int] = []
    done = f"done-{secrets.token_hex(4)}"
    with server.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py's is untyped
        yield ports
        server.echo(done)
        port = 0
        while done not in (event := monitor.next_command())["command"]:
            if event["client_type"] == "lua":
                # Directly behind the version: the lease and the record of a miss have a word of their own there.
                if re.match(rf"SET \S*:v[^:]+{re.escape(entry)}(?= )", event["command"]):
                    ports.append(port)
            else:
                port = int(event["client_port"] or 0)


def _lookups(statements: list[Statement]) -> int:
    return sum(statement.reads_notes for statement in statements)
