"""A report as Markdown, and its tables, which render_text also uses."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from config.explain.report import Cell, Curve, IndexSection, QuerySection, Report
from config.explain.timing import kib, ms, times

QUERY_COLUMNS = (
    "query",
    "asks",
    "median (least to most)",
    "rows",
    "examined",
    "indexes",
    "without indexes",
)
INDEX_COLUMNS = ("index", "size", "after a rebuild", "uses", "serves", "covered by", "advice")


class RenderedTable(NamedTuple):
    """A table of the report, with remarks below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    remarks: Sequence[str] = ()


def render(report: Report) -> str:
    """Return the report as one Markdown page."""
    return "\n".join(_lines(report)) + "\n"


def head(report: Report) -> list[str]:
    """Return sentences on when, where and how the figures were measured."""
    at = report.environment
    rows = ", ".join(f"{count} {table}" for table, count in at.rows.items())
    return [
        f"Measured {at.measured_at} by `{at.command}`.",
        f"PostgreSQL {at.postgres}, MongoDB {at.mongodb}. Rows: {rows}.",
        f"Each time is the median of {at.runs} runs after a warm-up run, with the minimum and the "
        "maximum: for PostgreSQL by its own clock under EXPLAIN (ANALYZE, BUFFERS), for MongoDB by "
        "the client's. Without indexes means without those that enforce no constraint; MongoDB is "
        "forced to scan the collection. Advice considers dropping one index at a time.",
    ]


def query_row(part: QuerySection) -> tuple[str, ...]:
    """Return a query's row under QUERY_COLUMNS."""
    plan = part.now.plan
    return (
        part.name,
        part.asks,
        part.now.timing.text,
        str(plan.rows_returned),
        str(plan.rows_examined),
        ", ".join(sorted(plan.indexes)) or "none",
        without_text(part),
    )


def without_text(part: QuerySection) -> str:
    """Return the time without indexes and its factor; empty if that was not measured."""
    if part.without_indexes is None:
        return ""
    factor = "" if part.factor is None else f", {times(part.factor)}"
    return f"{ms(part.without_indexes.timing.median_ms)}{factor}"


def index_row(part: IndexSection) -> tuple[str, ...]:
    """Return an index's row under INDEX_COLUMNS."""
    index, bloat = part.index, part.bloat_percent
    served = [
        index.query if index.factor is None else f"{index.query} ({times(index.factor)} without it)"
        for index in part.served
    ]
    rebuilt = (
        "" if part.rebuilt_bytes is None else f"{kib(part.rebuilt_bytes)}, {bloat or 0:.0f} % less"
    )
    return (
        f"{index.name} ({index.table})",
        kib(index.size_bytes),
        rebuilt,
        str(index.uses),
        ", ".join(served) or "no query",
        index.covered_by or "",
        part.advice,
    )


def tables(report: Report) -> Iterator[RenderedTable]:
    """Yield every table of the report, in order."""
    yield RenderedTable("Queries", QUERY_COLUMNS, [*map(query_row, report.queries)])
    yield RenderedTable("Indexes", INDEX_COLUMNS, [*map(index_row, report.indexes)])
    for curve in report.curves:
        columns = (curve.chart.x.label, *(line.name for line in curve.chart.lines))
        yield RenderedTable(curve.chart.title, columns, [*_curve_rows(curve)], curve.remarks)
    for table in report.comparisons:
        yield RenderedTable(table.title, table.columns, table.rows, table.remarks)


def _curve_rows(curve: Curve) -> Iterator[tuple[str, ...]]:
    """Yield a row for each x, with the value of each line there."""
    values = [{point.x: point.y for point in line.points} for line in curve.chart.lines]
    for x in sorted({x for line in values for x in line}):
        yield (f"{x:.0f}", *(ms(line[x]) if x in line else "" for line in values))


def _lines(report: Report) -> Iterator[str]:
    yield "# Queries and their indexes"
    for sentence in head(report):
        yield from ("", sentence)
    for table in tables(report):
        yield from ("", f"## {table.title}", "")
        yield from _table(table.columns, table.rows)
        if table.remarks:
            yield from ("", *_bullets(table.remarks))
    yield from ("", "## Plans")
    for part in report.queries:
        yield from _plan(part)


def _plan(part: QuerySection) -> Iterator[str]:
    yield from ("", f"### {part.name}", "", f"{', '.join(part.serves)}: {part.asks}.")
    if part.findings:
        yield from ("", *_bullets(part.findings))
    yield from ("", "```", part.now.plan.statement, "", part.now.plan.as_text(), "```")
    if part.without_indexes is not None:
        yield from ("", "Without indexes:", "", "```", part.without_indexes.plan.as_text(), "```")


def _bullets(sentences: Sequence[str]) -> list[str]:
    return [f"- {sentence}" for sentence in sentences]


def _table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        cells = (str(cell).replace("|", "&#124;") for cell in row)
        yield f"| {' | '.join(cells)} |"
