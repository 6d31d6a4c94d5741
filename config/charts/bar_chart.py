"""A bar chart as SVG: horizontal bars, their names on the left and values on the right."""

from collections.abc import Iterator
from textwrap import wrap
from typing import Final

from config.charts import Bar, BarChart
from config.charts.elements import colour, element, interval, rule, text, titled
from config.charts.scales import Scale, number, scale, text_width

WIDTH: Final = 760
_BAR: Final = 18
_ROW: Final = 36
_TOP: Final = 8
_BELOW: Final = 46
_NAME_CHARACTERS: Final = 34
_LINES: Final = 2


def parts(chart: BarChart) -> tuple[float, Iterator[str]]:
    """Return the height, and the elements from back to front."""
    bottom = _TOP + _ROW * len(chart.bars)
    names = [_wrapped(bar.name) for bar in chart.bars]
    left = 14 + max((text_width(line) for lines in names for line in lines), default=0)
    behind = 14 + max((text_width(_bar_label(bar)) for bar in chart.bars), default=0)
    values = [
        value for bar in chart.bars for value in (bar.value, bar.low, bar.high) if value is not None
    ]
    if chart.origin is not None:
        values.append(chart.origin)
    over = scale(
        values,
        log=chart.axis.log,
        start=left,
        end=WIDTH - behind,
        from_zero=chart.origin is None,
    )
    return bottom + _BELOW, _parts(chart, names, over, bottom)


def _parts(chart: BarChart, names: list[list[str]], over: Scale, bottom: float) -> Iterator[str]:
    origin = over.start if chart.origin is None else over.place(chart.origin)
    free_from = 0.0
    for tick in over.ticks(5):
        x, half = over.place(tick), text_width(number(tick)) / 2
        yield rule(x, _TOP, x, bottom + 5, "grid")
        if x - half > free_from:
            yield text(number(tick), x, bottom + 19, anchor="middle")
            free_from = x + half + 8
    for row, (bar, lines) in enumerate(zip(chart.bars, names, strict=True)):
        middle = _TOP + _ROW * (row + 0.5)
        yield _name(lines, over.start - 8, middle)
        yield from _bar(bar, over, origin, middle)
    yield rule(origin, _TOP, origin, bottom, "axis")
    yield text(chart.axis.label, (over.start + over.end) / 2, bottom + 39, anchor="middle")


def _bar(bar: Bar, over: Scale, origin: float, middle: float) -> Iterator[str]:
    end = over.place(bar.value)
    yield element(
        "rect",
        titled(f"{bar.name}: {_bar_label(bar)}"),
        x=min(origin, end),
        y=middle - _BAR / 2,
        width=round(abs(end - origin), 1),
        height=_BAR,
        class_=f"bar {colour(1 if end >= origin else 2)}",
    )
    if bar.low is not None and bar.high is not None:
        low, high = over.place(bar.low), over.place(bar.high)
        yield interval(low, middle, high, middle, "whisker")
        end = max(end, high)
    yield text(_bar_label(bar), round(max(end, origin) + 9, 1), middle + 4, kind="value")


def _name(lines: list[str], right: float, middle: float) -> str:
    first = middle + 4 - 7 * (len(lines) - 1)
    return "".join(
        text(line, right, first + 14 * at, anchor="end", kind="name")
        for at, line in enumerate(lines)
    )


def _bar_label(bar: Bar) -> str:
    if bar.label:
        return bar.label
    spread = ""
    if bar.low is not None and bar.high is not None:
        spread = f" ({number(bar.low)} to {number(bar.high)})"
    return f"{number(bar.value)}{spread}"


def _wrapped(name: str) -> list[str]:
    lines = wrap(name, _NAME_CHARACTERS) or [""]
    return lines if len(lines) <= _LINES else [lines[0], f"{lines[1][:-1]}…"]
