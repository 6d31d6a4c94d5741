"""A report for a terminal."""

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.explain.render_markdown import (
    INDEX_COLUMNS,
    QUERY_COLUMNS,
    curve_columns,
    curve_rows,
    head,
    index_row,
    query_row,
)
from config.explain.report import Cell, Report


def render(report: Report, *, width: int, colour: bool = False) -> str:
    """Return the report laid out for a terminal of this width."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, highlight=False)
    for sentence in head(report):
        console.print(Text(sentence))
    console.print(
        _table("Queries", QUERY_COLUMNS, [query_row(section) for section in report.queries])
    )
    console.print(
        _table("Indexes", INDEX_COLUMNS, [index_row(section) for section in report.indexes])
    )
    for curve in report.curves:
        console.print(_table(curve.chart.title, curve_columns(curve), list(curve_rows(curve))))
        console.print(*map(Text, curve.remarks), sep="\n")
    for comparison in report.comparisons:
        console.print(_table(comparison.title, comparison.columns, comparison.rows))
        console.print(*map(Text, comparison.remarks), sep="\n")
    for part in report.queries:
        console.print(Text(f"\n{part.name}: {part.asks}", style="bold"))
        for finding in part.findings:
            console.print(Text(f"! {finding}", style="yellow"))
        console.print(Text(part.now.plan.as_text()), soft_wrap=True)
    return out.getvalue()


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[Cell, ...]]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=box.SIMPLE_HEAD, expand=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
