"""A report for a terminal."""

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.explain.render_markdown import RenderedTable, head, tables
from config.explain.report import Report


def render(report: Report, *, width: int, colour: bool = False) -> str:
    """Return the report laid out for a terminal of this width."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, highlight=False)
    for sentence in head(report):
        console.print(Text(sentence))
    for table in tables(report):
        console.print(_table(table))
        if table.remarks:
            console.print(*map(Text, table.remarks), sep="\n")
    for part in report.queries:
        console.print(Text(f"\n{part.name}: {part.asks}", style="bold"))
        for finding in part.findings:
            console.print(Text(f"! {finding}", style="yellow"))
        console.print(Text(part.now.plan.as_text()), soft_wrap=True)
    return out.getvalue()


def _table(contents: RenderedTable) -> Table:
    title = f"\n{contents.title}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, expand=False)
    for column in contents.columns:
        table.add_column(column, overflow="fold")
    for row in contents.rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
