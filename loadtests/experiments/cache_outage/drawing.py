"""The charts of an outage: latency over time, latency by state, and how soon Redis is trusted again."""

import statistics
from collections.abc import Sequence
from typing import Final

from config.charts import Axis, Bar, BarChart, Line, LineChart, Point, Span
from loadtests.experiments.cache_outage.faults import Outage, Taken, bound_s
from loadtests.experiments.cache_outage.traffic import READ
from loadtests.generators.http_load import Sample
from loadtests.stats import percentile

NAMED: Final = {
    "up": "Redis up",
    "killed": "Redis killed",
    "paused": "Redis hangs",
}
_BUCKET_SECONDS: Final = 0.5
_SPANS: Final = {"killed": "killed", "paused": "hangs", "mending": "not yet trusted"}


def charts(taken: Taken) -> list[LineChart | BarChart]:
    """Return the charts; of recovery only where outages of several lengths were made."""
    found: list[LineChart | BarChart] = [_over_time(taken), _by_state(taken)]
    if taken.swept:
        found.append(_recovery(taken.swept))
    return found


def _reads(taken: Taken, name: str) -> list[Sample]:
    return [one for phase in taken.named(name) for one in phase.of(READ)]


def _median_ms(samples: Sequence[Sample]) -> float:
    return statistics.median(one.latency_ms for one in samples)


def _over_time(taken: Taken) -> LineChart:
    reads = [one for phase in taken.phases for one in phase.of(READ)]
    failed = sum(one.status != 200 for phase in taken.phases for one in phase.samples)
    buckets: dict[int, list[Sample]] = {}
    for one in reads:
        buckets.setdefault(int(one.at / _BUCKET_SECONDS), []).append(one)
    middles = {place: (place + 0.5) * _BUCKET_SECONDS for place in sorted(buckets)}
    up, killed = _median_ms(_reads(taken, "up")), _median_ms(_reads(taken, "killed"))
    return LineChart(
        title=f"A read takes {up:.1f} ms with Redis and {killed:.1f} ms without, and "
        f"{failed or 'no'} request{'s' if failed > 1 else ''} failed",
        x=Axis(label="time (s)"),
        y=Axis(label="latency of reads (ms)", log=True),
        lines=(
            Line(
                name=f"median of {_BUCKET_SECONDS:g} s",
                points=tuple(
                    Point(x=at, y=_median_ms(buckets[place])) for place, at in middles.items()
                ),
            ),
            Line(
                name="slowest",
                points=tuple(
                    Point(x=at, y=max(one.latency_ms for one in buckets[place]))
                    for place, at in middles.items()
                ),
            ),
        ),
        spans=tuple(
            Span(name=_SPANS[one.name], start=one.start, end=one.end)
            for one in taken.phases
            if one.name in _SPANS
        ),
    )


def _by_state(taken: Taken) -> BarChart:
    bars = []
    for name, told in NAMED.items():
        latencies = [one.latency_ms for one in _reads(taken, name)]
        phases = taken.named(name)
        lookups = sum(len(one.lookups) for one in phases) / max(len(latencies), 1)
        bars.append(
            Bar(
                name=told,
                value=percentile(latencies, 0.5),
                low=percentile(latencies, 0.25),
                high=percentile(latencies, 0.75),
                told=f"{percentile(latencies, 0.5):.1f} ms, {lookups:.2f} look-ups in PostgreSQL "
                f"(n={len(latencies)})",
            )
        )
    down = [one for name in ("killed", "paused") for one in taken.named(name)]
    share = sum(len(one.lookups) for one in down) / max(sum(len(one.of(READ)) for one in down), 1)
    return BarChart(
        title=f"Without Redis each read is {share:.2f} look-ups in PostgreSQL, with it none"
        if not any(one.lookups for one in taken.named("up"))
        else f"Without Redis each read is {share:.2f} look-ups in PostgreSQL",
        axis=Axis(label="latency of a read, the middle half of them (ms)"),
        bars=tuple(bars),
    )


def _recovery(swept: Sequence[Outage]) -> LineChart:
    ordered = sorted(swept, key=lambda one: one.seconds)
    ends = (0.0, *(one.seconds for one in ordered))
    longest = ordered[-1]
    return LineChart(
        title=f"After {longest.seconds:.1f} s without Redis it is trusted again within "
        f"{longest.trusted_after_s:.1f} s, since probes wait longer and longer",
        x=Axis(label="outage (s)"),
        y=Axis(label="from Redis answering to its use by every process (s)"),
        lines=(
            Line(
                name="measured",
                points=tuple(Point(x=one.seconds, y=one.trusted_after_s) for one in ordered),
            ),
            Line(
                name="at most: twice the outage and 1 s",
                points=tuple(Point(x=one, y=bound_s(one, 0.0)) for one in ends),
                predicted=True,
            ),
        ),
    )
