"""What an outage looks like: series, charts, a table and single figures."""

import statistics
from collections.abc import Sequence
from typing import Final

from config.charts import Axis, Bar, BarChart, LineChart, Span
from loadtests.experiments.cache_outage.expectations import is_health
from loadtests.experiments.cache_outage.method import (
    DOWN,
    FAULTS,
    TRUSTED_SECONDS,
    Observations,
    Outage,
    Phase,
    latencies_ms,
    lookups_per_read,
)
from loadtests.experiments.cache_outage.traffic import HEALTH, READ
from loadtests.lab.builders import line, series
from loadtests.lab.experiment import Findings, Series, Table
from loadtests.stats import percentile

_STATES: Final = {
    "up": "Redis up",
    "killed": "Redis killed",
    "paused": "Redis hangs",
}
_BUCKET_SECONDS: Final = 0.5
_SPANS: Final = {"killed": "killed", "paused": "hangs", "mending": "not yet trusted"}


def present(observations: Observations) -> Findings:
    """Return all findings but the rows; the recovery chart only after outages of several lengths."""
    charts: list[LineChart | BarChart] = [_over_time(observations), _by_state(observations)]
    if observations.swept:
        charts.append(_recovery(observations.swept))
    return Findings(
        series=_series(observations),
        charts=charts,
        tables=[_table(observations)],
        remarks=[
            f"Redis {FAULTS[outage.fault]}: the first read afterwards took "
            f"{observations.first_read(outage).latency_ms:.0f} ms, the median one "
            f"{_median_ms(observations.named(FAULTS[outage.fault])):.1f} ms."
            for outage in observations.outages
        ],
        quantities=_quantities(observations),
    )


def _median_ms(phases: Sequence[Phase]) -> float:
    return statistics.median(latencies_ms(phases))


def _over_time(observations: Observations) -> LineChart:
    reads = [sample for phase in observations.phases for sample in phase.of(READ)]
    failed = sum(sample.status != 200 for phase in observations.phases for sample in phase.samples)
    buckets: dict[int, list[float]] = {}
    for read in reads:
        buckets.setdefault(int(read.at / _BUCKET_SECONDS), []).append(read.latency_ms)
    middles = {place: (place + 0.5) * _BUCKET_SECONDS for place in sorted(buckets)}
    up, killed = _median_ms(observations.named("up")), _median_ms(observations.named("killed"))
    return LineChart(
        title=f"A read takes {up:.1f} ms with Redis and {killed:.1f} ms without, and "
        f"{failed or 'no'} request{'s' if failed > 1 else ''} failed",
        x=Axis(label="time (s)"),
        y=Axis(label="latency of reads (ms)", log=True),
        lines=(
            line(
                f"median of {_BUCKET_SECONDS:g} s",
                ((at, statistics.median(buckets[place])) for place, at in middles.items()),
            ),
            line("slowest", ((at, max(buckets[place])) for place, at in middles.items())),
        ),
        spans=tuple(
            Span(name=_SPANS[phase.name], start=phase.start, end=phase.end)
            for phase in observations.phases
            if phase.name in _SPANS
        ),
    )


def _by_state(observations: Observations) -> BarChart:
    bars = []
    for name, label in _STATES.items():
        phases = observations.named(name)
        latencies = latencies_ms(phases)
        bars.append(
            Bar(
                name=label,
                value=percentile(latencies, 0.5),
                low=percentile(latencies, 0.25),
                high=percentile(latencies, 0.75),
                label=f"{percentile(latencies, 0.5):.1f} ms, {lookups_per_read(phases):.2f} look-ups in PostgreSQL "
                f"(n={len(latencies)})",
            )
        )
    share = lookups_per_read(observations.named(*DOWN))
    return BarChart(
        title=f"Without Redis each read is {share:.2f} look-ups in PostgreSQL, with it none"
        if not any(phase.lookups for phase in observations.named("up"))
        else f"Without Redis each read is {share:.2f} look-ups in PostgreSQL",
        axis=Axis(label="latency of a read, the middle half of them (ms)"),
        bars=tuple(bars),
    )


def _recovery(swept: Sequence[Outage]) -> LineChart:
    ordered = sorted(swept, key=lambda run: run.seconds)
    ends = (0.0, *(outage.seconds for outage in ordered))
    longest = ordered[-1]
    return LineChart(
        title=f"After {longest.seconds:.1f} s without Redis it is trusted again within "
        f"{longest.trusted_after_s:.1f} s",
        x=Axis(label="outage (s)"),
        y=Axis(label="from Redis answering to its use by every process (s)"),
        lines=(
            line("measured", ((outage.seconds, outage.trusted_after_s) for outage in ordered)),
            line(
                "at most",
                ((seconds, TRUSTED_SECONDS) for seconds in ends),
                predicted=True,
            ),
        ),
    )


def _series(observations: Observations) -> list[Series]:
    """Return all raw values by name."""
    outages, every = observations.outages, [*observations.outages, *observations.swept]
    recovered = observations.recovery("kill")
    after_pause = [first for first, _ in observations.recovery("pause")]
    health = [sample for phase in observations.named(*DOWN) for sample in phase.within(HEALTH)]
    firsts = [observations.first_read(outage).latency_ms for outage in outages]
    cached, uncached = zip(*observations.both_ways, strict=True)
    down, up = "treatment", "control"
    return [
        *(
            series(
                f"read, {name}",
                up if name == "up" else down,
                "ms",
                latencies_ms(observations.named(name)),
            )
            for name in ("up", *DOWN)
        ),
        series("first reads", down, "ms", firsts),
        series(
            "statuses during outages",
            down,
            "status",
            [sample.status for sample in observations.hit_by_outage()],
        ),
        series(
            "health during outages",
            down,
            "1: degraded",
            [is_health(sample, "degraded", "down") for sample in health],
        ),
        series("warnings", down, "lines", [outage.warnings for outage in outages]),
        series("errors", down, "lines", [outage.errors for outage in outages]),
        series(
            "look-ups, up",
            up,
            "queries",
            [len(phase.lookups) for phase in observations.named("up")],
        ),
        series(
            "look-ups, down",
            down,
            "queries",
            [len(phase.lookups) for phase in observations.named(*DOWN)],
        ),
        series("cached read, in turn", up, "ms", cached),
        series("uncached read, in turn", up, "ms", uncached),
        series(
            "first read after a kill", down, "ms", [sample.latency_ms for sample, _ in recovered]
        ),
        series(
            "second read after a kill", down, "ms", [sample.latency_ms for _, sample in recovered]
        ),
        series(
            "hits after a pause",
            down,
            "1: hit",
            [sample.cache.startswith("hit") for sample in after_pause],
        ),
        series(
            "hits after the lease",
            down,
            "1: hit",
            [read.cache.startswith("hit") for read in observations.late_reads()],
        ),
        series("until trusted again", down, "s", [outage.trusted_after_s for outage in every]),
        series("outage", down, "s", [outage.seconds for outage in every]),
    ]


def _table(observations: Observations) -> Table:
    """Return what each phase was like."""

    def row(phase: Phase) -> tuple[str, ...]:
        latencies = latencies_ms([phase])
        return (
            phase.name,
            f"{phase.end - phase.start:.1f}",
            str(len(phase.samples)),
            str(sum(sample.status != 200 for sample in phase.samples)),
            f"{lookups_per_read([phase]):.2f}",
            *(f"{percentile(latencies, share):.1f}" for share in (0.5, 0.95, 1.0)),
        )

    return Table(
        title="Phase by phase",
        columns=(
            *("Redis", "s", "requests", "failed", "look-ups for each read"),
            *("read p50 (ms)", "p95 (ms)", "max (ms)"),
        ),
        rows=tuple(row(phase) for phase in observations.phases if phase.of(READ)),
        note="mending: Redis answers again, and is trusted as soon as a probe has noticed.",
    )


def _quantities(observations: Observations) -> dict[str, float]:
    """Return the single figures, by name with unit."""
    statuses = [sample.status for sample in observations.hit_by_outage()]
    up = [sample for phase in observations.named("up") for sample in phase.of(READ)]
    hits = sum(sample.cache.startswith("hit") for sample in up)
    cached, uncached = (
        statistics.median(latencies) for latencies in zip(*observations.both_ways, strict=True)
    )
    killed = next(outage for outage in observations.outages if outage.fault == "kill")
    lookups = [
        lookup.duration_ms for phase in observations.named(*DOWN) for lookup in phase.lookups
    ]
    return {
        "read_with_redis_p50_ms": round(_median_ms(observations.named("up")), 2),
        "read_without_redis_p50_ms": round(_median_ms(observations.named("killed")), 2),
        "cached_read_p50_ms": round(cached, 2),
        "uncached_read_p50_ms": round(uncached, 2),
        "response_time_improvement_percent": round(100 * (1 - cached / uncached), 1),
        "hit_rate_percent": round(100 * hits / max(len(up), 1), 1),
        "postgres_lookup_mean_ms": round(statistics.mean(lookups or [0.0]), 3),
        "availability_percent": round(100 * statuses.count(200) / len(statuses), 2),
        "lookups_per_read_without_redis": round(lookups_per_read(observations.named(*DOWN)), 2),
        "trusted_again_s": round(killed.trusted_after_s, 1),
    }
