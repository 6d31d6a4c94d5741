"""The contents of a report in any format: plain values, ready for JSON."""

from dataclasses import dataclass, field

from config.charts import LineChart
from config.explain.indexes import Index
from config.explain.timing import Measurement, ms

Cell = str | float | int | None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """When, where and how the figures were measured; rows by table or collection."""

    measured_at: str
    command: str
    postgres: str
    mongodb: str
    runs: int
    rows: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class QuerySection:
    """A query as it runs now and, if measured, without all indexes except those of constraints."""

    name: str
    asks: str
    serves: tuple[str, ...]
    now: Measurement
    without_indexes: Measurement | None = None
    findings: list[str] = field(default_factory=list)

    @property
    def factor(self) -> float | None:
        """How many times as long it takes without indexes."""
        return None if self.without_indexes is None else _factor(self.now, self.without_indexes)


@dataclass(frozen=True, kw_only=True)
class ServedQuery:
    """A query that an index serves, with the index and, if measured, without it."""

    query: str
    with_it: Measurement
    without: Measurement | None = None

    @property
    def factor(self) -> float | None:
        """How many times as long it takes without this index."""
        return None if self.without is None else _factor(self.with_it, self.without)

    @property
    def added_ms(self) -> float:
        """How much longer it takes without this index; 0 if that was not measured."""
        without = self.with_it if self.without is None else self.without
        return without.timing.median_ms - self.with_it.timing.median_ms


@dataclass(frozen=True, kw_only=True)
class InsertCost:
    """What an index adds to inserting this many rows."""

    rows: int
    with_ms: float
    without_ms: float
    noise_ms: float  # the distance of the median from the minimum

    @property
    def row_ms(self) -> float:
        """What it adds per row; 0 if that is within the noise."""
        added = self.with_ms - self.without_ms
        return added / self.rows if added > self.noise_ms else 0.0

    @property
    def text(self) -> str:
        added = self.with_ms - self.without_ms
        if added <= self.noise_ms:
            return f"nothing measurable above {ms(self.noise_ms)} of noise (inserting {self.rows} rows)"
        share = 100 * added / self.without_ms
        return f"{share:.0f} % more time for inserting {self.rows} rows ({ms(added)})"


@dataclass(frozen=True, kw_only=True)
class IndexSection:
    """An index: what it serves, what it costs, and what to do about it."""

    index: Index
    served: list[ServedQuery]
    advice: str
    cost: InsertCost | None = None
    rebuilt_bytes: int | None = None

    @property
    def bloat_percent(self) -> float | None:
        """The share of its size that a rebuild would free."""
        if self.rebuilt_bytes is None or not self.index.size_bytes:
            return None
        return max(0.0, 100 * (1 - self.rebuilt_bytes / self.index.size_bytes))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A chart, and what it shows as text."""

    chart: LineChart
    remarks: list[str]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A table of alternatives, and what it shows as text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    remarks: list[str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The whole report."""

    environment: Environment
    queries: list[QuerySection]
    indexes: list[IndexSection]
    curves: list[Curve]
    comparisons: list[Comparison]


def _factor(now: Measurement, without: Measurement) -> float:
    return without.timing.median_ms / max(now.timing.median_ms, 0.001)
