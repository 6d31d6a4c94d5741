"""By depth and by size: where the deep page gets slow, and from where its index is used."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from loadtests.experiments.query_plans import scratch, statements
from loadtests.experiments.query_plans.indexes import COMPOSITE
from loadtests.experiments.query_plans.plans import Connection, Plan, explain

_PAGES: Final = (1, 2, 5, 10, 25, 50, 100, 142, 222, 350, 500)


@dataclass(frozen=True, kw_only=True)
class AtDepth:
    """A page behind so many rows, by OFFSET and by cursor: the runs of each."""

    depth: int
    by_offset: list[Plan]
    by_cursor: list[Plan]


@dataclass(frozen=True, kw_only=True)
class AtSize:
    """The deep page in a table of so many rows: the runs of each arm."""

    rows: int
    page: int
    bare: list[Plan]
    indexed: list[Plan]

    @property
    def uses_composite(self) -> bool:
        return COMPOSITE in self.indexed[0].indexes


def by_depth(connection: Connection, page: int, *, runs: int) -> list[AtDepth]:
    """Ask for pages ever deeper, with the indexes."""
    taken = []
    for number in sorted({*(one for one in _PAGES if one < page), page}):
        depth = statements.depth_of(number)
        by_offset = explain(connection, *statements.by_offset(depth), runs=runs + 1)[1:]
        asked = statements.by_cursor(connection, depth)
        by_cursor = explain(connection, *asked, runs=runs + 1)[1:]
        taken.append(AtDepth(depth=depth, by_offset=by_offset, by_cursor=by_cursor))
    return taken


def deepest_by_composite(connection: Connection, page: int) -> int:
    """Return the last page, up to the one given, for which the planner takes the composite index."""

    def is_used(number: int) -> bool:
        asked = statements.by_offset(statements.depth_of(number))
        return COMPOSITE in explain(connection, *asked)[0].indexes

    if is_used(page):
        return page
    uses, does_not = 0, page
    while does_not - uses > 1:
        middle = (uses + does_not) // 2
        uses, does_not = (middle, does_not) if is_used(middle) else (uses, middle)
    return uses


def by_size(
    connection: Connection, sizes: tuple[int, ...], page: int, *, runs: int
) -> Iterator[AtSize]:
    """Let the copy grow, and ask for a deep page, without and with the seed's indexes of rows."""
    for rows in sizes:
        scratch.grow(connection, rows)
        there = statements.last_page(statements.count(connection, table=scratch.TABLE))
        page_there = min(page, there)
        asked = statements.by_offset(statements.depth_of(page_there), table=scratch.TABLE)
        bare = explain(connection, *asked, runs=runs + 1)[1:]
        with scratch.like_the_notes(connection, titles=False):
            indexed = explain(connection, *asked, runs=runs + 1)[1:]
        yield AtSize(rows=rows, page=page_there, bare=bare, indexed=indexed)
