"""Charts as plain values, and as inline SVG that works offline and in both colour schemes."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What one axis shows; the label names the unit."""

    label: str
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Point:
    """A measured or predicted point; low and high enclose it where its spread is known."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points joined by a line; a predicted one is dashed."""

    name: str
    points: tuple[Point, ...]
    predicted: bool = False


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of the horizontal axis with a name, such as an outage."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """Lines over a numeric axis, such as depth, load, or seconds since the start."""

    title: str  # the answer that the chart gives, as a sentence
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One value; low and high enclose it where its spread is known; told is its label."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    told: str = ""


@dataclass(frozen=True, kw_only=True)
class BarChart:
    """Horizontal bars from zero (or from a power of ten), to be compared by length."""

    title: str  # the answer that the chart gives, as a sentence
    axis: Axis
    bars: tuple[Bar, ...]


Chart = LineChart | BarChart
