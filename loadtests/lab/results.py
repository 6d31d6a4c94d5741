"""The result of an experiment: one JSON file, from which every report is made."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from config import output_file
from config.charts import Chart
from loadtests.lab.experiment import (
    Expectation,
    Experiment,
    Findings,
    Guess,
    Outcome,
    Row,
    Series,
    Table,
)
from loadtests.lab.lab import SteadyState
from loadtests.testbed.environment import Environment

SCHEMA: Final = 2


class Incomplete(Exception):
    """A run whose site was not healthy, or whose rows have no evidence."""


class UnreadableResult(Exception):
    """A file of results that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What an experiment declares before it runs."""

    name: str
    title: str
    question: str
    lines: tuple[int, int]
    procedure: tuple[str, ...]
    control: str
    treatment: str
    expectations: tuple[Expectation, ...]
    lessons: tuple[str, ...]
    guesses: tuple[Guess, ...]


@dataclass(frozen=True, kw_only=True)
class GuessResult:
    """What the reader predicted for a quantity, and what was observed."""

    guess: Guess
    predicted: float
    observed: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run of one experiment: what was declared, what was observed, where and when."""

    schema: int = SCHEMA
    experiment: Declaration
    quick: bool
    seed: int
    command: str
    started_at: dt.datetime
    ended_at: dt.datetime
    environment: Environment
    rows: tuple[Row, ...]
    series: tuple[Series, ...]
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...]
    remarks: tuple[str, ...]
    quantities: dict[str, float]
    steady: tuple[SteadyState, ...]
    guess_results: tuple[GuessResult, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.experiment.name

    @property
    def unexpected(self) -> list[Row]:
        """The rows that did not come out as declared."""
        return [row for row in self.rows if not row.is_as_declared(quick=self.quick)]

    @property
    def failing(self) -> list[Row]:
        """Those of the unexpected rows that make the run a failure: of a quick run none that rest on times."""
        return [row for row in self.unexpected if not (self.quick and row.expectation.timed)]

    def with_outcome(self, outcome: Outcome) -> list[Row]:
        """Return the rows with that outcome."""
        return [row for row in self.rows if row.outcome == outcome]


def result_of(
    experiment: Experiment,
    findings: Findings,
    *,
    quick: bool,
    seed: int,
    command: str,
    started_at: dt.datetime,
    ended_at: dt.datetime,
    environment: Environment,
    steady: Sequence[SteadyState] = (),
    guess_results: tuple[GuessResult, ...] = (),
) -> Result:
    """Return the result of a run that has shown these findings."""
    return Result(
        experiment=_declaration(experiment),
        quick=quick,
        seed=seed,
        command=command,
        started_at=started_at,
        ended_at=ended_at,
        environment=environment,
        rows=tuple(findings.rows),
        series=tuple(findings.series),
        charts=tuple(findings.charts),
        tables=tuple(findings.tables),
        remarks=tuple(findings.remarks),
        quantities=findings.quantities,
        steady=tuple(steady),
        guess_results=guess_results,
    )


def now() -> dt.datetime:
    """Return the time as results have it: UTC, to the second."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def _declaration(experiment: Experiment) -> Declaration:
    """Return what the experiment declares, without its code."""
    return Declaration(
        name=experiment.name,
        title=experiment.title,
        question=experiment.question,
        lines=experiment.lines,
        procedure=tuple(experiment.procedure),
        control=experiment.control,
        treatment=experiment.treatment,
        expectations=tuple(experiment.expectations),
        lessons=tuple(experiment.lessons),
        guesses=tuple(experiment.guesses),
    )


def check(experiment: Experiment, findings: Findings, steady: Sequence[SteadyState]) -> None:
    """Check that every row has its evidence, and that the site was healthy throughout. Raises Incomplete."""
    series = [series.name for series in findings.series]
    complaints = [
        *(f"two series {name}" for name in _repeated(series)),
        *(complaint for row in findings.rows for complaint in _complaints(row, series)),
        *(
            f"there is no quantity {guess.quantity}, which readers predict"
            for guess in experiment.guesses
            if guess.quantity not in findings.quantities
        ),
        *(
            f"the site was not healthy {state.when} ({state.problems})"
            for state in steady
            if not state.healthy
        ),
    ]
    if complaints:
        raise Incomplete("; ".join(complaints))


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _complaints(row: Row, series: Sequence[str]) -> list[str]:
    key = row.expectation.key
    if not row.evidence:
        return [f"{key} names no series as its evidence"]
    return [f"{key}: there is no series {name}" for name in row.evidence if name not in series]


def write(result: Result, folder: Path) -> Path:
    """
    Write the result atomically, so that a crash leaves the old file or the new one; return the file.

    Raises Incomplete if a figure is not finite, Unwritable if the file cannot be written.
    """
    encoded = msgspec.json.format(msgspec.json.encode(result), indent=1)
    try:
        decode(encoded)
    except UnreadableResult as exc:
        raise Incomplete(f"a figure is not finite ({exc})") from exc
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result.name}.json"
    output_file.write(file, encoded.decode() + "\n")
    return file


def decode(encoded: bytes) -> Result:
    """Return the result. Raises UnreadableResult."""
    try:
        schema = msgspec.json.decode(encoded, type=dict[str, msgspec.Raw]).get("schema")
        if schema is not None and bytes(schema) != str(SCHEMA).encode():
            raise UnreadableResult(
                f"its format has version {bytes(schema).decode()}; this program reads version {SCHEMA}"
            )
        return msgspec.json.decode(encoded, type=Result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UnreadableResult(str(exc)) from exc


def read(folder: Path) -> list[Result]:
    """
    Return the results in a folder, in the order of the seed module.

    Raises UnreadableResult, which names every file that cannot be read and says what to do.
    """
    results, damaged = [], []
    for file in sorted(folder.glob("*.json")):
        try:
            results.append(decode(file.read_bytes()))
        except (UnreadableResult, OSError) as exc:
            damaged.append(f"{file}: {exc}")
    if damaged:
        raise UnreadableResult(
            "; ".join(damaged) + "; run the experiment again, or delete the file"
        )
    return sorted(results, key=lambda result: result.experiment.lines)
