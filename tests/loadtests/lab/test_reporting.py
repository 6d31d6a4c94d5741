"""Reports: every row in every format, nothing fetched from the network, text shown as text."""

import dataclasses
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from rich.console import Console

from loadtests.lab import results
from loadtests.lab.reporting import html, markdown, wording, write_reports
from loadtests.lab.reporting.terminal import rows_table, verdicts_line
from tests.loadtests.made_up import result


class Page(HTMLParser):
    """What a browser would make of it: its text, its ids, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.ids, self.targets, self.open = "", set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)
        self.ids.add(attributes.get("id"))
        self.targets += [attributes[name] for name in ("href", "src") if name in attributes]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def plain(markdown_text: str) -> str:
    return re.sub(r"\\([\\|<*_\[])", r"\1", markdown_text)


@pytest.fixture
def formats(tmp_path):
    one = result()
    results.write(one, tmp_path)
    write_reports([one], tmp_path)
    return {
        "html": Page((tmp_path / "index.html").read_text()).text,
        "md": plain((tmp_path / "made_up.md").read_text()),
        "json": (tmp_path / "made_up.json").read_text(),
    }


class TestEveryFormat:
    @pytest.mark.parametrize("kind", ["html", "md", "json"])
    def test_tells_each_row_with_its_line_threshold_and_outcome(self, formats, kind):
        for row in result().rows:
            expected = row.expectation
            for part in (expected.text, expected.threshold, row.observed, row.outcome):
                assert part in formats[kind]
            if expected.line:
                line = f'"line": {expected.line}' if kind == "json" else f"L{expected.line}"
                assert line in formats[kind]
            assert expected.because in formats[kind]

    @pytest.mark.parametrize("kind", ["html", "md", "json"])
    def test_tells_the_rest(self, formats, kind):
        one = result()
        parts = [
            one.experiment.question,
            *one.experiment.procedure,
            *one.experiment.lessons,
            *one.remarks,
            *(chart.title for chart in one.charts),
            *(series.name for series in one.series),
            *(steady.when for steady in one.steady),
            one.command,
            one.environment.processor,
            one.environment.versions["Python"],
            one.guess_results[0].guess.question,
            "Index | Scan",
        ]

        for part in parts:
            assert part in formats[kind], part


class TestHtml:
    def test_is_whole_and_works_offline(self):
        page = html.page([result()])
        read = Page(page)

        assert read.open == []
        assert all(target.startswith("#") for target in read.targets)
        assert {target[1:] for target in read.targets} <= read.ids
        assert not re.search(r"https?:|<script|@import|url\(", page)

    def test_shows_text_as_text(self):
        one = result()
        evil = dataclasses.replace(one.rows[0], observed="<script>alert(1)</script>")

        page = html.page([dataclasses.replace(one, rows=(evil,))])

        assert "<script" not in page
        assert "&lt;script&gt;" in page

    def test_begins_with_what_is_not_as_declared(self):
        odd = html.page([result(slow_ms=2000.0)])

        assert "NO: refuted was declared" in odd
        assert "Not as declared" in odd
        assert "Not as declared" not in html.page([result()])

    def test_serves_both_colour_schemes(self):
        assert html.page([result()]).count("prefers-color-scheme: dark") == 2


class TestMarkdown:
    def test_every_link_leads_to_a_file(self, tmp_path):
        results.write(result(), tmp_path)
        write_reports([result()], tmp_path)

        for page in tmp_path.glob("*.md"):
            for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
                assert (tmp_path / target).exists(), target

    def test_charts_are_files_that_any_viewer_reads(self, tmp_path):
        write_reports([result()], tmp_path)

        for file in tmp_path.glob("*.svg"):
            ElementTree.fromstring(file.read_text())
        assert len(list(tmp_path.glob("*.svg"))) == 2

    def test_a_cell_holds_its_text_whatever_that_is(self):
        one = result()
        row = dataclasses.replace(one.rows[0], observed="a | b\nc")

        page = markdown.page(dataclasses.replace(one, rows=(row,)))

        assert "a \\| b c |" in page

    def test_the_index_counts_and_tells_why(self):
        page = markdown.index([result()])

        assert "3 expectations: 2 confirmed, 1 refuted, 0 inconclusive; all as declared." in page
        assert "becomes true from 40 million on" in page


class TestTerminal:
    def test_tells_rows_and_guesses(self):
        out = io.StringIO()
        console = Console(file=out, width=200)
        console.print(rows_table(result(slow_ms=2000.0)))
        console.print(verdicts_line(result(slow_ms=2000.0)))

        for part in ("1700", "NO, refuted", "1600 ms", "1 NOT AS DECLARED", "90 s"):
            assert part in out.getvalue()


class TestWording:
    @pytest.mark.parametrize(
        ("predicted", "observed", "off"),
        [
            (3.2, 3.2, "right"),
            (1600.0, 3.2, "500 times too much"),
            (1.0, 4.0, "4 times too little"),
            (0.0, 5.0, "5 off"),
        ],
    )
    def test_says_how_far_off_a_guess_was(self, predicted, observed, off):
        one = dataclasses.replace(result().guess_results[0], predicted=predicted, observed=observed)

        assert wording.guess_cells(one)[3] == off

    def test_a_series_without_values_says_so(self):
        series = dataclasses.replace(result().series[0], values=())

        assert wording.summary(series).figures == ("0", "", "", "")
