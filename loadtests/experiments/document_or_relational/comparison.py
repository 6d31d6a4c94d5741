"""Figures of one operation in both stores, and where one store overtakes the other."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from loadtests.lab.experiment import Series
from loadtests.stats import Ratio, ratio_of_medians


@dataclass(frozen=True)
class Pair:
    """One operation in both stores: milliseconds per operation, by round, and bytes logged per operation."""

    name: str
    mongo_ms: tuple[float, ...]
    postgres_ms: tuple[float, ...]
    mongo_bytes: float = 0.0
    postgres_bytes: float = 0.0

    @cached_property
    def ratio(self) -> Ratio:
        """PostgreSQL's time to MongoDB's: above 1 where MongoDB is faster."""
        return ratio_of_medians(self.postgres_ms, self.mongo_ms)

    @property
    def text(self) -> str:
        """Medians, ratio and n in words."""
        ratio = self.ratio
        return (
            f"MongoDB {statistics.median(self.mongo_ms):.3g} ms, PostgreSQL "
            f"{statistics.median(self.postgres_ms):.3g} ms; ratio {ratio.value:.2f} "
            f"[{ratio.low:.2f}, {ratio.high:.2f}], {len(self.mongo_ms)} rounds"
        )

    def series(self) -> tuple[Series, Series]:
        """Return the raw values, one for each round."""
        return (
            Series(name=f"{self.name}, MongoDB", arm="mongo", unit="ms", values=self.mongo_ms),
            Series(
                name=f"{self.name}, PostgreSQL",
                arm="postgres",
                unit="ms",
                values=self.postgres_ms,
            ),
        )


@dataclass(frozen=True)
class AddedField:
    """Adding a field to every document: how long it took, the bytes written, and the growth on disk."""

    documents: int
    pair: Pair
    mongo_grew: int
    postgres_grew: int
    column_ms: float
    column_bytes: int
    column_rows: int
    by_default: tuple[int, int]  # documents that show the field without having it, of each store


def crossover(sizes: Sequence[int], ratios: Sequence[float]) -> float | None:
    """
    Return the size in bytes at which MongoDB begins to be faster, interpolated on log scales.

    None if it is faster nowhere; the smallest size if it is faster everywhere. The last crossing
    counts, since below it the two change places by noise alone.
    """
    if ratios[-1] <= 1:
        return None
    for at in range(len(sizes) - 1, 0, -1):
        if ratios[at - 1] <= 1:
            share = math.log(1 / ratios[at - 1]) / math.log(ratios[at] / ratios[at - 1])
            return math.exp(math.log(sizes[at - 1]) + share * math.log(sizes[at] / sizes[at - 1]))
    return float(sizes[0])
