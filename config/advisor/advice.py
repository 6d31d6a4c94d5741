"""The result of the advisor: indexes to create, rejected candidates, and indexes to drop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from config.advisor.measurement import Benchmark
from config.advisor.selection import (
    Gain,
    Trial,
    describe_loss,
    rejection_reason,
    write_cost_objection,
)
from config.explain import build_report
from config.explain.indexes import Index
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


def summarize(
    weighed: Sequence[Proposal | Rejection],
    others: Sequence[Trial[Any]],
    existing: Sequence[Rejection],
    **facts: Any,
) -> Advice:
    """Return the advice: of the weighed indexes, the other trials, and the candidates that exist already."""
    return Advice(
        proposals=[entry for entry in weighed if isinstance(entry, Proposal)],
        refused=[
            *existing,
            *(
                Rejection(what=trial.candidate.text, why=rejection_reason(trial))
                for trial in others
            ),
            *(entry for entry in weighed if isinstance(entry, Rejection)),
        ],
        **facts,
    )


def weigh_cost(
    trial: Trial[Any],
    cost: InsertCost,
    writes: int,
    *,
    store: Store,
    table: str,
    line: str,
    makes_redundant: Sequence[str] = (),
) -> Proposal | Rejection:
    """Propose an index unless it costs the recorded writes more time than it saves the reads."""
    candidate = trial.candidate
    why = write_cost_objection(trial, cost, writes)
    if why is not None:
        return Rejection(what=candidate.text, why=why)
    return Proposal(
        store=store,
        table=table,
        name=candidate.name,
        text=candidate.text,
        line=line,
        gains=trial.gains,
        size_bytes=trial.size_bytes,
        cost=cost,
        makes_redundant=makes_redundant,
    )


def flag_unneeded(
    existing: Sequence[Index], benchmark: Benchmark, *, counted_since: str
) -> Iterator[FlaggedIndex]:
    """Yield indexes that are a prefix of another one, and those without a use."""
    for index in existing:
        if index.is_unique or index.expires or (index.covered_by is None and index.uses):
            continue
        gains = benchmark.without(index.table, index.name, build_report.without_index(index))
        if index.covered_by is None and gains:
            continue
        why = f"not used since {counted_since}"
        if index.covered_by is not None:
            parts = "columns" if index.store == "postgres" else "fields"
            why = f"{index.covered_by} begins with the same {parts}"
        yield FlaggedIndex(
            store=index.store,
            table=index.table,
            name=index.name,
            kind="unused" if index.covered_by is None else "redundant",
            size_bytes=index.size_bytes,
            why=f"{why}; {describe_loss(gains)}",
        )
