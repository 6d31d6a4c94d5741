"""Results as reports: on the terminal, as Markdown, and as one HTML file that works offline."""

from collections.abc import Sequence
from pathlib import Path

from config import output_file
from config.charts.drawing import svg
from loadtests.lab.reporting import html, markdown
from loadtests.lab.results import Result


def write_reports(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write every report of the results into the folder; return where to begin reading."""
    files = {"index.html": html.page(results), "index.md": markdown.index(results)}
    for result in results:
        files[f"{result.name}.md"] = markdown.page(result)
        for number, chart in enumerate(result.charts, 1):
            files[markdown.chart_file(result, number)] = svg(chart, standalone=True)
    for name, text in files.items():
        output_file.write(folder / name, text)
    return [folder / "index.html", folder / "index.md"]
