"""
The parts of an experiment: expectations, observations, verdicts.

An expectation is declared beside the function that tests it, with its threshold and the outcome
that the project expects of a full run. All of that is fixed before the run, so that no result can
influence it. A run returns plain values, which are written as JSON; every report is made from those.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from config.charts import BarChart, LineChart
from loadtests.lab.lab import Lab

Observations = TypeVar("Observations")


class Outcome(StrEnum):
    """What a run says of an expectation."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"  # too few samples, or a difference smaller than the noise


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Something that should happen, and how to tell whether it did."""

    key: str  # unique in the experiment, such as keeps-working; the name of its test
    text: str  # a sentence
    line: int | None  # of the seed module; None: this project's own claim
    threshold: str  # what must be observed to confirm it, and what to refute it
    declared: Outcome  # the outcome that a full run must have; otherwise the exit status is 99
    declared_quick: Outcome | None = None  # the same for --quick, if it differs
    because: str = ""  # the reason for that outcome; required unless it is confirmed
    invariant: bool = False  # one counterexample is a fault, so a run that finds it is not repeated
    timed: bool = False  # rests on times, which other load distorts: a quick run is not held to it

    def declared_for(self, *, quick: bool) -> Outcome:
        """Return the outcome that a run of this length must have."""
        return self.declared_quick if quick and self.declared_quick else self.declared


@dataclass(frozen=True, kw_only=True)
class Series:
    """Raw values of one arm, in the order of measurement."""

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


@dataclass(kw_only=True)
class Findings:
    """What a run has shown."""

    rows: list[Row] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    charts: list[LineChart | BarChart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # further results of this run
    quantities: dict[str, float] = field(default_factory=dict)  # single figures, name with unit


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A number that the reader may predict beforehand; quantity names it in the findings."""

    question: str
    unit: str
    quantity: str


class Verdict(NamedTuple):
    """What an expectation's test says of the observations."""

    holds: bool | None  # None: the observations do not show it
    observed: str  # with figures, their spread and n
    evidence: Sequence[str]  # names of the series that show it


class Expectations(Generic[Observations]):
    """
    The expectations of one experiment, in the order of declaration.

    Each is a function from the observations to a Verdict, decorated with what is declared of it.
    """

    def __init__(self) -> None:
        self._tests: dict[Expectation, Callable[[Observations], Verdict]] = {}

    def __iter__(self) -> Iterator[Expectation]:
        return iter(self._tests)

    def __len__(self) -> int:
        return len(self._tests)

    def declare(
        self,
        text: str,
        *,
        threshold: str,
        line: int | None = None,
        declared: Outcome = Outcome.CONFIRMED,
        declared_quick: Outcome | None = None,
        because: str = "",
        invariant: bool = False,
        timed: bool = False,
    ) -> Callable[[Callable[[Observations], Verdict]], Callable[[Observations], Verdict]]:
        """
        Return a decorator that adds a test; its function's name, with hyphens, is the key.

        Raises ValueError for a duplicate key.
        """

        def add(test: Callable[[Observations], Verdict]) -> Callable[[Observations], Verdict]:
            expectation = Expectation(
                key=test.__name__.replace("_", "-"),
                text=text,
                line=line,
                threshold=threshold,
                declared=declared,
                declared_quick=declared_quick,
                because=because,
                invariant=invariant,
                timed=timed,
            )
            if any(other.key == expectation.key for other in self._tests):
                raise ValueError(f"two expectations are called {expectation.key}")
            self._tests[expectation] = test
            return test

        return add

    def judge(self, observations: Observations) -> list[Row]:
        """Return the row of each expectation."""
        return [row(expectation, test(observations)) for expectation, test in self._tests.items()]


def row(expectation: Expectation, verdict: Verdict) -> Row:
    """Return an expectation with what was observed and the outcome."""
    outcomes = {True: Outcome.CONFIRMED, False: Outcome.REFUTED, None: Outcome.INCONCLUSIVE}
    return Row(
        expectation=expectation,
        observed=verdict.observed,
        outcome=outcomes[verdict.holds],
        evidence=tuple(verdict.evidence),
    )


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[Observations]):
    """One question, put to the running system."""

    name: str
    title: str
    question: str
    lines: tuple[int, int]  # of the seed module
    procedure: Sequence[str]  # the steps, one sentence each
    control: str  # what the control arm is
    treatment: str  # what the treatment arm is
    method: Callable[[Lab], Observations]
    expectations: Expectations[Observations]
    present: Callable[[Observations], Findings]  # all findings but the rows
    lessons: Sequence[str]
    guesses: Sequence[Guess] = ()

    def run(self, lab: Lab) -> Findings:
        """Carry out the method, and return what it shows."""
        return self.findings(self.method(lab))

    def findings(self, observations: Observations) -> Findings:
        """Return what the observations show."""
        return replace(self.present(observations), rows=self.expectations.judge(observations))
