"""What was measured in an outage, as series, a table and single figures."""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Final

from loadtests.experiments.cache_outage.faults import FAULTS, Outage, Phase, Taken
from loadtests.experiments.cache_outage.traffic import HEALTH, READ
from loadtests.generators.http_load import Sample
from loadtests.lab.experiment import Series, Table
from loadtests.stats import percentile

DOWN: Final = tuple(FAULTS.values())


def series(taken: Taken) -> list[Series]:
    """Return all raw values by name."""
    outages, every = taken.outages, [*taken.outages, *taken.swept]
    recovered = [pair for one in outages if one.fault == "kill" for pair in one.recovery]
    kept = [first for one in outages if one.fault == "pause" for first, _ in one.recovery]
    health = [one for phase in taken.named(*DOWN) for one in phase.within(HEALTH)]
    firsts = [first_read(taken, one).latency_ms for one in outages]
    cached, uncached = zip(*taken.both_ways, strict=True)
    down, up = "treatment", "control"
    return [
        *(
            _listed(f"read, {name}", up if name == "up" else down, "ms", latencies(taken, name))
            for name in ("up", *DOWN)
        ),
        _listed("first reads", down, "ms", firsts),
        _listed(
            "statuses during outages", down, "status", [one.status for one in hit_by_outage(taken)]
        ),
        _listed(
            "health during outages",
            down,
            "1: degraded",
            [tells(one, "degraded", "down") for one in health],
        ),
        _listed("warnings", down, "lines", [levels(one)["warning"] for one in outages]),
        _listed("errors", down, "lines", [levels(one)["worse"] for one in outages]),
        _listed("look-ups, up", up, "queries", [len(one.lookups) for one in taken.named("up")]),
        _listed(
            "look-ups, down", down, "queries", [len(one.lookups) for one in taken.named(*DOWN)]
        ),
        _listed("cached read, in turn", up, "ms", cached),
        _listed("uncached read, in turn", up, "ms", uncached),
        _listed("first read after a kill", down, "ms", [one.latency_ms for one, _ in recovered]),
        _listed("second read after a kill", down, "ms", [one.latency_ms for _, one in recovered]),
        _listed(
            "hits after a pause", down, "1: hit", [one.cache.startswith("hit") for one in kept]
        ),
        _listed("until trusted again", down, "s", [one.trusted_after_s for one in every]),
        _listed("outage", down, "s", [one.seconds for one in every]),
    ]


def table(taken: Taken) -> Table:
    """Return what each phase was like."""

    def row(phase: Phase) -> tuple[str, ...]:
        taken_ms = latencies_of([phase])
        return (
            phase.name,
            f"{phase.end - phase.start:.1f}",
            str(len(phase.samples)),
            str(sum(one.status != 200 for one in phase.samples)),
            f"{lookups_per_read([phase]):.2f}",
            *(f"{percentile(taken_ms, share):.1f}" for share in (0.5, 0.95, 1.0)),
        )

    return Table(
        title="Phase by phase",
        columns=(
            *("Redis", "s", "requests", "failed", "look-ups for each read"),
            *("read p50 (ms)", "p95 (ms)", "max (ms)"),
        ),
        rows=tuple(row(one) for one in taken.phases if one.of(READ)),
        note="mending: Redis answers again, and is trusted once a probe has found that out.",
    )


def quantities(taken: Taken) -> dict[str, float]:
    """Return the single figures, by name with unit."""
    statuses = [one.status for one in hit_by_outage(taken)]
    up = [one for phase in taken.named("up") for one in phase.of(READ)]
    hits = sum(one.cache.startswith("hit") for one in up)
    cached, uncached = (statistics.median(one) for one in zip(*taken.both_ways, strict=True))
    killed = next(one for one in taken.outages if one.fault == "kill")
    lookups = [one.duration_ms for phase in taken.named(*DOWN) for one in phase.lookups]
    return {
        "read_with_redis_p50_ms": round(statistics.median(latencies(taken, "up")), 2),
        "read_without_redis_p50_ms": round(statistics.median(latencies(taken, "killed")), 2),
        "cached_read_p50_ms": round(cached, 2),
        "uncached_read_p50_ms": round(uncached, 2),
        "response_time_improvement_percent": round(100 * (1 - cached / uncached), 1),
        "hit_rate_percent": round(100 * hits / max(len(up), 1), 1),
        "postgres_lookup_mean_ms": round(statistics.mean(lookups or [0.0]), 3),
        "availability_percent": round(100 * statuses.count(200) / len(statuses), 2),
        "lookups_per_read_without_redis": round(lookups_per_read(taken.named(*DOWN)), 2),
        "trusted_again_s": round(killed.trusted_after_s, 1),
    }


def lookups_per_read(phases: Sequence[Phase]) -> float:
    """Return the look-ups in PostgreSQL for each read of these phases."""
    reads = sum(len(one.of(READ)) for one in phases)
    return sum(len(one.lookups) for one in phases) / max(reads, 1)


def latencies(taken: Taken, name: str) -> list[float]:
    """Return the latencies of reads in the phases of that name, in ms."""
    return latencies_of(taken.named(name))


def latencies_of(phases: Sequence[Phase]) -> list[float]:
    """Return the latencies of reads in these phases, in ms."""
    return [sample.latency_ms for phase in phases for sample in phase.of(READ)]


def first_read(taken: Taken, outage: Outage) -> Sample:
    """Return the first read after the fault."""
    reads = [one for phase in taken.named(FAULTS[outage.fault]) for one in phase.of(READ)]
    return min(reads, key=lambda one: one.at)


def tells(sample: Sample, status: str, redis: str) -> bool:
    """Return whether /health was 200 and told of that status, and of that one of Redis."""
    if sample.status != 200:
        return False
    told = json.loads(sample.body)
    return bool(told["status"] == status and told["redis"]["status"] == redis)


def levels(outage: Outage) -> dict[str, int]:
    """Return how many lines were warnings, and how many were worse."""
    told = Counter(one.level for one in outage.events)
    worse = told.total() - told["debug"] - told["info"] - told["warning"]
    return {"warning": told["warning"], "worse": worse}


def hit_by_outage(taken: Taken) -> list[Sample]:
    """Return all requests from each fault until Redis was used again."""
    return [sample for one in taken.named(*DOWN, "mending") for sample in one.samples]


def _listed(name: str, arm: str, unit: str, values: Sequence[float]) -> Series:
    rounded = tuple(round(float(one), 3) for one in values)
    return Series(name=name, arm=arm, unit=unit, values=rounded)
