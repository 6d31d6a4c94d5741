"""Charts as SVG: whole, escaped, in place, and readable without colour."""

import re
from xml.etree import ElementTree

import pytest

from config.charts import Axis, Bar, BarChart, Line, LineChart, Point, Span
from config.charts.drawing import svg
from config.charts.elements import MARKERS
from config.charts.scales import text_width
from tests.loadtests.made_up import BARS, LINES

SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart):
    return ElementTree.fromstring(svg(chart, standalone=True))


def of(root, name, kind=None):
    nodes = root.iter(f"{SVG}{name}")
    return [node for node in nodes if kind is None or kind in node.get("class", "").split()]


def labels(root):
    return [node.text for node in of(root, "text")]


def boxes(root):
    """Where each text lies: left, right, baseline."""
    for node in of(root, "text"):
        wide, x = text_width(node.text), float(node.get("x"))
        left = {"start": x, "middle": x - wide / 2, "end": x - wide}[node.get("text-anchor")]
        yield node.text, left, left + wide, float(node.get("y"))


@pytest.mark.parametrize("chart", [LINES, BARS], ids=["lines", "bars"])
class TestSvg:
    def test_has_its_title_for_screen_readers(self, chart):
        root = drawn(chart)

        assert root.get("role") == "img"
        assert root.get("aria-label") == chart.title
        assert root[0].tag == f"{SVG}title"
        assert root[0].text == chart.title

    def test_asks_for_nothing(self, chart):
        markup = svg(chart, standalone=True).replace('xmlns="http://www.w3.org/2000/svg"', "")

        assert not re.search(r"https?:|<script|url\(|@import|href", markup)

    def test_alone_it_has_its_style_in_both_colour_schemes(self, chart):
        assert "prefers-color-scheme: dark" in of(drawn(chart), "style")[0].text
        assert not re.search("<style|xmlns", svg(chart))

    def test_no_text_overlaps_another_or_leaves_the_drawing(self, chart):
        root = drawn(chart)
        _, _, width, height = map(float, root.get("viewBox").split())
        placed = list(boxes(root))

        for number, (text, left, right, y) in enumerate(placed):
            assert left >= 0, text
            assert right <= width, text
            assert 0 < y < height, text
            for other, its_left, its_right, its_y in placed[number + 1 :]:
                apart = left >= its_right or its_left >= right or abs(y - its_y) >= 11
                assert apart, (text, other)


class TestLineChart:
    def test_names_axes_lines_and_spans(self):
        texts = labels(drawn(LINES))

        for text in ("notes skipped", "latency (ms)", "measured", "predicted <linear>", "outage"):
            assert text in texts

    def test_a_predicted_line_is_dashed_and_has_hollow_markers(self):
        chart = LineChart(
            title="t",
            x=Axis(label="x"),
            y=Axis(label="y"),
            lines=(Line(name="p", points=(Point(x=0, y=0), Point(x=1, y=1)), predicted=True),),
        )
        root = drawn(chart)

        assert of(root, "polyline", "predicted")
        assert of(root, "path", "hollow")
        assert not [
            node for node in of(root, "path", "marker") if "hollow" not in node.get("class")
        ]

    def test_each_point_has_its_interval_and_its_figures(self):
        root = drawn(LINES)
        titles = [node.find(f"{SVG}title") for node in of(root, "path", "marker")]

        assert len(of(root, "path", "interval")) == 4
        assert any(
            node is not None and "measured: latency (ms) 0.9 (0.72 to 1.17)" in node.text
            for node in titles
        )

    def test_more_lines_than_colours_still_differ(self):
        lines = tuple(
            Line(name=f"a line with a long name {at}", points=(Point(x=0, y=at), Point(x=1, y=at)))
            for at in range(6)
        )
        root = drawn(LineChart(title="t", x=Axis(label="x"), y=Axis(label="y"), lines=lines))
        shapes = {re.sub(r"[\d.-]+", "", node.get("d")) for node in of(root, "path", "marker")}

        assert len(shapes) == len(MARKERS)
        assert len({round(y) for _, _, _, y in boxes(root) if y < 60}) > 1  # the legend has rows

    def test_a_logarithmic_axis_leaves_out_values_without_a_logarithm(self):
        points = (Point(x=0, y=0), Point(x=1, y=10, low=0, high=20), Point(x=2, y=100))
        chart = LineChart(
            title="t",
            x=Axis(label="x"),
            y=Axis(label="y", log=True),
            lines=(Line(name="l", points=points),),
        )

        assert of(drawn(chart), "polyline", "series")[-1 - 1].get("points").count(",") == 2

    @pytest.mark.parametrize("lines", [(), (Line(name="empty", points=()),)])
    def test_without_points_it_is_empty_and_whole(self, lines):
        chart = LineChart(title="t", x=Axis(label="x"), y=Axis(label="y", log=True), lines=lines)

        assert "x" in labels(drawn(chart))

    def test_names_of_adjacent_spans_are_stacked(self):
        spans = tuple(
            Span(name=f"an outage of server {at}", start=at, end=at + 1) for at in range(4)
        )
        root = drawn(
            LineChart(
                title="t", x=Axis(label="s"), y=Axis(label="y"), lines=LINES.lines, spans=spans
            )
        )

        assert len({y for text, _, _, y in boxes(root) if "outage" in text}) == 4

    def test_of_many_points_some_are_marked(self):
        points = tuple(Point(x=at, y=at % 7) for at in range(600))
        line = Line(name="l", points=points)
        root = drawn(LineChart(title="t", x=Axis(label="x"), y=Axis(label="y"), lines=(line,)))

        assert len(of(root, "path", "marker")) < 20


class TestBarChart:
    def test_bars_are_as_long_as_their_values(self):
        short, long = of(drawn(BARS), "rect", "bar")

        assert float(long.get("width")) == pytest.approx(10 * float(short.get("width")), rel=0.01)

    def test_shows_each_value_with_its_interval(self):
        texts = labels(drawn(BARS))

        assert "1.2 (1.1 to 1.5)" in texts
        assert "12 ms (n=40)" in texts
        assert len(of(drawn(BARS), "path", "whisker")) == 2

    def test_on_a_logarithmic_axis_a_power_of_ten_is_where_it_begins(self):
        bars = (Bar(name="a", value=0.03), Bar(name="b", value=2000))
        root = drawn(BarChart(title="t", axis=Axis(label="ms", log=True), bars=bars))
        short, long = (float(node.get("width")) for node in of(root, "rect", "bar"))

        assert 0 < short < long
        assert "0.01" in labels(root)

    def test_ratios_go_to_both_sides_of_one(self):
        bars = (
            Bar(name="less", value=0.5),
            Bar(name="the same", value=1),
            Bar(name="more", value=2),
        )
        chart = BarChart(title="t", axis=Axis(label="x", log=True), bars=bars, origin=1)
        less, same, more = of(drawn(chart), "rect", "bar")

        ends = float(less.get("x")) + float(less.get("width"))
        assert float(less.get("width")) == pytest.approx(float(more.get("width")), abs=0.2)
        assert ends == pytest.approx(float(more.get("x")), abs=0.2)
        assert float(same.get("width")) == 0
        assert less.get("class") != more.get("class")

    def test_a_long_name_is_wrapped_to_two_lines(self):
        bar = Bar(name="what a request that waits for a connection of the pool takes here", value=1)

        assert len(labels(drawn(BarChart(title="t", axis=Axis(label="ms"), bars=(bar,))))) > 4
