"""What a stampede looks like: series, charts and single figures."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from config.charts import Axis, BarChart, LineChart
from loadtests.experiments.stampede.method import (
    AT_ONCE,
    EVEN_PER_SECOND,
    REQUESTS,
    WORKERS,
    Burst,
    Observations,
)
from loadtests.lab.builders import line, median_bar, median_line, series
from loadtests.lab.experiment import Findings, Series
from loadtests.stats import percentile

_ARMS: Final = {
    "off": "no single flight",
    "process": "within each process",
    "on": "over all processes",
}
_SHARES: Final = (*(number / 100 for number in range(1, 100, 2)), 1.0)
_VALUES: Final[Mapping[str, tuple[str, Callable[[Burst], Sequence[float]]]]] = {
    "queries": ("queries", lambda burst: [burst.lookups]),
    "time in PostgreSQL": ("ms", lambda burst: [burst.busy_ms]),
    "backends at work": ("backends", lambda burst: [burst.peak]),
    "writes": ("writes", lambda burst: [len(burst.writers)]),
    "statements of the next request": ("statements", lambda burst: [burst.statements_after]),
    "latency": ("ms", lambda burst: [sample.latency_ms for sample in burst.samples]),
}


def present(observations: Observations) -> Findings:
    """Return all findings but the rows."""
    return Findings(
        series=_series(observations),
        charts=[
            _queries_by_arm(observations),
            _queries_by_duration(observations),
            _latencies(observations),
        ],
        quantities=_quantities(observations),
    )


def series_name(kind: str, arm: str, load_ms: int) -> str:
    """Return the name of a series of bursts; kind is queries, latency, ..."""
    return f"{kind}, {arm}, {load_ms} ms"


def even_name(arm: str, load_ms: int) -> str:
    """Return the name of a series of even arrivals."""
    return f"queries, even arrivals, {arm}, {load_ms} ms"


def _series(observations: Observations) -> list[Series]:
    bursts = sorted({(burst.arm, burst.load_ms) for burst in observations.bursts})
    even = sorted({(even.arm, even.load_ms) for even in observations.even})
    return [
        *(
            series(
                series_name(kind, arm, load_ms),
                _side(arm),
                unit,
                [
                    value
                    for burst in observations.bursts_of(arm, load_ms)
                    for value in values_of(burst)
                ],
            )
            for arm, load_ms in bursts
            for kind, (unit, values_of) in _VALUES.items()
        ),
        *(
            series(
                even_name(arm, load_ms),
                _side(arm),
                "queries",
                observations.even_lookups(arm, load_ms),
            )
            for arm, load_ms in even
        ),
        series("cold read of one client", "control", "ms", observations.alone_ms),
    ]


def _side(arm: str) -> str:
    return "treatment" if arm == "on" else "control"


def _queries_by_arm(observations: Observations) -> BarChart:
    bars = {
        arm: median_bar(name, [burst.lookups for burst in observations.longest(arm)])
        for arm, name in _ARMS.items()
    }
    return BarChart(
        title=f"{REQUESTS} requests for one cold note, {AT_ONCE} at once, are "
        f"{bars['off'].value:g} queries without single flight and {bars['on'].value:g} with it",
        axis=Axis(
            label=f"look-ups in PostgreSQL in a burst ({WORKERS} processes, load "
            f"{observations.longest_ms} ms)"
        ),
        bars=tuple(bars.values()),
    )


def _queries_by_duration(observations: Observations) -> LineChart:
    loads = sorted({burst.load_ms for burst in observations.bursts})
    even_loads = sorted({even.load_ms for even in observations.even})
    even = {
        arm: {load_ms: observations.even_lookups(arm, load_ms) for load_ms in even_loads}
        for arm in ("off", "on")
    }
    bursts = {
        load_ms: [burst.lookups for burst in observations.bursts_of("off", load_ms)]
        for load_ms in loads
    }
    return LineChart(
        title="Without single flight the queries are those that arrive while the first one runs",
        x=Axis(label="what is added to the load (ms)"),
        y=Axis(label="look-ups in PostgreSQL", log=True),
        lines=(
            median_line(f"burst of {AT_ONCE}, none", bursts),
            line(
                f"burst of {AT_ONCE}, none: at most",
                ((load_ms, AT_ONCE) for load_ms in loads),
                predicted=True,
            ),
            median_line(f"{EVEN_PER_SECOND:g} a second, none", even["off"]),
            line(
                f"{EVEN_PER_SECOND:g} a second, none: predicted",
                ((load_ms, observations.predicted_lookups(load_ms)) for load_ms in even_loads),
                predicted=True,
            ),
            median_line("either, over all processes", even["on"]),
        ),
    )


def _latencies_ms(observations: Observations, arm: str) -> list[float]:
    return [sample.latency_ms for burst in observations.longest(arm) for sample in burst.samples]


def _latencies(observations: Observations) -> LineChart:
    latencies = {arm: _latencies_ms(observations, arm) for arm in _ARMS}
    late = {arm: percentile(values, 0.95) for arm, values in latencies.items()}
    return LineChart(
        title=f"95 of 100 answers are there after {late['off']:.0f} ms without single flight, after "
        f"{late['on']:.0f} ms with it",
        x=Axis(label="answered after (ms)", log=True),
        y=Axis(label=f"share of the requests (load {observations.longest_ms} ms)"),
        lines=tuple(
            line(name, ((percentile(latencies[arm], share), share) for share in _SHARES))
            for arm, name in _ARMS.items()
        ),
    )


def _quantities(observations: Observations) -> dict[str, float]:
    quantities: dict[str, float] = {}
    for arm, word in (("off", "without"), ("process", "per_process"), ("on", "with")):
        latencies = _latencies_ms(observations, arm)
        lookups = [burst.lookups for burst in observations.longest(arm)]
        quantities |= {
            f"queries_{word}_single_flight": statistics.median(lookups),
            f"latency_p50_{word}_single_flight_ms": round(statistics.median(latencies), 1),
            f"latency_p99_{word}_single_flight_ms": round(percentile(latencies, 0.99), 1),
        }
    return quantities | {"clients_at_once": AT_ONCE}
