"""Charts as plain values for any format; config.charts.drawing renders them as SVG."""

import msgspec


class Axis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An axis; its label names the unit. names replace the numbers 0, 1, 2, ... of a horizontal axis."""

    label: str
    log: bool = False
    names: tuple[str, ...] = ()


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A measured or predicted point; low and high are its error bar, if known."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Points joined by a line; predicted lines are dashed."""

    name: str
    points: tuple[Point, ...]
    predicted: bool = False


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A named range of the horizontal axis, such as an outage."""

    name: str
    start: float
    end: float


class LineChart(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="lines"):
    """Lines over a numeric axis, such as depth, load, or seconds since the start."""

    title: str  # the conclusion that the chart shows, as a sentence
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    spans: tuple[Span, ...] = ()


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A value; low and high are its error bar, if known. label replaces the value's own text."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    label: str = ""


class BarChart(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="bars"):
    """
    Horizontal bars, compared by length.

    They start at zero, at a power of ten, or at origin, to both sides of it, as ratios do at 1.
    """

    title: str  # the conclusion that the chart shows, as a sentence
    axis: Axis
    bars: tuple[Bar, ...]
    origin: float | None = None


Chart = LineChart | BarChart
