"""The charts of a stampede: queries by arm, queries over the load's duration, and latencies."""

import statistics
from collections.abc import Sequence
from typing import Final

from config.charts import Axis, Bar, BarChart, Line, LineChart, Point
from loadtests.experiments.stampede.trials import (
    AT_ONCE,
    EVEN_PER_SECOND,
    REQUESTS,
    WORKERS,
    Taken,
)
from loadtests.stats import percentile

NAMED: Final = {
    "off": "no single flight",
    "process": "within each process",
    "on": "over all processes",
}
_SHARES: Final = (*(number / 100 for number in range(1, 100, 2)), 1.0)


def charts(taken: Taken) -> list[LineChart | BarChart]:
    """Return all three."""
    return [_queries_by_arm(taken), _queries_by_duration(taken), _latencies(taken)]


def _lookups(taken: Taken, arm: str, load_ms: int) -> list[int]:
    return [one.lookups for one in taken.bursts if (one.arm, one.load_ms) == (arm, load_ms)]


def _queries_by_arm(taken: Taken) -> BarChart:
    longest = max(one.load_ms for one in taken.bursts)
    counts = {arm: _lookups(taken, arm, longest) for arm in NAMED}
    middle = {arm: statistics.median(values) for arm, values in counts.items()}
    return BarChart(
        title=f"{REQUESTS} requests for one cold note, {AT_ONCE} at once, are {middle['off']:g} "
        f"queries without single flight and {middle['on']:g} with it",
        axis=Axis(
            label=f"look-ups in PostgreSQL in a burst ({WORKERS} processes, load {longest} ms)"
        ),
        bars=tuple(
            Bar(
                name=NAMED[arm],
                value=middle[arm],
                low=min(values),
                high=max(values),
                told=f"{middle[arm]:g} ({min(values)} to {max(values)}, n={len(values)})",
            )
            for arm, values in counts.items()
        ),
    )


def _queries_by_duration(taken: Taken) -> LineChart:
    loads = sorted({one.load_ms for one in taken.bursts})
    even = sorted({one.load_ms for one in taken.even})
    counts = {
        arm: [
            [one.lookups for one in taken.even if (one.arm, one.load_ms) == (arm, load_ms)]
            for load_ms in even
        ]
        for arm in ("off", "on")
    }
    alone = statistics.median(taken.alone_ms)
    return LineChart(
        title="Without single flight the queries are those that arrive while the first one runs",
        x=Axis(label="what is added to the load (ms)"),
        y=Axis(label="look-ups in PostgreSQL", log=True),
        lines=(
            _line(
                f"burst of {AT_ONCE}, none", loads, [_lookups(taken, "off", one) for one in loads]
            ),
            Line(
                name=f"burst of {AT_ONCE}, none: at most",
                points=tuple(Point(x=one, y=AT_ONCE) for one in loads),
                predicted=True,
            ),
            _line(f"{EVEN_PER_SECOND:g} a second, none", even, counts["off"]),
            Line(
                name=f"{EVEN_PER_SECOND:g} a second, none: predicted",
                points=tuple(
                    Point(x=one, y=1 + EVEN_PER_SECOND * (alone + one) / 1000) for one in even
                ),
                predicted=True,
            ),
            _line("either, over all processes", even, counts["on"]),
        ),
    )


def _line(name: str, loads: Sequence[int], counts: Sequence[Sequence[int]]) -> Line:
    points = tuple(
        Point(x=load_ms, y=statistics.median(values), low=min(values), high=max(values))
        for load_ms, values in zip(loads, counts, strict=True)
    )
    return Line(name=name, points=points)


def _latencies(taken: Taken) -> LineChart:
    longest = max(one.load_ms for one in taken.bursts)
    taken_ms = {
        arm: [
            sample.latency_ms
            for one in taken.bursts
            if (one.arm, one.load_ms) == (arm, longest)
            for sample in one.samples
        ]
        for arm in NAMED
    }
    late = {arm: percentile(values, 0.95) for arm, values in taken_ms.items()}
    return LineChart(
        title=f"95 of 100 answers are there after {late['off']:.0f} ms without single flight, after "
        f"{late['on']:.0f} ms with it",
        x=Axis(label="answered after (ms)", log=True),
        y=Axis(label=f"share of the requests (load {longest} ms)"),
        lines=tuple(
            Line(
                name=NAMED[arm],
                points=tuple(Point(x=percentile(values, one), y=one) for one in _SHARES),
            )
            for arm, values in taken_ms.items()
        ),
    )
