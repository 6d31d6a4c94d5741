"""The result of the advisor: indexes to create, rejected candidates, and indexes to drop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from config.advisor.selection import Gain
from config.explain.plan import Store
from config.explain.report import InsertCost


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """An index to create; line is its declaration in the model or document."""

    store: Store
    table: str
    name: str
    text: str
    line: str
    gains: Sequence[Gain]
    size_bytes: int
    cost: InsertCost | None = None
    makes_redundant: Sequence[str] = ()

    @property
    def saved_ms(self) -> float:
        return sum(gain.saved_ms for gain in self.gains)


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An index that is not proposed, or a statement that was left out, and why."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class FlaggedIndex:
    """An existing index that may not be needed."""

    store: Store
    table: str
    name: str
    kind: Literal["redundant", "unused"]
    size_bytes: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The advice for one store, and the source of its workload."""

    store: Store
    source: str
    statements: int
    threshold: str
    proposals: Sequence[Proposal]
    refused: Sequence[Rejection]
    left_out: Sequence[Rejection]
    flagged: Sequence[FlaggedIndex]
