"""The part of a page that a tool writes: what stands between two marks."""

from dataclasses import dataclass
from pathlib import Path

from config import output_file


class MissingMarkers(Exception):
    """A page lacks the markers, or they are in the wrong order."""


@dataclass(frozen=True)
class Markers:
    """The two lines that enclose what a command writes."""

    begin: str
    end: str

    def filled(self, text: str, written: str) -> str:
        """Return the page's text with something else between the marks. Raises MissingMarkers."""
        before, begin, rest = text.partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not begin or not end:
            raise MissingMarkers(f"it needs a line {self.begin} and after it a line {self.end}")
        return f"{before}{begin}\n\n{written}\n\n{end}{after}"

    def check(self, page: Path) -> None:
        """Raise MissingMarkers or Unwritable where the page cannot be filled."""
        try:
            self.filled(page.read_text() if page.is_file() else "", "")
        except MissingMarkers as exc:
            raise MissingMarkers(f"{page}: {exc}") from exc
        output_file.refuse_unwritable(page)

    def fill(self, page: Path, written: str) -> None:
        """Replace what stands between the marks, in one step. Raises MissingMarkers, Unwritable."""
        self.check(page)
        output_file.write(page, self.filled(page.read_text(), written))
