"""Charts as plain values that any format can be made of; config.charts.drawing makes SVG of them."""

import msgspec


class Axis(msgspec.Struct, frozen=True, kw_only=True):
    """What one axis shows; the label names the unit."""

    label: str
    log: bool = False


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A measured or predicted point; low and high enclose it where its spread is known."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Points joined by a line; a predicted one is dashed."""

    name: str
    points: tuple[Point, ...]
    predicted: bool = False


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the horizontal axis with a name, such as an outage."""

    name: str
    start: float
    end: float


class LineChart(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="lines"):
    """Lines over a numeric axis, such as depth, load, or seconds since the start."""

    title: str  # the answer that the chart gives, as a sentence
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    spans: tuple[Span, ...] = ()


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One value; low and high enclose it where its spread is known; told is its label."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    told: str = ""


class BarChart(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="bars"):
    """
    Horizontal bars, to be compared by length.

    They begin at zero, or at a power of ten, or at the origin, to both sides, as ratios do at 1.
    """

    title: str  # the answer that the chart gives, as a sentence
    axis: Axis
    bars: tuple[Bar, ...]
    origin: float | None = None


Chart = LineChart | BarChart
