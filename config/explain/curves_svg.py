"""A curve as inline SVG: logarithmic upwards, since an index changes times by orders of ten."""

import math
from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from config.explain.measuring import ms
from config.explain.report import Curve, Line

_WIDTH: Final = 760
_HEIGHT: Final = 320
_LEFT: Final = 76
_RIGHT: Final = 16
_TOP: Final = 12
_BOTTOM: Final = 44
_STEPS: Final = 6


def svg(curve: Curve) -> str:
    """Return the element; the page's style gives lines 1, 2, 3 their colours (class line-n)."""
    return "".join(_parts(curve))


def _parts(curve: Curve) -> Iterator[str]:
    points = [point for line in curve.lines for point in line.points if point[1] > 0]
    if not points:
        return
    most_x = max(max(x for x, _ in points), 1)
    low = math.floor(math.log10(min(y for _, y in points)))
    high = max(low + 1, math.ceil(math.log10(max(y for _, y in points))))

    def place(x: float, y: float) -> tuple[float, float]:
        share = (math.log10(y) - low) / (high - low)
        return (
            round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * x / most_x, 1),
            round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share, 1),
        )

    yield f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(curve.title)}</title>'
    for power in range(low, high + 1):
        _, y = place(0, 10.0**power)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{10.0**power:g} ms</text>'
    for value in _ticks(most_x):
        x, y = place(value, 10.0**low)
        yield f'<text x="{x}" y="{y + 18}" text-anchor="middle">{value:.0f}</text>'
    yield (
        f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"{escape(curve.x)}</text>"
    )
    for number, line in enumerate(curve.lines, 1):
        yield from _line(number, line, [place(x, y) for x, y in line.points if y > 0])
    yield "</svg>"


def _ticks(most: float) -> list[float]:
    """Return round numbers from 0 up to the most, four to nine of them."""
    rough = most / _STEPS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough)
    return [step * number for number in range(int(most / step) + 1)]


def _line(number: int, line: Line, places: list[tuple[float, float]]) -> Iterator[str]:
    path = " ".join(f"{x},{y}" for x, y in places)
    yield f'<polyline class="line line-{number}" points="{path}"/>'
    for (x, y), (depth, took) in zip(places, line.points, strict=False):
        told = f"{line.name}: {ms(took)} at {depth:.0f}"
        yield f'<circle class="line-{number}" cx="{x}" cy="{y}" r="3.5"><title>{escape(told)}</title></circle>'
