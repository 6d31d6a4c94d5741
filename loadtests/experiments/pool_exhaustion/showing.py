"""The raw values of a run as series, and what they show as charts and tables."""

import statistics
from collections.abc import Iterable, Iterator

from config.charts import Axis, Line, LineChart, Point
from loadtests.experiments.pool_exhaustion import queueing
from loadtests.experiments.pool_exhaustion.judging import Observed
from loadtests.experiments.pool_exhaustion.phases import CLIENTS, POOLS, SMALL, AtSize
from loadtests.lab.experiment import Series, Table
from loadtests.stats import percentile

_CURVE_POINTS = 60


def series(seen: Observed) -> Iterator[Series]:
    """Yield every value that a row, a chart or a table is made of."""
    ticks = seen.overload.ticks
    yield from _of_pools(seen)
    for name, arm, unit, values in (
        (
            "seed's load, requests a second",
            "both",
            "1/s",
            [one.per_second for one in seen.rounds],
        ),
        (
            "50 ms held, p50 by pool",
            "both",
            "ms",
            [statistics.median(one.hold_ms) for one in seen.pools],
        ),
        ("list, p50 by pool", "both", "ms", [statistics.median(one.list_ms) for one in seen.pools]),
        (
            "overload, failures",
            "treatment",
            "ms",
            [one.latency_ms for one in seen.overload.samples if one.status != 200],
        ),
        ("overload, waiting", "treatment", "requests", [one.waiting for one in ticks]),
        ("overload, active", "treatment", "connections", [one.active for one in ticks]),
        (
            "overload, connections of the server",
            "treatment",
            "connections",
            [one.server_connections for one in ticks],
        ),
        ("overload, exhausted so far", "treatment", "requests", [one.exhausted for one in ticks]),
        (
            "overload, right behind it",
            "treatment",
            "ms",
            [one.latency_ms for one in seen.overload.after],
        ),
        ("leak, during", "treatment", "ms", [one.latency_ms for one in seen.leak.during]),
        ("server full", "treatment", "ms", [one.latency_ms for one in seen.full.samples]),
    ):
        yield Series(name=name, arm=arm, unit=unit, values=tuple(map(float, values)))


def _of_pools(seen: Observed) -> Iterator[Series]:
    for pool in POOLS:
        arm = "treatment" if pool == SMALL else "control"
        latencies = [sample.latency_ms for one in seen.of_pool(pool) for sample in one.samples]
        failing = [one.failure_ratio for one in seen.swept(pool)]
        for name, unit, values in (("seed's load", "ms", latencies), ("sweep", "share", failing)):
            yield Series(name=f"{name}, pool of {pool}", arm=arm, unit=unit, values=tuple(values))


def charts(seen: Observed) -> list[LineChart]:
    """Return three charts: failures by hold, latency by pool size, and the pool over time."""
    return [_failures(seen), _latencies(seen), _over_time(seen)]


def _failures(seen: Observed) -> LineChart:
    longest = max(one.hold_ms for one in seen.holds)
    steps = [longest * number / _CURVE_POINTS for number in range(1, _CURVE_POINTS + 1)]
    lines = []
    for pool in POOLS:
        measured = tuple(Point(x=one.hold_ms, y=one.failure_ratio) for one in seen.swept(pool))
        predicted = tuple(
            Point(
                x=hold_ms,
                y=queueing.failure_ratio(
                    hold_ms, clients=CLIENTS, pool=pool, acquire_ms=seen.acquire_ms
                ),
            )
            for hold_ms in steps
        )
        lines.append(Line(name=f"pool of {pool}, measured", points=measured))
        lines.append(Line(name=f"pool of {pool}, predicted", points=predicted, predicted=True))
    return LineChart(
        title=f"A pool of {SMALL} fails {CLIENTS} clients from {seen.break_point_ms(SMALL):.0f} ms "
        f"held on (acquire timeout {seen.acquire_ms} ms)",
        x=Axis(label="time for which a request holds its connection (ms)"),
        y=Axis(label="share of requests that fail"),
        lines=tuple(lines),
    )


def _latencies(seen: Observed) -> LineChart:
    small = next(one for one in seen.pools if one.pool == SMALL)
    largest = seen.pools[-1]
    held = statistics.median(small.hold_ms) / statistics.median(largest.hold_ms)
    listed = statistics.median(small.list_ms) / statistics.median(largest.list_ms)
    return LineChart(
        title=f"A pool of {SMALL} instead of {largest.pool} makes held requests {held:.1f} times as "
        f"slow, the list {listed:.1f} times",
        x=Axis(label="connections in the pool"),
        y=Axis(label="latency, p50 with p5 and p95 (ms)", log=True),
        lines=(
            Line(name="50 ms held, measured", points=_points(seen.pools, "hold_ms")),
            Line(
                name="50 ms held, predicted (hold x clients / pool)",
                points=tuple(
                    Point(x=one.pool, y=queueing.latency_ms(50, clients=CLIENTS, pool=one.pool))
                    for one in seen.pools
                ),
                predicted=True,
            ),
            Line(name="the list, measured", points=_points(seen.pools, "list_ms")),
        ),
    )


def _points(pools: Iterable[AtSize], name: str) -> tuple[Point, ...]:
    found = []
    for one in pools:
        values: list[float] = getattr(one, name)
        low, high = percentile(values, 0.05), percentile(values, 0.95)
        found.append(Point(x=one.pool, y=statistics.median(values), low=low, high=high))
    return tuple(found)


def _over_time(seen: Observed) -> LineChart:
    ticks = seen.overload.ticks
    most = max(one.waiting for one in ticks)
    return LineChart(
        title=f"Under {CLIENTS} clients {most} wait before a pool of {SMALL}, and none when they "
        "are gone",
        x=Axis(label="seconds"),
        y=Axis(label="connections and requests"),
        lines=tuple(
            Line(name=name, points=tuple(Point(x=x, y=y) for x, y in points))
            for name, points in (
                ("waiting requests", [(one.at, one.waiting) for one in ticks]),
                ("active connections", [(one.at, one.active) for one in ticks]),
                ("idle connections", [(one.at, one.idle) for one in ticks]),
                ("connections of the server", [(one.at, one.server_connections) for one in ticks]),
            )
        ),
    )


def tables(seen: Observed) -> list[Table]:
    """Return the sweep and the pool sizes in numbers."""
    return [_sweep(seen), _sizes(seen)]


def _sweep(seen: Observed) -> Table:
    return Table(
        title=f"{CLIENTS} clients that ask again at once, acquire timeout {seen.acquire_ms} ms",
        columns=("pool", "held ms", "requests", "failed", "share", "predicted"),
        rows=tuple(
            (
                str(one.pool),
                str(one.hold_ms),
                str(len(one.samples)),
                str(len(one.failed)),
                f"{one.failure_ratio:.1%}",
                f"{seen.predicted(one):.1%}",
            )
            for pool in POOLS
            for one in seen.swept(pool)
        ),
        note="Predicted: 1 - break point / hold, the break point being timeout x pool / (clients - "
        "pool). Those who wait are clients - pool, and by Little's law timeout x all who get "
        "a turn or give up in a second; of those pool / hold get one. Each hold is half to one "
        "and a half of the one told, so that they do not end all at once.",
    )


def _sizes(seen: Observed) -> Table:
    return Table(
        title=f"Latency by the size of the pool, {CLIENTS} clients",
        columns=("pool", "50 ms held: p50 ms", "predicted", "p95 ms", "list: p50 ms", "p95 ms"),
        rows=tuple(
            (
                str(one.pool),
                f"{statistics.median(one.hold_ms):.0f}",
                f"{queueing.latency_ms(50, clients=CLIENTS, pool=one.pool):.0f}",
                f"{percentile(one.hold_ms, 0.95):.0f}",
                f"{statistics.median(one.list_ms):.0f}",
                f"{percentile(one.list_ms, 0.95):.0f}",
            )
            for one in seen.pools
        ),
    )
