"""Axis scales: positions of values, ticks, number formats, and text widths."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_STEPS: Final = (1, 2, 5, 10)
_MOST_DECADES: Final = 2.0  # a logarithmic axis of at most this many also has ticks at 2 and 5
_FONT_PX: Final = 12
_WIDE: Final = frozenset("mwMW%@")
_NARROW: Final = frozenset("ijlftrI.,:;'|!()[] \u202f")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis from low to high between two positions of the drawing; start may exceed end."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def place(self, value: float) -> float:
        """Return the position of a value, clamped to the axis."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + (self.end - self.start) * min(max(share, 0.0), 1.0), 1)

    def ticks(self, most: int = 7) -> list[float]:
        """Return round values from low to high, about `most` of them."""
        if not self.log:
            step = _step((self.high - self.low) / most)
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            return [round(number * step, 12) for number in range(first, last + 1)]
        decades = math.log10(self.high / self.low)
        factors = (1, 2, 5) if decades <= _MOST_DECADES else (1,)
        every = max(1, math.ceil(decades / most))
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        ticks = [factor * 10.0**power for power in powers[::every] for factor in factors]
        return [tick for tick in ticks if self.low * 0.999 <= tick <= self.high * 1.001]


def scale(
    values: Sequence[float], *, log: bool, start: float, end: float, from_zero: bool
) -> Scale:
    """
    Return an axis with round ends that contains the values.

    from_zero: for bars, which start at zero or at the power of ten below all values. A
    logarithmic axis shows only positive values.
    """
    if log:
        shown = [value for value in values if value > 0] or [1.0]
        least = min(shown)
        low = 10.0 ** math.floor(math.log10(least * 0.99)) if from_zero else _round_down(least)
        high = _round_up(max(shown))
        if high <= low:
            low, high = low / 10, high * 10
        return Scale(low=low, high=high, start=start, end=end, log=True)
    least, most = min(values, default=0.0), max(values, default=1.0)
    if least >= 0 and (from_zero or least < 0.3 * most):
        least = 0.0
    if most <= least:
        most = least + 1
    step = _step((most - least) / 7)
    low, high = math.floor(least / step + 1e-9) * step, math.ceil(most / step - 1e-9) * step
    return Scale(low=low, high=high, start=start, end=end, log=False)


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(size * power for size in _STEPS if size * power >= rough * 0.999)


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(size * power for size in _STEPS if size * power >= value * 0.999)


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(size * power for size in reversed(_STEPS) if size * power <= value * 1.001)


def number(value: float) -> str:
    """Return a number as shown on an axis: 0.05, 250, 10 000, 2 M."""
    if abs(value) >= 1e6:
        return f"{_grouped(value / 1e6)}\u202fM"
    return _grouped(value)


def _grouped(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}".replace(",", "\u202f")
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    digits_text = f"{value:,.{digits}f}".replace(",", "\u202f")
    return digits_text.rstrip("0").rstrip(".") if digits else digits_text


def text_width(text: str, size_px: float = _FONT_PX) -> float:
    """Return the approximate width of a text, erring on the wide side."""
    ems = sum(
        0.9 if character in _WIDE else 0.34 if character in _NARROW else 0.6 for character in text
    )
    return ems * size_px
