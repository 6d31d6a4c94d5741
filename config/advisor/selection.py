"""Select the candidates that pay off: keep the best, then try the others again beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from config.advisor.workload import QueryStats
from config.explain.advice import WORTH_FACTOR
from config.explain.plan import Statement
from config.explain.report import InsertCost
from config.explain.timing import Measurement, measure, ms, times

# A candidate with fewer columns wins if it reads at most this many times as much as the best one:
# the remaining difference in time is mostly noise.
_AS_GOOD: Final = WORTH_FACTOR

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class ReplayQuery:
    """A recorded query to replay, once per set of values, and the tables that it reads."""

    stats: QueryStats
    statements: Sequence[Statement]
    tables: frozenset[str]


@dataclass(frozen=True)
class QueryCost:
    """
    What a statement costs: the mean over its sets of values.

    rows are those examined; fetched are blocks of PostgreSQL, or documents of MongoDB.
    """

    ms: float
    rows: float
    fetched: float

    @property
    def text(self) -> str:
        return f"{ms(self.ms)} and {self.rows:.0f} rows"


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a statement costs without an index and with it."""

    stats: QueryStats
    without: QueryCost
    with_it: QueryCost

    @property
    def factor(self) -> float:
        return self.without.ms / max(self.with_it.ms, 0.001)

    @property
    def is_plain(self) -> bool:
        """Whether it reads so much less that the time saved cannot be noise."""
        less_rows = self.without.rows >= WORTH_FACTOR * max(self.with_it.rows, 1)
        return less_rows or self.without.fetched >= WORTH_FACTOR * max(self.with_it.fetched, 1)

    @property
    def saved_ms(self) -> float:
        """The time saved over all recorded calls."""
        return self.stats.calls * (self.without.ms - self.with_it.ms)

    @property
    def text(self) -> str:
        return f"{self.without.text} without it, {self.with_it.text} with it ({times(self.factor)})"


@dataclass(frozen=True, kw_only=True)
class Trial(Generic[C]):
    """A candidate that was built: the gains, its size, and what prevented a measurement."""

    candidate: C
    gains: Sequence[Gain]
    keys: int
    size_bytes: int
    obstacle: str = ""

    @property
    def saved_ms(self) -> float:
        return sum(gain.saved_ms for gain in self.gains)


Baseline = dict[str, QueryCost]  # by fingerprint


def measure_query(query: ReplayQuery, runs: int) -> QueryCost:
    """Return what a statement costs, by the median of `runs` runs with each set of values."""
    measurements = [measure(measurement, runs=runs) for measurement in query.statements]
    return QueryCost(
        ms=sum(measurement.timing.median_ms for measurement in measurements) / len(measurements),
        rows=sum(measurement.plan.rows_examined for measurement in measurements)
        / len(measurements),
        fetched=sum(map(_fetched, measurements)) / len(measurements),
    )


def _fetched(measurement: Measurement) -> int:
    root = measurement.plan.root
    if root.blocks_hit is None or root.blocks_read is None:
        return measurement.plan.rows_fetched
    return root.blocks_hit + root.blocks_read


def select_candidates(
    candidates: Sequence[C],
    before: Baseline,
    *,
    attempt: Callable[[C, Baseline], Trial[C]],
    keep: Callable[[Trial[C]], object],
    worth_ms: float,
) -> tuple[list[Trial[C]], list[Trial[C]]]:
    """
    Return the trials that pay off, the best first, and those that do not.

    attempt builds a candidate, measures, and removes it; keep builds it for the rest of the
    trials. before is updated with the gains of what is kept.
    """
    chosen: list[Trial[C]] = []
    refused: list[Trial[C]] = []
    left = list(candidates)
    while left:
        tried = [attempt(trial, before) for trial in left]
        paying = [trial for trial in tried if pays_off(trial, worth_ms)]
        refused += [trial for trial in tried if not pays_off(trial, worth_ms)]
        if not paying:
            break
        best = _best(paying)
        keep(best)
        chosen.append(best)
        before.update({gain.stats.fingerprint: gain.with_it for gain in best.gains})
        left = [trial.candidate for trial in paying if trial is not best]
    return chosen, refused


def pays_off(trial: Trial[C], worth_ms: float) -> bool:
    """Whether some statement gains enough, and all statements together gain."""
    missed = any(
        gain.is_plain
        and gain.factor >= WORTH_FACTOR
        and gain.without.ms - gain.with_it.ms >= worth_ms
        for gain in trial.gains
    )
    return missed and trial.saved_ms > 0


def rejection_reason(trial: Trial[C]) -> str:
    """Return why a candidate is not proposed."""
    if trial.obstacle:
        return trial.obstacle
    if not trial.gains:
        return "no statement would use it"
    if trial.saved_ms <= 0:
        return f"the planner uses it to its disadvantage: in total it loses {ms(-trial.saved_ms)}"
    most = max(trial.gains, key=lambda gain: gain.factor)
    return f"it gains too little: {most.text} at best"


def write_cost_objection(trial: Trial[C], cost: InsertCost, writes: int) -> str | None:
    """Return why the recorded reads save less than the recorded writes cost; None if they save more."""
    paid_ms = writes * cost.row_ms
    if paid_ms < trial.saved_ms:
        return None
    return f"it saves {ms(trial.saved_ms)} of reads but costs {writes} writes {ms(paid_ms)}"


def describe_loss(gains: Sequence[Gain]) -> str:
    """Return as text how much queries would lose without an index."""
    if not gains:
        return "no recorded statement would use it"
    most = max(gains, key=lambda gain: gain.factor)
    return f"without it {most.stats.name} takes {times(most.factor)} as long, the largest loss"


def describe_threshold(worth_ms: float) -> str:
    """Return as text when an index is proposed."""
    return (
        f"An index is proposed if without it some statement takes {WORTH_FACTOR:g} times as long and "
        f"at least {worth_ms:g} ms longer, and reads {WORTH_FACTOR:g} times as much, and if it saves "
        "more time of reads than it costs the recorded writes."
    )


def _best(paying: Sequence[Trial[C]]) -> Trial[C]:
    best = max(paying, key=lambda trial: trial.saved_ms)
    as_good = [trial for trial in paying if _is_as_good(trial, best)]
    return min(as_good, key=lambda trial: (trial.keys, trial.size_bytes, -trial.saved_ms))


def _is_as_good(other: Trial[C], best: Trial[C]) -> bool:
    """Whether the statements that use the best candidate read hardly more with the other."""
    instead = {gain.stats.fingerprint: gain.with_it for gain in other.gains}
    left = [
        (instead.get(gain.stats.fingerprint, gain.without), gain.with_it) for gain in best.gains
    ]
    return all(
        took.rows <= _AS_GOOD * max(least.rows, 1)
        and took.fetched <= _AS_GOOD * max(least.fetched, 1)
        for took, least in left
    )
