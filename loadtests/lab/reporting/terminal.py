"""Results as tables on the terminal."""

from collections.abc import Iterable
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from loadtests.lab.experiment import Experiment, Outcome, Row
from loadtests.lab.results import Result

_STYLES: Final = {
    Outcome.CONFIRMED: "green",
    Outcome.REFUTED: "red",
    Outcome.INCONCLUSIVE: "yellow",
}


def experiments_table(experiments: Iterable[Experiment]) -> Table:
    """Return the table of all experiments."""
    table = Table("experiment", "asks", "seed lines", "expectations", box=box.SIMPLE_HEAD)
    for experiment in experiments:
        lines = f"{experiment.lines[0]}-{experiment.lines[1]}"
        table.add_row(
            experiment.name, Text(experiment.question), lines, str(len(experiment.expectations))
        )
    return table


def rows_table(result: Result) -> Table:
    """Return the table of a result's rows and, where there are some, of the reader's guesses."""
    table = Table(
        "line",
        "expected",
        "observed",
        "outcome",
        "as declared",
        title=result.experiment.title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_lines=True,
    )
    for row in result.rows:
        table.add_row(*_cells(row, quick=result.quick))
    for guess_result in result.guess_results:
        observed = (
            "not observed" if guess_result.observed is None else f"{guess_result.observed:.4g}"
        )
        table.add_row(
            "you",
            Text(
                f"{guess_result.guess.question} {guess_result.predicted:.4g} {guess_result.guess.unit}"
            ),
            f"{observed} {guess_result.guess.unit}",
            "",
            "",
        )
    return table


def verdicts_line(result: Result) -> Text:
    """Return the counts in one line."""
    counts = ", ".join(
        f"{len(result.with_outcome(outcome))} {outcome}"
        for outcome in Outcome
        if len(result.with_outcome(outcome))
    )
    seconds = (result.ended_at - result.started_at).total_seconds()
    as_declared = (
        f"{len(result.unexpected)} NOT AS DECLARED" if result.unexpected else "all as declared"
    )
    if result.unexpected and not result.failing:
        as_declared += ", by times alone, to which a quick run is not held"
    style = "bold red" if result.failing else "bold"
    return Text(f"{result.name}: {counts}; {as_declared}; {seconds:.0f} s", style=style)


def _cells(row: Row, *, quick: bool) -> tuple[Text, ...]:
    line = "" if row.expectation.line is None else str(row.expectation.line)
    is_fine = row.is_as_declared(quick=quick)
    declared = row.expectation.declared_for(quick=quick)
    return (
        Text(line),
        Text(row.expectation.text),
        Text(row.observed),
        Text(row.outcome, style=_STYLES[row.outcome]),
        Text("yes" if is_fine else f"NO, {declared}", style="" if is_fine else "bold red"),
    )
