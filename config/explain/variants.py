"""
Other indexes, and a cursor instead of OFFSET, tried on a query: for the report and for the lab.

The caller passes statements and what builds an index, so a trial depends on no table and no client.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from config.explain.plan import Plan


class Explains(Protocol):
    """A statement that can be run under EXPLAIN."""

    def explain(self) -> Plan: ...


@dataclass(frozen=True, kw_only=True)
class IndexVariant:
    """An index that was tried, and the plans of each statement by its name."""

    name: str
    size_bytes: int = 0
    built_ms: float = 0.0
    plans: Mapping[str, list[Plan]]


@dataclass(frozen=True, kw_only=True)
class PageAtDepth:
    """A page behind `depth` rows, by OFFSET and by cursor: the plans of each."""

    depth: int
    by_offset: list[Plan]
    by_cursor: list[Plan]


# Creates an index for the block by what follows CREATE INDEX ... ON the table; yields its size in
# bytes and the milliseconds that building it took.
Build = Callable[[str], AbstractContextManager[tuple[int, float]]]


QUERY: Final = "query"  # the name of a statement that is the only one


def explain_runs(statement: Explains, *, runs: int) -> list[Plan]:
    """Run a statement once to warm up, then `runs` times; return the plans of those."""
    return [statement.explain() for _ in range(runs + 1)][1:]


def try_index(
    name: str, definition: str, statements: Mapping[str, Explains], *, build: Build, runs: int
) -> IndexVariant:
    """Run each statement with an index."""
    with build(definition) as (size_bytes, built_ms):
        plans = {key: explain_runs(statement, runs=runs) for key, statement in statements.items()}
    return IndexVariant(name=name, size_bytes=size_bytes, built_ms=built_ms, plans=plans)


def btree_or_hash(
    column: str, statements: Mapping[str, Explains], *, build: Build, runs: int
) -> list[IndexVariant]:
    """Run each statement with a B-tree on a column, then with a hash index."""
    return [
        try_index(kind, f"USING {kind} ({column})", statements, build=build, runs=runs)
        for kind in ("btree", "hash")
    ]


def partial_or_whole(
    key: str, condition: str, statement: Explains, *, build: Build, runs: int
) -> list[IndexVariant]:
    """Run a statement with no index, with one on all rows, and with one on those that match."""
    statements = {QUERY: statement}
    return [
        IndexVariant(name="none", plans={QUERY: explain_runs(statement, runs=runs)}),
        try_index("whole", f"({key})", statements, build=build, runs=runs),
        try_index("partial", f"({key}) WHERE {condition}", statements, build=build, runs=runs),
    ]


def pages_by_depth(
    depths: Iterable[int],
    by_offset: Callable[[int], Explains],
    by_cursor: Callable[[int], Explains],
    *,
    runs: int,
) -> Iterator[PageAtDepth]:
    """Run the statements of the page behind each number of rows."""
    for depth in depths:
        yield PageAtDepth(
            depth=depth,
            by_offset=explain_runs(by_offset(depth), runs=runs),
            by_cursor=explain_runs(by_cursor(depth), runs=runs),
        )


def last_page_served(is_served: Callable[[int], bool], last: int) -> int:
    """Return up to which page, at most `last`, the planner uses an index; 0 if for none."""
    if is_served(last):
        return last
    served, not_served = 0, last
    while not_served - served > 1:
        middle = (served + not_served) // 2
        served, not_served = (middle, not_served) if is_served(middle) else (served, middle)
    return served
