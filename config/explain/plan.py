"""An executed query plan in one shape for both databases: a tree of nodes with what each read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

Store = Literal["postgres", "mongodb"]

_FULL_SCANS: Final = ("Seq Scan", "COLLSCAN")
_SORTS: Final = ("Sort", "SORT")
# A smaller error does not change a plan. Below _FEW_ROWS rows, neither does a factor of ten.
MISESTIMATED_FACTOR: Final = 10
_FEW_ROWS: Final = 100


@dataclass(frozen=True, kw_only=True)
class Node:
    """
    One node of a plan, summed over all its loops.

    Times are in milliseconds, blocks are PostgreSQL's 8 kB pages. None means that the database
    does not report the value.
    """

    kind: str
    index: str | None = None
    table: str | None = None
    condition: str = ""
    rows: int = 0
    rows_estimated: int | None = None
    rows_removed: int = 0
    rows_fetched: int = 0  # from the table itself, not from an index
    is_cut: bool = False  # a LIMIT above stopped it early, which its row estimate ignores
    loops: int = 1
    total_ms: float = 0.0
    own_ms: float = 0.0
    blocks_hit: int | None = None
    blocks_read: int | None = None
    blocks_temporary: int | None = None
    children: tuple["Node", ...] = ()

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all its descendants, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def is_full_scan(self) -> bool:
        return self.kind in _FULL_SCANS

    @property
    def misestimate(self) -> float | None:
        """The factor by which the row estimate was wrong; None if it does not matter."""
        if self.rows_estimated is None or max(self.rows, self.rows_estimated) < _FEW_ROWS:
            return None
        more, fewer = max(self.rows, self.rows_estimated), min(self.rows, self.rows_estimated)
        if self.is_cut and fewer == self.rows:
            return None
        factor = more / max(fewer, 1)
        return factor if factor >= MISESTIMATED_FACTOR else None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a statement was executed. rows_examined counts rows that scans read, returned or not."""

    store: Store
    statement: str
    root: Node
    rows_returned: int
    rows_examined: int
    rows_fetched: int
    execution_ms: float
    planning_ms: float | None = None

    @property
    def indexes(self) -> frozenset[str]:
        return frozenset(node.index for node in self.root.walk() if node.index is not None)

    @property
    def has_full_scan(self) -> bool:
        return any(node.is_full_scan for node in self.root.walk())

    @property
    def sorts(self) -> bool:
        """Whether rows are sorted. PostgreSQL's Incremental Sort, which only sorts ties, does not count."""
        return any(node.kind in _SORTS for node in self.root.walk())

    def as_text(self) -> str:
        """Return a line with the totals, then the tree with one line per node."""
        head = (
            f"{self.rows_returned} rows returned, {self.rows_examined} examined, "
            f"{self.rows_fetched} fetched from the table, {self.execution_ms:.3f} ms"
        )
        return "\n".join([head, *_lines(self.root, 0)])


class Statement(Protocol):
    """A query that can be run and explained."""

    @property
    def store(self) -> Store: ...

    @property
    def text(self) -> str:
        """The statement as sent to the database, with its values."""

    def explain(self) -> Plan:
        """Run it; return its plan."""

    def execute(self) -> int:
        """Run it; return the number of rows."""


def _lines(node: Node, depth: int) -> Iterator[str]:
    parts = [node.kind]
    if node.index:
        parts.append(f"using {node.index}")
    if node.table:
        parts.append(f"on {node.table}")
    expected = "" if node.rows_estimated is None else f" of {node.rows_estimated} expected"
    parts.append(f"({node.rows} rows{expected}, {node.total_ms:.3f} ms)")
    yield "  " * depth + " ".join(parts)
    if node.condition:
        yield "  " * (depth + 1) + node.condition
    if node.rows_removed:
        yield "  " * (depth + 1) + f"{node.rows_removed} rows removed"
    for child in node.children:
        yield from _lines(child, depth + 1)
