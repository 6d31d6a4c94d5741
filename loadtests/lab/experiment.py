"""
The shape of an experiment: what is expected, what was measured, and what came of it.

An expectation, its threshold and what the project declares of it are fixed before the run, so
that no result can bend them. All of this is plain values: what a run found is written as JSON,
and every report is made from that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from config.charts import BarChart, LineChart

if TYPE_CHECKING:
    from loadtests.lab.lab import Lab

Seen = TypeVar("Seen")
Verdict = tuple[bool | None, str, Sequence[str]]  # holds, observed, evidence: see Experiment.judge


class Outcome(StrEnum):
    """What a run says of an expectation."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"  # too few samples, or a difference smaller than the noise


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One thing that should happen, and how one would know."""

    key: str  # unique in the experiment, such as keeps-working
    text: str  # a sentence
    line: int | None  # of the seed module; None: this project's own claim
    threshold: str  # what must be observed to confirm it, and what to refute it
    declared: Outcome  # what a full run must come to, else the exit status is 99
    declared_quick: Outcome | None = None  # the same for --quick, where that is another
    because: str = ""  # why it comes to that; required unless confirmed is declared

    def declared_for(self, *, quick: bool) -> Outcome:
        """Return what a run of this length must come to."""
        return self.declared_quick if quick and self.declared_quick else self.declared


@dataclass(frozen=True, kw_only=True)
class Series:
    """Raw values of one arm, in the order in which they were taken."""

    name: str  # unique in the experiment
    arm: str  # one of the experiment's arms, or "both"
    unit: str  # ms, queries, rows, s, share, ...
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """An expectation, what was observed, and the names of the series that show it."""

    expectation: Expectation
    observed: str  # with figures, their spread and n
    outcome: Outcome
    evidence: tuple[str, ...]

    def is_as_declared(self, *, quick: bool) -> bool:
        """Return whether it came out as the project declares it."""
        return self.outcome == self.expectation.declared_for(quick=quick)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Figures that are neither a row nor a chart, such as a plan, or a sweep in numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SteadyState:
    """How the site did before and after: it must be well at first, and again at the end."""

    when: str  # "before" or "after", and of which arm where there are several sites
    healthy: bool
    requests: int
    failures: int
    p50_ms: float
    told: str = ""  # what was not well


@dataclass(kw_only=True)
class Findings:
    """What a run found."""

    rows: list[Row] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    charts: list[LineChart | BarChart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # what this run showed besides
    quantities: dict[str, float] = field(default_factory=dict)  # single figures, name with unit


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A number that the reader may predict beforehand; quantity names it in the findings."""

    question: str
    unit: str
    quantity: str


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One question to the running system."""

    name: str
    title: str
    question: str
    lines: tuple[int, int]  # of the seed module
    procedure: Sequence[str]  # the steps, one sentence each
    control: str  # what the control arm is
    treatment: str  # what the treatment arm is
    expectations: Sequence[Expectation]
    lessons: Sequence[str]
    run: Callable[["Lab"], Findings]
    guesses: Sequence[Guess] = ()

    def expectation(self, key: str) -> Expectation:
        """Return the expectation of that key. Raises KeyError."""
        for one in self.expectations:
            if one.key == key:
                return one
        raise KeyError(key)

    def judge(self, key: str, holds: bool | None, observed: str, *, evidence: Sequence[str]) -> Row:
        """Return the row of an expectation; holds is None where it cannot be told."""
        outcome = {
            True: Outcome.CONFIRMED,
            False: Outcome.REFUTED,
            None: Outcome.INCONCLUSIVE,
        }[holds]
        return Row(
            expectation=self.expectation(key),
            observed=observed,
            outcome=outcome,
            evidence=tuple(evidence),
        )

    def judged(self, judges: Mapping[str, Callable[[Seen], Verdict]], seen: Seen) -> list[Row]:
        """Return the row of each expectation, by the judge of its key."""
        verdicts = ((key, judge(seen)) for key, judge in judges.items())
        return [
            self.judge(key, holds, observed, evidence=evidence)
            for key, (holds, observed, evidence) in verdicts
        ]
