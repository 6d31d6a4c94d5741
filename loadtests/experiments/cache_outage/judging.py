"""What the outages come to: rows, series, charts, a table and single figures."""

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from loadtests.experiments.cache_outage.drawing import charts
from loadtests.experiments.cache_outage.faults import (
    FAULTS,
    PROBING_SECONDS,
    WORKERS,
    Outage,
    Phase,
    Taken,
)
from loadtests.experiments.cache_outage.figures import (
    DOWN,
    first_read,
    hit_by_outage,
    latencies,
    latencies_of,
    levels,
    lookups_per_read,
    quantities,
    series,
    table,
    tells,
)
from loadtests.experiments.cache_outage.traffic import HEALTH, PAGE, READ, WRITE, states
from loadtests.generators.http_load import Sample
from loadtests.lab.experiment import Experiment, Findings, Row
from loadtests.stats import Ratio, percentile, ratio_of_medians, spread

_PAIRS: Final = 4  # the same for the two reads of a note after an outage
CACHE_DOWN: Final = "fwd=miss; detail=cache-down"
FEW_LOOKUPS: Final = 0.1  # for each read
MANY_LOOKUPS: Final = 0.5
_GROUP: Final = 10  # reads in turn, whose lower quartile is one value of a ratio


def judged(experiment: Experiment, taken: Taken) -> Findings:
    """Return what the faults show."""
    judge = _Judge(experiment, taken)
    return Findings(
        rows=[
            *judge.expected_behaviour(),
            *judge.measured(),
            *judge.recovered(),
            *judge.own_claims(),
        ],
        series=series(taken),
        charts=charts(taken),
        tables=[table(taken)],
        remarks=[
            f"Redis {FAULTS[one.fault]}: the first read afterwards took "
            f"{first_read(taken, one).latency_ms:.0f} ms, the median one "
            f"{statistics.median(latencies(taken, FAULTS[one.fault])):.1f} ms."
            for one in taken.outages
        ],
        quantities=quantities(taken),
    )


class _Judge:
    """The rows, each from the phases and outages that it is about."""

    def __init__(self, experiment: Experiment, taken: Taken) -> None:
        self._row = experiment.judge
        self._taken = taken
        self._up = taken.named("up")
        self._down = taken.named(*DOWN)

    def expected_behaviour(self) -> list[Row]:
        firsts = [first_read(self._taken, one) for one in self._taken.outages]
        asked = [_is_asked(one, self._down) for one in firsts]
        logged = [states(one.events)["open"] > 0 for one in self._taken.outages]
        ratio = slowdown(self._taken)
        health = [one for phase in self._down for one in phase.within(HEALTH)]
        before = [one for phase in self._up[:1] for one in phase.within(HEALTH)]
        told = [tells(one, "degraded", "down") for one in health]
        well = [tells(one, "ok", "ok") for one in before]
        return [
            self._row(
                "first-request",
                all(asked) and all(logged),
                f"answered from PostgreSQL {sum(asked)} of {len(asked)} times, logged "
                f"{sum(logged)} times",
                evidence=["first reads", "warnings"],
            ),
            self._row(
                "slower",
                ratio.is_above(1),
                f"{spread(latencies_of(self._down), 'ms')} without Redis, "
                f"{spread(latencies_of(self._up), 'ms')} with Redis: {ratio.text}",
                evidence=["read, up", "read, killed", "read, paused"],
            ),
            self._row(
                "goes-on",
                all(_answered(self._down, kind) == 1 for kind in (READ, PAGE, WRITE)),
                ", ".join(
                    f"{kind}s: {_answered(self._down, kind):.0%} of "
                    f"{sum(len(one.of(kind)) for one in self._down)}"
                    for kind in (READ, PAGE, WRITE)
                ),
                evidence=["statuses during outages"],
            ),
            self._row(
                "health-tells",
                bool(told) and bool(well) and all(told) and all(well),
                f"degraded, Redis down, in {sum(told)} of {len(told)} answers; "
                f"ok in {sum(well)} of {len(well)} before",
                evidence=["health during outages"],
            ),
        ]

    def measured(self) -> list[Row]:
        cached, uncached = zip(*self._taken.both_ways, strict=True)
        ratio = ratio_of_medians(undisturbed(uncached), undisturbed(cached))
        worse = [levels(one)["worse"] for one in self._taken.outages]
        warnings = [levels(one)["warning"] for one in self._taken.outages]
        statuses = [one.status for one in hit_by_outage(self._taken)]
        up, down = lookups_per_read(self._up), lookups_per_read(self._down)
        return [
            self._row(
                "uncached-slower",
                ratio.is_above(1),
                f"{spread(uncached, 'ms')} against {spread(cached, 'ms')}: {ratio.text}",
                evidence=["cached read, in turn", "uncached read, in turn"],
            ),
            self._row(
                "warnings",
                all(one > 0 for one in warnings) and not any(worse),
                f"{sum(warnings)} warnings, {sum(worse)} lines of a higher level, in "
                f"{len(warnings)} outages",
                evidence=["warnings", "errors"],
            ),
            self._row(
                "available",
                all(one == 200 for one in statuses),
                f"{statuses.count(200) / len(statuses):.2%} of {len(statuses)} requests",
                evidence=["statuses during outages"],
            ),
            self._row(
                "database-load",
                up <= FEW_LOOKUPS and down >= MANY_LOOKUPS,
                f"{up:.2f} look-ups for each read with Redis, {down:.2f} without",
                evidence=["look-ups, up", "look-ups, down"],
            ),
        ]

    def recovered(self) -> list[Row]:
        pairs = [pair for one in self._outages("kill") for pair in one.recovery]
        missed = [first.cache.startswith("fwd=uri-miss") for first, _ in pairs]
        hits = [second.cache.startswith("hit") for _, second in pairs]
        ratio = ratio_of_medians(
            undisturbed([first.latency_ms for first, _ in pairs], group=_PAIRS),
            undisturbed([second.latency_ms for _, second in pairs], group=_PAIRS),
        )
        faster = ratio.is_above(1)
        return [
            self._row(
                "first-miss",
                all(missed),
                f"{sum(missed)} of {len(missed)} first reads",
                evidence=["first read after a kill"],
            ),
            self._row(
                "second-hit",
                faster if all(hits) else False,
                f"{sum(hits)} of {len(hits)} second reads; the first took {ratio.text} its time",
                evidence=["first read after a kill", "second read after a kill"],
            ),
        ]

    def own_claims(self) -> list[Row]:
        counted = [states(one.events) for one in self._taken.outages]
        every = [*self._taken.outages, *self._taken.swept]
        kept = [first.cache for one in self._outages("pause") for first, _ in one.recovery]
        hits = sum(one.startswith("hit") for one in kept)
        return [
            self._row(
                "once-per-change",
                all(one["open"] == one["closed"] == WORKERS for one in counted),
                ", ".join(f"{one['open']} and {one['closed']} lines" for one in counted)
                + f" of {WORKERS} processes",
                evidence=["warnings"],
            ),
            self._row(
                "trusted-again",
                all(one.trusted_after_s <= one.bound_s + PROBING_SECONDS for one in every),
                "; ".join(
                    f"{one.fault} of {one.seconds:.1f} s: {one.trusted_after_s:.1f} s, at most "
                    f"{one.bound_s:.1f} s"
                    for one in every
                ),
                evidence=["until trusted again"],
            ),
            self._row(
                "paused-keeps",
                hits == len(kept),
                f"{hits} of {len(kept)} first reads were hits",
                evidence=["hits after a pause"],
            ),
        ]

    def _outages(self, fault: str) -> list[Outage]:
        return [one for one in self._taken.outages if one.fault == fault]


def slowdown(taken: Taken) -> Ratio:
    """Return how many times as long a read takes without Redis as in the phase just before."""
    phases = taken.phases
    pairs = [(up, down) for up, down in pairwise(phases) if down.name in DOWN]
    groups = [
        pair
        for up, down in pairs
        for pair in zip(
            undisturbed(latencies_of([up])), undisturbed(latencies_of([down])), strict=False
        )
    ]
    return ratio_of_medians([down for _, down in groups], [up for up, _ in groups])


def undisturbed(latencies: Sequence[float], *, group: int = _GROUP) -> list[float]:
    """
    Return the lower quartile of each so many latencies in turn.

    It is what they take while the machine does little else, which a busy one leaves comparable.
    """
    ends = range(group, len(latencies) + 1, group)
    return [percentile(latencies[end - group : end], 0.25) for end in ends]


def _is_asked(first: Sample, phases: Sequence[Phase]) -> bool:
    ids = [one.text for phase in phases for one in phase.lookups]
    return first.cache == CACHE_DOWN and any(f"'{first.call}'" in text for text in ids)


def _answered(phases: Sequence[Phase], kind: str) -> float:
    statuses = [sample.status for phase in phases for sample in phase.of(kind)]
    return statuses.count(200) / max(len(statuses), 1)
