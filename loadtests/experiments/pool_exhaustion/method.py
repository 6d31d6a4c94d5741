"""The method: each part on one site, with the pool of one size and another in turn."""

import random
import statistics
import threading
import time
from dataclasses import dataclass
from typing import Final

from loadtests.experiments.pool_exhaustion import pool_control, queueing
from loadtests.experiments.pool_exhaustion.pool_control import PoolReading
from loadtests.generators.http_load import (
    Call,
    Sample,
    closed_loop,
    connected,
    fetch,
    fixed_count,
    send_now,
)
from loadtests.lab.lab import Lab
from loadtests.stats import Ratio, percentile, ratio_of_medians
from loadtests.testbed.site import INSTRUMENTED, Site

CLIENTS: Final = 50
SMALL: Final = 5
LARGE: Final = 20
POOLS: Final = (SMALL, LARGE)
SITE_ACQUIRE_MS: Final = 2000  # POSTGRES_POOL_ACQUIRE_SECONDS as it is by default
LEAK_MS: Final = 1500
LEAK_ACQUIRE_MS: Final = 500
_NOTES: Final = 2_000
_THREADS: Final = 64  # one process, with room for all clients and for who reads the metrics
_HOLDS: Final = 25  # different ones around the mean
_LIST: Final = Call("list", "/api/v1/notes", headers={"Cache-Control": "no-store"})


@dataclass(frozen=True, kw_only=True)
class Scale:
    """
    How much of everything. hold_ms: of the sweep; pools: of the latency by pool size.

    acquire_ms: the timeout in the sweep and the overload, shorter than the site's, so that they
    take less long; all else there is in proportion to it.
    """

    requests: int
    rounds: int
    hold_ms: tuple[int, ...]
    acquire_ms: int
    seconds: float  # of each hold in each pool, after one acquire_ms for the queue to settle
    pools: tuple[int, ...]
    pool_seconds: float
    overload_ms: int  # held by each in the overload that is watched
    pool_hold_ms: int = 50


QUICK: Final = Scale(
    requests=150,
    rounds=4,
    hold_ms=(50, 260),
    acquire_ms=1000,  # with less, stalls of a busy machine of some 300 ms make requests fail
    seconds=1.0,
    pools=(5, 20),
    pool_seconds=0.8,
    overload_ms=300,
)
FULL: Final = Scale(
    requests=1000,
    rounds=3,
    hold_ms=(30, 55, 80, 110, 150, 220, 300, 450, 670, 900),
    acquire_ms=1000,
    seconds=3.0,
    pools=(2, 5, 10, 20, 50),
    pool_seconds=2.5,
    overload_ms=300,
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """The seed's load once."""

    pool: int
    samples: list[Sample]
    seconds: float
    readings: list[PoolReading]

    @property
    def per_second(self) -> float:
        return len(self.samples) / self.seconds

    @property
    def p50_ms(self) -> float:
        return percentile([sample.latency_ms for sample in self.samples], 0.5)


@dataclass(frozen=True, kw_only=True)
class HoldRun:
    """All clients, each holding its connection for hold_ms on average, once the queue has settled."""

    pool: int
    hold_ms: int
    samples: list[Sample]

    @property
    def failed(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.status != 200]

    @property
    def failure_ratio(self) -> float:
        return len(self.failed) / max(1, len(self.samples))


@dataclass(frozen=True, kw_only=True)
class PoolLatency:
    """Latencies of one pool size: of the seed's list, and of requests that hold a connection."""

    pool: int
    list_ms: list[float]
    hold_ms: list[float]


@dataclass(frozen=True, kw_only=True)
class Overload:
    """A pool too small for its load, watched."""

    readings: list[PoolReading]
    samples: list[Sample]
    after: list[Sample]  # one after the other, right behind it


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Uncached requests while every connection of the pool is held for long, and after that."""

    during: list[Sample]
    readings: list[PoolReading]
    after: list[Sample]


@dataclass(frozen=True, kw_only=True)
class FullServer:
    """A pool is enlarged on a server that has no connection left."""

    other_connections: int
    refused: int
    samples: list[Sample]
    reading: PoolReading  # at the end of it


@dataclass(frozen=True, kw_only=True)
class Observations:
    """All that a run has measured. acquire_ms: of the sweep. refused: before the server was full."""

    acquire_ms: int
    rounds: list[Round]
    holds: list[HoldRun]
    pools: list[PoolLatency]
    overload: Overload
    leak: Leak
    full: FullServer
    refused: int

    def of_pool(self, pool: int) -> list[Round]:
        """Return the rounds of the seed's load with a pool of this size."""
        return [turn for turn in self.rounds if turn.pool == pool]

    def swept(self, pool: int) -> list[HoldRun]:
        """Return the sweep of a pool of this size, the shortest hold first."""
        return [hold for hold in self.holds if hold.pool == pool]

    def latency_ratio(self) -> Ratio:
        """Return the seed's latency with the small pool against the large one."""
        small, large = ([turn.p50_ms for turn in self.of_pool(pool)] for pool in (SMALL, LARGE))
        return ratio_of_medians(small, large)

    def rate_ratio(self) -> Ratio:
        """Return the requests a second with the large pool against the small one."""
        large, small = ([turn.per_second for turn in self.of_pool(pool)] for pool in (LARGE, SMALL))
        return ratio_of_medians(large, small)

    def break_point_ms(self, pool: int) -> float:
        """Return from which hold on requests should fail, in the sweep."""
        return queueing.break_point_ms(clients=CLIENTS, pool=pool, acquire_ms=self.acquire_ms)

    def predicted(self, at: HoldRun) -> float:
        """Return which part of the requests should fail."""
        return queueing.failure_ratio(
            at.hold_ms, clients=CLIENTS, pool=at.pool, acquire_ms=self.acquire_ms
        )

    def utilization(self, pool: int) -> float:
        """Return which part of the pool was in use under the seed's load, by its metrics."""
        readings = [reading.active for turn in self.of_pool(pool) for reading in turn.readings]
        return statistics.mean(readings) / pool


def run(lab: Lab) -> Observations:
    """Carry out every part on one site."""
    scale = QUICK if lab.quick else FULL
    with lab.site(
        "both",
        notes=_NOTES,
        workers=1,
        threads=_THREADS,
        application=INSTRUMENTED,
        variables={
            "WEB_THREADS": str(_THREADS),
            "POSTGRES_POOL_MIN": str(SMALL),
            "POSTGRES_POOL_MAX": str(SMALL),
        },
    ) as site:
        before = pool_control.refusals(site)
        cached = _cached_note(site)
        rounds = _seed_rounds(lab, site, scale, cached)
        holds = _sweep(lab, site, scale)
        pools = _by_pool_size(lab, site, scale)
        overload = _overload(lab, site, scale, cached)
        leak = _leak(lab, site, cached)
        refused = pool_control.refusals(site) - before
        full = _full_server(lab, site, scale, cached)
    return Observations(
        acquire_ms=scale.acquire_ms,
        rounds=rounds,
        holds=holds,
        pools=pools,
        overload=overload,
        leak=leak,
        full=full,
        refused=refused,
    )


def _seed_rounds(lab: Lab, site: Site, scale: Scale, cached: str) -> list[Round]:
    """Send the seed's load with both pools in turn."""
    rounds = []
    fixed_count(site.url, _LIST, requests=CLIENTS * 2, concurrency=CLIENTS)  # to warm up
    for number in range(scale.rounds):
        for pool in POOLS if number % 2 == 0 else reversed(POOLS):
            lab.progress(f"{scale.requests} requests, {CLIENTS} at a time, pool of {pool}")
            pool_control.resize(site, pool, acquire_ms=SITE_ACQUIRE_MS)
            with pool_control.watched(site, cached) as readings:
                began = time.perf_counter()
                samples = fixed_count(site.url, _LIST, requests=scale.requests, concurrency=CLIENTS)
                seconds = time.perf_counter() - began
            rounds.append(Round(pool=pool, samples=samples, seconds=seconds, readings=readings))
    return rounds


def _sweep(lab: Lab, site: Site, scale: Scale) -> list[HoldRun]:
    """Hold the connections longer and longer, in both pools in turn."""
    runs = []
    for hold_ms in scale.hold_ms:
        for pool in POOLS:
            lab.progress(f"each request holds its connection for {hold_ms} ms, pool of {pool}")
            pool_control.resize(site, pool, acquire_ms=scale.acquire_ms)
            settles = scale.acquire_ms / 1000
            samples = _held(site, hold_ms, settles + scale.seconds)
            settled = [sample for sample in samples if sample.at >= settles]
            runs.append(HoldRun(pool=pool, hold_ms=hold_ms, samples=settled))
    return runs


def _by_pool_size(lab: Lab, site: Site, scale: Scale) -> list[PoolLatency]:
    """Measure latencies for each pool size, of the list and of requests that hold a connection."""
    latencies = []
    for pool in scale.pools:
        lab.progress(f"latency with a pool of {pool}")
        pool_control.resize(site, pool, acquire_ms=SITE_ACQUIRE_MS)
        held = _held(site, scale.pool_hold_ms, scale.pool_seconds)
        listed = closed_loop(site.url, _LIST, connections=CLIENTS, seconds=scale.pool_seconds)
        latencies.append(
            PoolLatency(pool=pool, list_ms=_latencies(listed), hold_ms=_latencies(held))
        )
    return latencies


def _overload(lab: Lab, site: Site, scale: Scale, cached: str) -> Overload:
    """Watch the small pool under holds that it has no room for, and the site right after them."""
    lab.progress("watching the pool under too long holds")
    pool_control.resize(site, SMALL, acquire_ms=scale.acquire_ms)
    with pool_control.watched(site, cached) as readings:
        quiet = threading.Event()
        quiet.wait(0.3)
        samples = _held(site, scale.overload_ms, scale.seconds + scale.acquire_ms / 1000)
        after = _one_by_one(site, _LIST, 10)
        quiet.wait(0.3)
    return Overload(readings=readings, samples=samples, after=after)


def _leak(lab: Lab, site: Site, cached: str) -> Leak:
    """Hold every connection of the small pool for long; request the list meanwhile."""
    lab.progress("every connection leaks for a while")
    pool_control.resize(site, SMALL, acquire_ms=LEAK_ACQUIRE_MS)
    hold = Call("leak", f"/hold/{LEAK_MS}")
    leaking = threading.Thread(
        target=lambda: fixed_count(site.url, hold, requests=SMALL, concurrency=SMALL)
    )
    with pool_control.watched(site, cached) as readings:
        leaking.start()
        threading.Event().wait(0.3)
        during = _one_by_one(site, _LIST, 2)  # each waits for LEAK_ACQUIRE_MS
        leaking.join()
        after = _one_by_one(site, _LIST, 10)
    return Leak(during=during, readings=readings, after=after)


def _full_server(lab: Lab, site: Site, scale: Scale, cached: str) -> FullServer:
    """Use up the server's connections, then enlarge the pool; it goes on with what it has."""
    lab.progress("others take every connection that PostgreSQL has left")
    pool_control.resize(site, SMALL, acquire_ms=SITE_ACQUIRE_MS)
    before = pool_control.refusals(site)
    with pool_control.full_server(site) as other_connections:
        pool_control.ask_resize(site, LARGE, SITE_ACQUIRE_MS)
        samples = _held(site, scale.pool_hold_ms, scale.pool_seconds)
        refused = (
            pool_control.refusals(site) - before - 1
        )  # without the connection that found it full
        reading = pool_control.read_pool(site, cached, time.perf_counter())
    return FullServer(
        other_connections=other_connections, refused=refused, samples=samples, reading=reading
    )


def _cached_note(site: Site) -> str:
    """Return the path of a note that is read once, so that it is cached."""
    path = f"/api/v1/notes/{fetch(site.url, '/api/v1/notes?limit=1')['results'][0]['id']}"
    fetch(site.url, path)
    return path


def _held(site: Site, hold_ms: int, seconds: float) -> list[Sample]:
    """Hold connections for 0.5 to 1.5 times hold_ms; equal holds would end in batches."""
    shares = [0.5 + number / (_HOLDS - 1) for number in range(_HOLDS)]
    random.Random(1).shuffle(shares)  # noqa: S311  # an order, no secret
    calls = [Call("hold", f"/hold/{round(hold_ms * share)}") for share in shares]
    return closed_loop(site.url, calls, connections=CLIENTS, seconds=seconds)


def _one_by_one(site: Site, call: Call, number: int) -> list[Sample]:
    with connected(site.url) as connection:
        return [send_now(connection, call) for _ in range(number)]


def _latencies(samples: list[Sample]) -> list[float]:
    return [sample.latency_ms for sample in samples if sample.status == 200]
