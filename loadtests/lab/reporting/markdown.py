"""Results as Markdown: a page for each experiment, and one of all verdicts."""

from collections.abc import Iterable, Iterator, Sequence

from loadtests.lab.experiment import Outcome
from loadtests.lab.reporting import wording
from loadtests.lab.results import Result


def index(results: Sequence[Result]) -> str:
    """Return the page of all verdicts."""
    return "\n".join(_index(results)) + "\n"


def page(result: Result) -> str:
    """Return the page of one experiment."""
    return "\n".join(_page(result)) + "\n"


def chart_file(result: Result, number: int) -> str:
    """Return the name of the file with the chart of this number, from 1."""
    return f"{result.name}-{number}.svg"


def _index(results: Sequence[Result]) -> Iterator[str]:
    yield from ("# Experiments", "", wording.verdicts(results), "")
    yield "The same as one page with charts: [index.html](index.html). Raw values: the JSON files in this folder."
    yield ""
    yield from _table(
        ("experiment", "asks", "answer", *Outcome, "not as declared"),
        (
            (
                f"[{result.name}]({result.name}.md)",
                _text(result.experiment.question),
                _text(wording.answer(result)),
                *(str(len(result.with_outcome(outcome))) for outcome in Outcome),
                str(len(result.unexpected)),
            )
            for result in results
        ),
    )
    refuted = [(result, row) for result in results for row in result.with_outcome(Outcome.REFUTED)]
    if refuted:
        yield from ("", "## Refuted", "")
        yield from _table(
            ("experiment", "line", "expected", "observed", "because"),
            (
                (
                    result.name,
                    wording.line_of(row),
                    *map(_text, (row.expectation.text, row.observed, row.expectation.because)),
                )
                for result, row in refuted
            ),
        )


def _page(result: Result) -> Iterator[str]:
    experiment = result.experiment
    yield from (f"# {_text(experiment.title)}", "", f"**{_text(experiment.question)}**", "")
    yield f"Seed module, lines {experiment.lines[0]} to {experiment.lines[1]}."
    yield from (
        "",
        f"- Control: {_text(experiment.control)}",
        f"- Treatment: {_text(experiment.treatment)}",
    )
    yield from _section(
        "Procedure", [f"{at}. {_text(step)}" for at, step in enumerate(experiment.procedure, 1)]
    )
    for number, chart in enumerate(result.charts, 1):
        yield from (
            "",
            f"![{_text(chart.title)}]({chart_file(result, number)})",
            "",
            f"*{_text(chart.title)}*",
        )
    yield from ("", "## Expectations", "")
    yield from _table(
        ("line", "expected", "threshold", "observed", "outcome", "as declared", "because"),
        (
            (
                wording.line_of(row),
                *map(_text, (row.expectation.text, row.expectation.threshold, row.observed)),
                f"**{row.outcome}**",
                wording.declared(row, quick=result.quick),
                _text(row.expectation.because),
            )
            for row in result.rows
        ),
    )
    yield from _figures(result)
    yield from _section("What to learn", [f"- {_text(lesson)}" for lesson in experiment.lessons])
    yield from _guesses(result)
    yield from _circumstances(result)


def _figures(result: Result) -> Iterator[str]:
    for table in result.tables:
        yield from ("", f"## {_text(table.title)}", "")
        yield from _table(table.columns, (tuple(map(_text, row)) for row in table.rows))
        if table.note:
            yield from ("", _text(table.note))
    if result.quantities:
        yield from ("", "## Quantities", "")
        yield from _table(("quantity", "value"), wording.quantity_cells(result))
    yield from _section("Remarks", [f"- {_text(remark)}" for remark in result.remarks])
    yield from (
        "",
        "## Raw data",
        "",
        f"All values are in [{result.name}.json]({result.name}.json).",
        "",
    )
    yield from _table(
        ("series", "arm", "unit", "n", "median", "p5 to p95", "least to most"),
        (
            (*map(_text, (series.name, series.arm, series.unit)), *wording.summary(series).figures)
            for series in result.series
        ),
    )


def _guesses(result: Result) -> Iterator[str]:
    if result.guess_results:
        yield from ("", "## Guessed and observed", "")
        yield from _table(
            ("question", "guess", "observed", "off by"),
            (
                tuple(map(_text, wording.guess_cells(guess_result)))
                for guess_result in result.guess_results
            ),
        )


def _circumstances(result: Result) -> Iterator[str]:
    yield from ("", "## Steady states", "")
    yield from _table(
        ("when", "well", "requests", "failures", "p50 (ms)"),
        (
            (
                _text(state.when),
                "yes" if state.healthy else f"NO {_text(state.problems)}",
                str(state.requests),
                str(state.failures),
                f"{state.p50_ms:.2f}",
            )
            for state in result.steady
        ),
    )
    yield from ("", "## Where and when", "", f"- {_text(wording.run_sentence(result))}")
    yield f"- {_text(wording.machine_sentence(result))}"
    yield f"- {_text(wording.versions_sentence(result))}"
    yield f"- Again: `{result.command}`"


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"## {title}", "", *lines)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _text(text: str) -> str:
    """Return the text on one line, with characters escaped that Markdown would interpret."""
    for mark in "\\|<*_[":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
