"""Series, bars and lines from raw values: medians, with the least and the greatest as error bars."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from config.charts import Bar, Line, Point
from loadtests.lab.experiment import Series

_DIGITS = 4  # after the point, of a raw value


def series(name: str, arm: str, unit: str, values: Iterable[float]) -> Series:
    """Return the raw values of one arm as a series."""
    rounded = tuple(round(float(value), _DIGITS) for value in values)
    return Series(name=name, arm=arm, unit=unit, values=rounded)


def median_bar(name: str, values: Sequence[float], label: str = "") -> Bar:
    """Return the median of the values as a bar; its label defaults to their spread and number."""
    median, least, greatest = statistics.median(values), min(values), max(values)
    label = label or f"{median:.4g} ({least:.4g} to {greatest:.4g}, n={len(values)})"
    return Bar(name=name, value=median, low=least, high=greatest, label=label)


def line(name: str, points: Iterable[tuple[float, float]], *, predicted: bool = False) -> Line:
    """Return a line through points, given as x and y."""
    return Line(name=name, points=tuple(Point(x=x, y=y) for x, y in points), predicted=predicted)


def median_line(name: str, values: Mapping[int, Sequence[float]]) -> Line:
    """Return a line through the medians; values maps x to what was measured there."""
    return Line(
        name=name,
        points=tuple(
            Point(x=x, y=statistics.median(at_x), low=min(at_x), high=max(at_x))
            for x, at_x in values.items()
        ),
    )
