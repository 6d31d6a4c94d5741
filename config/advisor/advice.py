"""What the advisor has to say: indexes to make, those that would not pay, those to be rid of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from config.advisor.selection import Gain
from config.explain.plan import Store
from config.explain.report import Cost


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """An index to make; line is how the model or the document would declare it."""

    store: Store
    table: str
    name: str
    text: str
    line: str
    gains: Sequence[Gain]
    size_bytes: int
    cost: Cost | None = None
    makes_redundant: Sequence[str] = ()

    @property
    def saved_ms(self) -> float:
        return sum(gain.saved_ms for gain in self.gains)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An index that is not proposed, or a statement of which nothing was made, and why."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Flagged:
    """An index that is there, and that nothing may need."""

    store: Store
    table: str
    name: str
    kind: Literal["redundant", "unused"]
    size_bytes: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Advice:
    """All that is said of one store, and on what it rests."""

    store: Store
    source: str
    statements: int
    threshold: str
    proposals: Sequence[Proposal]
    refused: Sequence[Refused]
    left_out: Sequence[Refused]
    flagged: Sequence[Flagged]
