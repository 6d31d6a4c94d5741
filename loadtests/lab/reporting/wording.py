"""Sentences and figures that every format of a report has in common."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from config.charts.scales import number
from loadtests.lab.experiment import Outcome, Row, Series
from loadtests.lab.results import GuessResult, Result
from loadtests.stats import percentile

_AS_IT_IS: Final = 200  # values of a series that a page shows one by one


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A series in figures: how many values, their median, and where 90 of 100 lie."""

    series: Series
    figures: tuple[str, ...]  # n, median, p5 to p95, least to most
    values: str


def summary(series: Series) -> Summary:
    """Return the series in figures; they are empty for a series without values."""
    values = series.values
    if not values:
        return Summary(series=series, figures=("0", "", "", ""), values="")
    return Summary(
        series=series,
        figures=(
            number(len(values)),
            _figure(statistics.median(values)),
            f"{_figure(percentile(values, 0.05))} to {_figure(percentile(values, 0.95))}",
            f"{_figure(min(values))} to {_figure(max(values))}",
        ),
        values=", ".join(map(_figure, values)) if len(values) <= _AS_IT_IS else "",
    )


def answer(result: Result) -> str:
    """Return the result in one sentence: the title of the first chart."""
    first: Iterable[str] = (chart.title for chart in result.charts)
    return next(iter(first), result.experiment.lessons[0] if result.experiment.lessons else "")


def verdicts(results: Sequence[Result]) -> str:
    """Return the counts over all results in one sentence."""
    rows = sum(len(result.rows) for result in results)
    counts = ", ".join(
        f"{sum(len(result.with_outcome(outcome)) for result in results)} {outcome}"
        for outcome in Outcome
    )
    unexpected = sum(len(result.unexpected) for result in results)
    declared = f"{unexpected} not as declared" if unexpected else "all as declared"
    return f"{rows} expectations: {counts}; {declared}."


def line_of(row: Row) -> str:
    """Return which line of the seed module expects it."""
    return "ours" if row.expectation.line is None else f"L{row.expectation.line}"


def declared(row: Row, *, quick: bool) -> str:
    """Return whether it came out as declared, and if not, what was declared."""
    if row.is_as_declared(quick=quick):
        return "yes"
    return f"NO: {row.expectation.declared_for(quick=quick)} was declared"


def guess_cells(result: GuessResult) -> tuple[str, ...]:
    """Return question, guess, observation and how far off the guess was."""
    unit = result.guess.unit
    if result.observed is None:
        return (result.guess.question, f"{_figure(result.predicted)} {unit}", "not observed", "")
    return (
        result.guess.question,
        f"{_figure(result.predicted)} {unit}",
        f"{_figure(result.observed)} {unit}",
        _off(result.predicted, result.observed),
    )


def run_sentence(result: Result) -> str:
    """Return when it ran, how long, and on which revision."""
    seconds = (result.ended_at - result.started_at).total_seconds()
    environment = result.environment
    changed = " with changes" if environment.modified else ""
    revision = (
        f"revision {environment.revision}{changed}" if environment.revision else "no revision known"
    )
    length = "quick run" if result.quick else "full run"
    return (
        f"{result.started_at:%Y-%m-%d %H:%M:%S} to {result.ended_at:%H:%M:%S} UTC "
        f"({seconds:.0f} s, {length}, seed {result.seed}), {revision}"
    )


def machine_sentence(result: Result) -> str:
    """Return the machine that it ran on."""
    environment = result.environment
    return f"{environment.cores} cores of {environment.processor}, {environment.memory_gib:g} GiB, {environment.system}"


def versions_sentence(result: Result) -> str:
    """Return the versions of the software that the figures depend on."""
    return ", ".join(f"{name} {version}" for name, version in result.environment.versions.items())


def quantity_cells(result: Result) -> list[tuple[str, str]]:
    """Return each single figure with its name."""
    return [(name, _figure(value)) for name, value in result.quantities.items()]


def _off(predicted: float, observed: float) -> str:
    if predicted == observed:
        return "right"
    if predicted > 0 and observed > 0:
        factor = max(predicted / observed, observed / predicted)
        side = "too much" if predicted > observed else "too little"
        return f"{_figure(factor)} times {side}"
    return f"{_figure(abs(predicted - observed))} off"


def _figure(value: float) -> str:
    return number(float(f"{value:.4g}")) if value else "0"
