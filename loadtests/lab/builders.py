"""Series, bars and lines from raw values: medians, and as error bars the least and the greatest."""

import statistics
from collections.abc import Mapping, Sequence

from config.charts import Bar, Line, Point
from loadtests.lab.experiment import Series

_DIGITS = 4  # behind the point, of a raw value


def series(name: str, arm: str, unit: str, values: Sequence[float]) -> Series:
    """Return the raw values of one arm as a series."""
    rounded = tuple(round(float(value), _DIGITS) for value in values)
    return Series(name=name, arm=arm, unit=unit, values=rounded)


def median_bar(name: str, values: Sequence[float]) -> Bar:
    """Return the median of the values as a bar, labelled with their spread and number."""
    median, least, greatest = statistics.median(values), min(values), max(values)
    label = f"{median:.4g} ({least:.4g} to {greatest:.4g}, n={len(values)})"
    return Bar(name=name, value=median, low=least, high=greatest, told=label)


def median_line(name: str, values: Mapping[int, Sequence[float]]) -> Line:
    """Return the median at each x as a line; values maps x to what was measured there."""
    return Line(
        name=name,
        points=tuple(
            Point(x=x, y=statistics.median(at_x), low=min(at_x), high=max(at_x))
            for x, at_x in values.items()
        ),
    )
