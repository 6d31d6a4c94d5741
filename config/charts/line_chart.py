"""A line chart as SVG: legend above, error bars, predicted lines dashed, named spans."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from config.charts import Axis, Line, LineChart, Point
from config.charts.elements import colour, element, interval, marker, rule, text
from config.charts.scales import Scale, number, scale, text_width

WIDTH: Final = 760
_PLOT_HEIGHT: Final = 270
_ROW: Final = 19  # of the legend
_RIGHT: Final = 22
_BELOW: Final = 46
_MOST_MARKERS: Final = 31
_MARKED: Final = 12  # markers of a line with more points


@dataclass(frozen=True, kw_only=True)
class _Plot:
    x: Scale
    y: Scale
    top: float
    height: float


def parts(chart: LineChart) -> tuple[float, Iterator[str]]:
    """Return the height, and the elements from back to front."""
    legend, rows = _legend(chart)
    top = 8 + _ROW * rows + 24
    plot = _plot(chart, top)
    return plot.height, _parts(chart, plot, legend)


def _parts(chart: LineChart, plot: _Plot, legend: list[str]) -> Iterator[str]:
    yield from _spans(chart, plot)
    yield from _axes(chart, plot)
    for number_, line in enumerate(chart.lines, 1):
        yield element("g", "".join(_line(number_, line, plot, chart)), class_=colour(number_))
    yield from legend


def _plot(chart: LineChart, top: float) -> _Plot:
    points = [point for line in chart.lines for point in line.points]
    xs = [point.x for point in points]
    xs += [edge for span in chart.spans for edge in (span.start, span.end)]
    ys = [y for point in points for y in (point.y, point.low, point.high) if y is not None]
    bottom = top + _PLOT_HEIGHT
    y = scale(ys, log=chart.y.log, start=bottom, end=top, from_zero=not chart.y.log)
    left = 18 + max(text_width(number(tick)) for tick in y.ticks())
    x = scale(xs, log=chart.x.log, start=left, end=WIDTH - _RIGHT, from_zero=False)
    if not x.log:  # it ends with the data: an empty margin shows nothing
        low = 0.0 if x.low == 0 else min(xs, default=0.0)
        high = max(xs, default=1.0)
        x = Scale(
            low=low, high=high if high > low else low + 1, start=x.start, end=x.end, log=False
        )
    return _Plot(x=x, y=y, top=top, height=bottom + _BELOW)


def _axes(chart: LineChart, plot: _Plot) -> Iterator[str]:
    left, right, bottom = plot.x.start, plot.x.end, plot.y.start
    for tick in plot.y.ticks():
        y = plot.y.place(tick)
        yield rule(left, y, right, y, "grid")
        yield text(number(tick), left - 8, y + 4, anchor="end")
    free_from = 0.0
    for tick in plot.x.ticks():
        name = _name(chart.x, tick)
        x, half = plot.x.place(tick), text_width(name) / 2
        yield rule(x, bottom, x, bottom + 5, "axis")
        if x - half > free_from:
            yield text(name, x, bottom + 19, anchor="middle")
            free_from = x + half + 8
    yield rule(left, bottom, right, bottom, "axis")
    yield text(chart.x.label, (left + right) / 2, bottom + 39, anchor="middle")
    yield text(chart.y.label, 4, plot.top - 11)


def _spans(chart: LineChart, plot: _Plot) -> Iterator[str]:
    free_from = [0.0]  # by row, so that names do not overlap
    for span in sorted(chart.spans, key=lambda span: span.start):
        x1, x2 = plot.x.place(span.start), plot.x.place(span.end)
        width = max(round(x2 - x1, 1), 1.5)
        yield element("rect", x=x1, y=plot.top, width=width, height=_PLOT_HEIGHT, class_="span")
        wide = text_width(span.name)
        at = max(plot.x.start + 2, min(x1 + 4, plot.x.end - wide))
        row = next((row for row, end in enumerate(free_from) if end < at), len(free_from))
        free_from[row : row + 1] = [at + wide + 8]
        yield text(span.name, round(at, 1), plot.top + 14 + 15 * row, kind="name")


def _line(number_: int, line: Line, plot: _Plot, chart: LineChart) -> Iterator[str]:
    shown = [
        point
        for point in line.points
        if (point.x > 0 or not chart.x.log) and (point.y > 0 or not chart.y.log)
    ]
    places = [(plot.x.place(point.x), plot.y.place(point.y)) for point in shown]
    kind = "series predicted" if line.predicted else "series"
    yield element("polyline", points=" ".join(f"{x},{y}" for x, y in places), class_=kind)
    every = 1 if len(shown) <= _MOST_MARKERS else len(shown) // _MARKED
    for at, (point, (x, y)) in enumerate(zip(shown, places, strict=True)):
        if point.low is not None and point.high is not None:
            yield interval(x, plot.y.place(point.low), x, plot.y.place(point.high), "interval")
        if at % every == 0:
            yield marker(number_, x, y, _point_title(line, point, chart), hollow=line.predicted)


def _point_title(line: Line, point: Point, chart: LineChart) -> str:
    spread = ""
    if point.low is not None and point.high is not None:
        spread = f" ({number(point.low)} to {number(point.high)})"
    y = f"{line.name}: {chart.y.label} {number(point.y)}{spread}"
    return f"{y}, {chart.x.label} {_name(chart.x, point.x)}"


def _name(axis: Axis, value: float) -> str:
    return axis.names[int(value)] if axis.names else number(value)


def _legend(chart: LineChart) -> tuple[list[str], int]:
    """Return the elements of the legend and its number of rows."""
    elements: list[str] = []
    x, row = 4.0, 0
    for number_, line in enumerate(chart.lines, 1):
        wide = 40 + text_width(line.name) + 18
        if x > 4 and x + wide > WIDTH:
            x, row = 4.0, row + 1
        y = 14 + _ROW * row
        kind = "series predicted" if line.predicted else "series"
        sample = element("polyline", points=f"{x},{y} {x + 32},{y}", class_=kind)
        sample += marker(number_, x + 16, y, hollow=line.predicted)
        elements.append(element("g", sample, class_=colour(number_)))
        elements.append(text(line.name, round(x + 40, 1), y + 4, kind="name"))
        x += wide
    return elements, row + 1
