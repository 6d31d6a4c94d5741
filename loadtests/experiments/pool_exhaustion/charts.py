"""The raw values of a run as series, and what they show as charts and tables."""

import statistics
from collections.abc import Iterable, Iterator

from config.charts import Axis, Line, LineChart, Point
from loadtests.experiments.pool_exhaustion import queueing
from loadtests.experiments.pool_exhaustion.method import (
    CLIENTS,
    LARGE,
    POOLS,
    SITE_ACQUIRE_MS,
    SMALL,
    Observations,
    PoolLatency,
)
from loadtests.lab.builders import line, series
from loadtests.lab.experiment import Findings, Series, Table
from loadtests.stats import percentile

_CURVE_POINTS = 60


def present(observations: Observations) -> Findings:
    """Return all findings but the rows."""
    return Findings(
        series=list(_series(observations)),
        charts=[_failures(observations), _latencies(observations), _over_time(observations)],
        tables=[_sweep(observations), _sizes(observations)],
        remarks=_remarks(observations),
        quantities=_quantities(observations),
    )


def _series(observations: Observations) -> Iterator[Series]:
    """Yield every value that a row, a chart or a table is made of."""
    readings = observations.overload.readings
    yield from _of_pools(observations)
    for name, arm, unit, values in (
        (
            "seed's load, requests a second",
            "both",
            "1/s",
            [turn.per_second for turn in observations.rounds],
        ),
        (
            "50 ms held, p50 by pool",
            "both",
            "ms",
            [statistics.median(size.hold_ms) for size in observations.pools],
        ),
        (
            "list, p50 by pool",
            "both",
            "ms",
            [statistics.median(size.list_ms) for size in observations.pools],
        ),
        (
            "overload, failures",
            "treatment",
            "ms",
            [sample.latency_ms for sample in observations.overload.samples if sample.status != 200],
        ),
        ("overload, waiting", "treatment", "requests", [reading.waiting for reading in readings]),
        ("overload, active", "treatment", "connections", [reading.active for reading in readings]),
        (
            "overload, connections of the server",
            "treatment",
            "connections",
            [reading.server_connections for reading in readings],
        ),
        (
            "overload, exhausted so far",
            "treatment",
            "requests",
            [reading.exhausted for reading in readings],
        ),
        (
            "overload, right behind it",
            "treatment",
            "ms",
            [sample.latency_ms for sample in observations.overload.after],
        ),
        (
            "leak, during",
            "treatment",
            "ms",
            [sample.latency_ms for sample in observations.leak.during],
        ),
        (
            "server full",
            "treatment",
            "ms",
            [sample.latency_ms for sample in observations.full.samples],
        ),
    ):
        yield series(name, arm, unit, values)


def _of_pools(observations: Observations) -> Iterator[Series]:
    for pool in POOLS:
        arm = "treatment" if pool == SMALL else "control"
        latencies = [
            sample.latency_ms for turn in observations.of_pool(pool) for sample in turn.samples
        ]
        failing = [run.failure_ratio for run in observations.swept(pool)]
        for name, unit, values in (("seed's load", "ms", latencies), ("sweep", "share", failing)):
            yield series(f"{name}, pool of {pool}", arm, unit, values)


def _failures(observations: Observations) -> LineChart:
    longest = max(run.hold_ms for run in observations.holds)
    steps = [longest * number / _CURVE_POINTS for number in range(1, _CURVE_POINTS + 1)]
    lines = []
    for pool in POOLS:
        measured = [(run.hold_ms, run.failure_ratio) for run in observations.swept(pool)]
        predicted = [
            (
                hold_ms,
                queueing.failure_ratio(
                    hold_ms, clients=CLIENTS, pool=pool, acquire_ms=observations.acquire_ms
                ),
            )
            for hold_ms in steps
        ]
        lines.append(line(f"pool of {pool}, measured", measured))
        lines.append(line(f"pool of {pool}, predicted", predicted, predicted=True))
    return LineChart(
        title=f"A pool of {SMALL} fails {CLIENTS} clients from {observations.break_point_ms(SMALL):.0f} ms "
        f"held on (acquire timeout {observations.acquire_ms} ms)",
        x=Axis(label="time for which a request holds its connection (ms)"),
        y=Axis(label="share of requests that fail"),
        lines=tuple(lines),
    )


def _latencies(observations: Observations) -> LineChart:
    small = next(size for size in observations.pools if size.pool == SMALL)
    largest = observations.pools[-1]
    held = statistics.median(small.hold_ms) / statistics.median(largest.hold_ms)
    listed = statistics.median(small.list_ms) / statistics.median(largest.list_ms)
    return LineChart(
        title=f"A pool of {SMALL} instead of {largest.pool} makes held requests {held:.1f} times as "
        f"slow, the list {listed:.1f} times",
        x=Axis(label="connections in the pool"),
        y=Axis(label="latency, p50 with p5 and p95 (ms)", log=True),
        lines=(
            Line(name="50 ms held, measured", points=_points(observations.pools, "hold_ms")),
            line(
                "50 ms held, predicted (hold x clients / pool)",
                (
                    (size.pool, queueing.latency_ms(50, clients=CLIENTS, pool=size.pool))
                    for size in observations.pools
                ),
                predicted=True,
            ),
            Line(name="the list, measured", points=_points(observations.pools, "list_ms")),
        ),
    )


def _points(pools: Iterable[PoolLatency], name: str) -> tuple[Point, ...]:
    points = []
    for pool in pools:
        values: list[float] = getattr(pool, name)
        low, high = percentile(values, 0.05), percentile(values, 0.95)
        points.append(Point(x=pool.pool, y=statistics.median(values), low=low, high=high))
    return tuple(points)


def _over_time(observations: Observations) -> LineChart:
    readings = observations.overload.readings
    most = max(reading.waiting for reading in readings)
    return LineChart(
        title=f"Under {CLIENTS} clients {most} wait before a pool of {SMALL}, and none when they "
        "are gone",
        x=Axis(label="seconds"),
        y=Axis(label="connections and requests"),
        lines=tuple(
            line(
                name, ((reading.at, value) for reading, value in zip(readings, values, strict=True))
            )
            for name, values in (
                ("waiting requests", [reading.waiting for reading in readings]),
                ("active connections", [reading.active for reading in readings]),
                ("idle connections", [reading.idle for reading in readings]),
                ("connections of the server", [reading.server_connections for reading in readings]),
            )
        ),
    )


def _sweep(observations: Observations) -> Table:
    return Table(
        title=f"{CLIENTS} clients that ask again at once, acquire timeout {observations.acquire_ms} ms",
        columns=("pool", "held ms", "requests", "failed", "share", "predicted"),
        rows=tuple(
            (
                str(run.pool),
                str(run.hold_ms),
                str(len(run.samples)),
                str(len(run.failed)),
                f"{run.failure_ratio:.1%}",
                f"{observations.predicted(run):.1%}",
            )
            for pool in POOLS
            for run in observations.swept(pool)
        ),
        note="Predicted: 1 - break point / hold, the break point being timeout x pool / (clients - "
        "pool). Those who wait are clients - pool, and by Little's law timeout x all who get "
        "a turn or give up in a second; of those pool / hold get one. Each hold is half to one "
        "and a half of the one given, so that they do not end all at once.",
    )


def _sizes(observations: Observations) -> Table:
    return Table(
        title=f"Latency by the size of the pool, {CLIENTS} clients",
        columns=("pool", "50 ms held: p50 ms", "predicted", "p95 ms", "list: p50 ms", "p95 ms"),
        rows=tuple(
            (
                str(size.pool),
                f"{statistics.median(size.hold_ms):.0f}",
                f"{queueing.latency_ms(50, clients=CLIENTS, pool=size.pool):.0f}",
                f"{percentile(size.hold_ms, 0.95):.0f}",
                f"{statistics.median(size.list_ms):.0f}",
                f"{percentile(size.list_ms, 0.95):.0f}",
            )
            for size in observations.pools
        ),
    )


def _remarks(observations: Observations) -> list[str]:
    unscaled = queueing.break_point_ms(clients=CLIENTS, pool=SMALL, acquire_ms=SITE_ACQUIRE_MS)
    return [
        f"The sweep's acquire timeout is {observations.acquire_ms} ms, to be quick. The break point goes "
        f"in proportion to it: with the site's {SITE_ACQUIRE_MS} ms it is {unscaled:.0f} ms.",
        "The seed's formula (cores x 2 + disks) gives 5 for 2 cores: the very size that it calls "
        "very small. It is right for queries that compute; for connections that wait (locks, a "
        "slow network, a transaction around other work) the load decides: arrivals a second x hold.",
        f"A cached read takes no connection, and was answered in each of "
        f"{len(observations.overload.readings) + len(observations.leak.readings)} readings.",
    ]


def _quantities(observations: Observations) -> dict[str, float]:
    longest = observations.swept(SMALL)[-1]
    return {
        "seed_load_failures_percent": 100
        * sum(sample.status != 200 for r in observations.of_pool(SMALL) for sample in r.samples)
        / sum(len(r.samples) for r in observations.of_pool(SMALL)),
        "break_point_pool_5_with_2_s_ms": queueing.break_point_ms(
            clients=CLIENTS, pool=SMALL, acquire_ms=SITE_ACQUIRE_MS
        ),
        "longest_hold_failures_percent": 100 * longest.failure_ratio,
        "pool_utilization_of_5_percent": 100 * observations.utilization(SMALL),
        "pool_utilization_of_20_percent": 100 * observations.utilization(LARGE),
        "throughput_of_20_against_5_times": observations.rate_ratio().value,
        "latency_of_5_against_20_times": observations.latency_ratio().value,
    }
