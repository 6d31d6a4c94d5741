"""From samples to figures: percentiles, and ratios with their uncertainty."""

import math
import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

_RESAMPLES = 2_000


class Ratio(NamedTuple):
    """A ratio of medians, and the interval that contains it with a confidence."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The ratio and, in brackets, its interval."""
        value, low, high = (f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in self)
        return f"{value} x [{low}, {high}]"

    def is_above(self, limit: float) -> bool | None:
        """Return whether it lies above a limit; None where its interval holds the limit."""
        if self.low > limit:
            return True
        return False if self.high < limit else None


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the value that a share (0 to 1) of the samples do not exceed (nearest rank)."""
    if not samples:
        raise ValueError("there are no samples")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(round(share * len(ordered), 6)) - 1)]


def ratio_of_medians(
    above: Sequence[float], below: Sequence[float], *, seed: int = 1, confidence: float = 0.95
) -> Ratio:
    """
    Return median(above) / median(below) of paired rounds, with its bootstrap interval.

    The rounds are drawn in pairs, so that noise that hit both arms of a round cancels out.
    """
    if len(above) != len(below) or not above:
        raise ValueError("a ratio needs as many rounds above as below, and at least one")
    rng = random.Random(seed)  # noqa: S311  # not a secret
    pairs = list(zip(above, below, strict=True))
    drawn = []
    for _ in range(_RESAMPLES):
        some = rng.choices(pairs, k=len(pairs))
        drawn.append(statistics.median(a for a, _ in some) / statistics.median(b for _, b in some))
    outside = (1 - confidence) / 2
    return Ratio(
        statistics.median(above) / statistics.median(below),
        percentile(drawn, outside),
        percentile(drawn, 1 - outside),
    )


def spread(samples: Sequence[float], unit: str = "") -> str:
    """Return the median, least and greatest of the samples, and how many there are, as text."""
    if not samples:
        return "no samples"
    median, least, greatest = (f"{value:.4g}" for value in _three(samples))
    return f"{median}{unit and ' '}{unit} ({least} to {greatest}, n={len(samples)})"


def _three(samples: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(samples), min(samples), max(samples)
