"""Which candidates pay: tried one by one, the best kept, the others tried again beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from config.advisor.workload import Ran
from config.explain.advice import WORTH_FACTOR
from config.explain.plan import Statement
from config.explain.report import Cost
from config.explain.timing import Measurement, measure, ms, times

# Whoever reads so many times as much as the best one at most, with fewer columns, is better: what
# is left between them in time is mostly chance.
_AS_GOOD: Final = WORTH_FACTOR

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class Query:
    """What ran, with values, once for each set of them; and the tables that it reads."""

    ran: Ran
    statements: Sequence[Statement]
    tables: frozenset[str]


@dataclass(frozen=True)
class Took:
    """
    What a statement takes: the mean over its sets of values.

    rows are those that it touches; fetched are blocks of PostgreSQL, or documents of MongoDB.
    """

    ms: float
    rows: float
    fetched: float

    @property
    def text(self) -> str:
        return f"{ms(self.ms)} and {self.rows:.0f} rows"


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a statement takes without an index and with it."""

    ran: Ran
    without: Took
    with_it: Took

    @property
    def factor(self) -> float:
        return self.without.ms / max(self.with_it.ms, 0.001)

    @property
    def is_plain(self) -> bool:
        """Whether it reads so much less that the time saved cannot be chance."""
        less_rows = self.without.rows >= WORTH_FACTOR * max(self.with_it.rows, 1)
        return less_rows or self.without.fetched >= WORTH_FACTOR * max(self.with_it.fetched, 1)

    @property
    def saved_ms(self) -> float:
        """Over all calls that were counted."""
        return self.ran.calls * (self.without.ms - self.with_it.ms)

    @property
    def text(self) -> str:
        return f"{self.without.text} without it, {self.with_it.text} with it ({times(self.factor)})"


@dataclass(frozen=True, kw_only=True)
class Trial(Generic[C]):
    """A candidate that was made: what used it, its size, and why nothing can be said of it."""

    candidate: C
    gains: Sequence[Gain]
    keys: int
    size_bytes: int
    obstacle: str = ""

    @property
    def saved_ms(self) -> float:
        return sum(gain.saved_ms for gain in self.gains)


Before = dict[str, Took]  # by fingerprint


def took(query: Query, runs: int) -> Took:
    """Return what a statement takes; of so many runs with each set of values, the median."""
    found = [measure(one, runs=runs) for one in query.statements]
    return Took(
        ms=sum(one.timing.median_ms for one in found) / len(found),
        rows=sum(one.plan.rows_examined for one in found) / len(found),
        fetched=sum(map(_fetched, found)) / len(found),
    )


def _fetched(found: Measurement) -> int:
    root = found.plan.root
    if root.blocks_hit is None or root.blocks_read is None:
        return found.plan.rows_fetched
    return root.blocks_hit + root.blocks_read


def choose(
    candidates: Sequence[C],
    before: Before,
    *,
    attempt: Callable[[C, Before], Trial[C]],
    keep: Callable[[Trial[C]], object],
    worth_ms: float,
) -> tuple[list[Trial[C]], list[Trial[C]]]:
    """
    Return the trials that pay, the best first, and those that do not.

    attempt makes a candidate, measures, and takes it back; keep makes it for the rest of the
    trials. before is brought up to date with what is kept.
    """
    chosen: list[Trial[C]] = []
    refused: list[Trial[C]] = []
    left = list(candidates)
    while left:
        tried = [attempt(one, before) for one in left]
        paying = [one for one in tried if pays(one, worth_ms)]
        refused += [one for one in tried if not pays(one, worth_ms)]
        if not paying:
            break
        best = _best(paying)
        keep(best)
        chosen.append(best)
        before.update({gain.ran.fingerprint: gain.with_it for gain in best.gains})
        left = [one.candidate for one in paying if one is not best]
    return chosen, refused


def pays(trial: Trial[C], worth_ms: float) -> bool:
    """Whether a statement misses it, and all together win by it."""
    missed = any(
        gain.is_plain
        and gain.factor >= WORTH_FACTOR
        and gain.without.ms - gain.with_it.ms >= worth_ms
        for gain in trial.gains
    )
    return missed and trial.saved_ms > 0


def why_not(trial: Trial[C]) -> str:
    """Return why a candidate is not proposed."""
    if trial.obstacle:
        return trial.obstacle
    if not trial.gains:
        return "no statement would use it"
    if trial.saved_ms <= 0:
        return f"the planner uses it where it does harm: all in all it loses {ms(-trial.saved_ms)}"
    most = max(trial.gains, key=lambda gain: gain.factor)
    return f"it gains too little: {most.text} is the most"


def too_costly(trial: Trial[C], cost: Cost, writes: int) -> str | None:
    """Return why the reads that were seen do not pay for the writes that were; None where they do."""
    paid_ms = writes * cost.row_ms
    if paid_ms < trial.saved_ms:
        return None
    return f"it saves {ms(trial.saved_ms)} of reads and costs {writes} writes {ms(paid_ms)}"


def missed(gains: Sequence[Gain]) -> str:
    """Return in words how much an index would be missed."""
    if not gains:
        return "no statement that ran would use it"
    most = max(gains, key=lambda gain: gain.factor)
    return f"without it {most.ran.name} takes {times(most.factor)} as long, the most of all"


def threshold(worth_ms: float) -> str:
    """Return what is asked of an index, in words."""
    return (
        f"Proposed is an index without which some statement takes {WORTH_FACTOR:g} times as long, at "
        f"least {worth_ms:g} ms longer, and reads {WORTH_FACTOR:g} times as much, and which saves "
        "more than the writes that were seen pay for it."
    )


def _best(paying: Sequence[Trial[C]]) -> Trial[C]:
    best = max(paying, key=lambda one: one.saved_ms)
    as_good = [one for one in paying if _is_as_good(one, best)]
    return min(as_good, key=lambda one: (one.keys, one.size_bytes, -one.saved_ms))


def _is_as_good(other: Trial[C], best: Trial[C]) -> bool:
    """Whether the statements that use the best one would read hardly more with the other."""
    instead = {gain.ran.fingerprint: gain.with_it for gain in other.gains}
    left = [(instead.get(gain.ran.fingerprint, gain.without), gain.with_it) for gain in best.gains]
    return all(
        took.rows <= _AS_GOOD * max(least.rows, 1)
        and took.fetched <= _AS_GOOD * max(least.fetched, 1)
        for took, least in left
    )
