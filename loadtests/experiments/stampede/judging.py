"""What the trials of a stampede come to: rows, series, charts and single figures."""

import statistics
from collections.abc import Callable, Sequence
from typing import Final

from loadtests.experiments.stampede.drawing import charts
from loadtests.experiments.stampede.trials import (
    AT_ONCE,
    EVEN_PER_SECOND,
    REQUESTS,
    WORKERS,
    Burst,
    Even,
    Taken,
)
from loadtests.lab.experiment import Experiment, Findings, Row, Series
from loadtests.stats import percentile, ratio_of_medians, spread

MANY: Final = 10  # look-ups, or writes, in a burst that are no accident
SPIKE: Final = 5  # backends at work at one time
HEAVIER: Final = 5.0  # times the work with prevention
WITHIN: Final = 2.0  # times the prediction, or a part of it
FEW_BURSTS: Final = 2


def judged(experiment: Experiment, taken: Taken) -> Findings:
    """Return what the trials show."""
    found = Findings(charts=charts(taken), quantities=_quantities(taken))
    found.series = _series(taken)
    judge = _Judge(experiment, taken)
    found.rows = [*judge.without(), *judge.with_prevention(), *judge.both(), *judge.own_claims()]
    return found


class _Judge:
    """The rows, each from the bursts that it is about."""

    def __init__(self, experiment: Experiment, taken: Taken) -> None:
        self._row = experiment.judge
        self._taken = taken
        self._longest = max(one.load_ms for one in taken.bursts)
        self._off = self._bursts("off")
        self._on = self._bursts("on")
        self._prevented = [one for one in taken.bursts if one.arm == "on"]

    def _bursts(self, arm: str) -> list[Burst]:
        """Return the bursts of an arm whose load took longest."""
        return _of(self._taken.bursts, arm, self._longest)

    def without(self) -> list[Row]:
        lookups = [one.lookups for one in self._off]
        busy = [one.busy_ms for one in self._off], [one.busy_ms for one in self._on]
        ratio = ratio_of_medians(*busy)
        processes = [len(set(one.writers)) for one in self._off]
        named = f"{self._longest} ms"
        return [
            self._row(
                "many-queries",
                _many(lookups),
                f"{spread(lookups)} look-ups of the note in a burst whose load takes {named} longer",
                evidence=_named("queries", "off", self._longest),
            ),
            self._row(
                "database-load",
                ratio.is_above(HEAVIER),
                f"{spread(busy[0], 'ms')} in statements against {spread(busy[1], 'ms')}: "
                + ratio.text,
                evidence=[
                    *_named("time in PostgreSQL", "off", self._longest),
                    *_named("time in PostgreSQL", "on", self._longest),
                ],
            ),
            self._row(
                "several-writers",
                all(one > 1 for one in processes),
                f"{spread(processes)} of {WORKERS} processes stored the entry",
                evidence=_named("writes", "off", self._longest),
            ),
        ]

    def with_prevention(self) -> list[Row]:
        lookups = [one.lookups for one in self._prevented]
        as_it_is = [one.lookups for one in _of(self._taken.bursts, "on", 0)]
        waited = [one for one in self._prevented if _waited(one)]
        shared = [one for one in self._prevented if _shared(one)]
        collapsed = sum(_ended(one, "collapsed") for one in self._prevented)
        number, evidence = len(self._prevented), self._every("queries", "on")
        return [
            self._row(
                "one-query",
                all(one == 1 for one in lookups),
                f"{spread(lookups)} look-ups in a burst, over all loads",
                evidence=evidence,
            ),
            self._row(
                "others-wait",
                len(waited) == number,
                f"so it was in {len(waited)} of {number} bursts of {REQUESTS} requests; "
                f"{collapsed} requests waited for another's load",
                evidence=self._every("latency", "on"),
            ),
            self._row(
                "all-share",
                len(shared) == number,
                f"so it was in {len(shared)} of {number} bursts, {number * REQUESTS} answers",
                evidence=evidence,
            ),
            self._row(
                "count-is-one",
                all(one == 1 for one in as_it_is),
                f"{spread(as_it_is)} look-ups in a burst",
                evidence=_named("queries", "on", 0),
            ),
        ]

    def both(self) -> list[Row]:
        peaks = [one.peak for one in self._off], [one.peak for one in self._on]
        writes = [len(one.writers) for one in self._off]
        writes_on = [len(one.writers) for one in self._prevented]
        bursts = [one for one in self._taken.bursts if one.arm != "process"]
        hits = sum(one.after.cache.startswith("hit") for one in bursts)
        quiet = sum(one.statements_after == 0 for one in bursts)
        return [
            self._row(
                "connections-spike",
                statistics.median(peaks[0]) >= SPIKE and max(peaks[1]) <= 1,
                f"{spread(peaks[0])} backends at work at one time, with prevention "
                f"{spread(peaks[1])}",
                evidence=[
                    *_named("backends at work", "off", self._longest),
                    *_named("backends at work", "on", self._longest),
                ],
            ),
            self._row(
                "writes",
                all(one == 1 for one in writes_on) and bool(_many(writes)),
                f"{spread(writes)} writes without, {spread(writes_on)} with prevention",
                evidence=[
                    *_named("writes", "off", self._longest),
                    *self._every("writes", "on"),
                ],
            ),
            self._row(
                "heals",
                hits == len(bursts),
                f"the next request was a hit after {hits} of {len(bursts)} bursts",
                evidence=self._every("statements of the next request", "off"),
            ),
            self._row(
                "database-normal",
                quiet == len(bursts),
                f"the next request ran no statement after {quiet} of {len(bursts)} bursts",
                evidence=self._every("statements of the next request", "off"),
            ),
        ]

    def own_claims(self) -> list[Row]:
        in_process = [one.lookups for one in self._bursts("process")]
        longest = max(one.load_ms for one in self._taken.even)
        measured = [one.lookups for one in _of_even(self._taken.even, "off", longest)]
        predicted = predicted_lookups(self._taken, longest)
        share = statistics.median(measured) / predicted
        return [
            self._row(
                "process-is-enough",
                all(one == 1 for one in in_process),
                f"{spread(in_process)} look-ups in a burst over {WORKERS} processes",
                evidence=_named("queries", "process", self._longest),
            ),
            self._row(
                "predicted",
                1 / WITHIN <= share <= WITHIN,
                f"{spread(measured)} look-ups at {EVEN_PER_SECOND:g} requests a second and "
                f"{longest} ms; predicted {predicted:.1f}",
                evidence=[f"queries, even arrivals, off, {longest} ms", "cold read of one client"],
            ),
        ]

    def _every(self, what: str, arm: str) -> list[str]:
        loads = sorted({one.load_ms for one in self._taken.bursts})
        return [name for load_ms in loads for name in _named(what, arm, load_ms)]


def predicted_lookups(taken: Taken, load_ms: int) -> float:
    """Return the look-ups without prevention: the first, and what arrives until it has stored."""
    window_seconds = (statistics.median(taken.alone_ms) + load_ms) / 1000
    return 1 + EVEN_PER_SECOND * window_seconds


def _many(counts: Sequence[int]) -> bool | None:
    if len(counts) < FEW_BURSTS:
        return None
    median = statistics.median(counts)
    return True if median >= MANY else False if median <= 1 else None


def _waited(burst: Burst) -> bool:
    loaded = [one for one in burst.samples if one.cache == "fwd=uri-miss; stored"]
    others = _ended(burst, "collapsed") + _ended(burst, "hit")
    first = min(one.at * 1000 + one.latency_ms for one in burst.samples)
    return len(loaded) == 1 and others == REQUESTS - 1 and first >= burst.load_ms


def _shared(burst: Burst) -> bool:
    answers = {(one.status, one.body) for one in burst.samples}
    return len(burst.samples) == REQUESTS and len(answers) == 1 and burst.samples[0].status == 200


def _ended(burst: Burst, word: str) -> int:
    return sum(word in one.cache for one in burst.samples)


def _of(bursts: Sequence[Burst], arm: str, load_ms: int) -> list[Burst]:
    return [one for one in bursts if (one.arm, one.load_ms) == (arm, load_ms)]


def _of_even(even: Sequence[Even], arm: str, load_ms: int) -> list[Even]:
    return [one for one in even if (one.arm, one.load_ms) == (arm, load_ms)]


_SERIES: Final[dict[str, tuple[str, Callable[[Burst], Sequence[float]]]]] = {
    "queries": ("queries", lambda one: [one.lookups]),
    "time in PostgreSQL": ("ms", lambda one: [one.busy_ms]),
    "backends at work": ("backends", lambda one: [one.peak]),
    "writes": ("writes", lambda one: [len(one.writers)]),
    "statements of the next request": ("statements", lambda one: [one.statements_after]),
    "latency": ("ms", lambda one: [round(sample.latency_ms, 3) for sample in one.samples]),
}


def _named(what: str, arm: str, load_ms: int) -> list[str]:
    return [f"{what}, {arm}, {load_ms} ms"]


def _series(taken: Taken) -> list[Series]:
    kinds = sorted({(one.arm, one.load_ms) for one in taken.bursts})
    found = [
        Series(
            name=_named(what, arm, load_ms)[0],
            arm=_side(arm),
            unit=unit,
            values=tuple(
                value for one in _of(taken.bursts, arm, load_ms) for value in taken_of(one)
            ),
        )
        for arm, load_ms in kinds
        for what, (unit, taken_of) in _SERIES.items()
    ]
    for arm, load_ms in sorted({(one.arm, one.load_ms) for one in taken.even}):
        lookups = tuple(one.lookups for one in _of_even(taken.even, arm, load_ms))
        name = f"queries, even arrivals, {arm}, {load_ms} ms"
        found.append(Series(name=name, arm=_side(arm), unit="queries", values=lookups))
    alone = tuple(round(one, 3) for one in taken.alone_ms)
    found.append(Series(name="cold read of one client", arm="control", unit="ms", values=alone))
    return found


def _side(arm: str) -> str:
    return "treatment" if arm == "on" else "control"


def _quantities(taken: Taken) -> dict[str, float]:
    longest = max(one.load_ms for one in taken.bursts)
    figures: dict[str, float] = {}
    for arm, told in (("off", "without"), ("process", "per_process"), ("on", "with")):
        bursts = _of(taken.bursts, arm, longest)
        latencies = [sample.latency_ms for one in bursts for sample in one.samples]
        figures[f"queries_{told}_single_flight"] = statistics.median(one.lookups for one in bursts)
        figures[f"latency_p50_{told}_single_flight_ms"] = round(statistics.median(latencies), 1)
        figures[f"latency_p99_{told}_single_flight_ms"] = round(percentile(latencies, 0.99), 1)
    figures["clients_at_once"] = AT_ONCE
    return figures
