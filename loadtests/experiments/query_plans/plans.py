"""EXPLAIN as plain values: what a statement read, by which index, and for how long."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from config.stack.process import StackError

Connection = psycopg.Connection[tuple[Any, ...]]
Statement = sql.SQL | sql.Composed


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    One statement as it was run once.

    scanned: rows of tables that its scans touched, kept or not. ms: PostgreSQL's own clock.
    """

    scans: tuple[str, ...]  # Seq Scan, Index Scan, Bitmap Heap Scan, ...
    indexes: tuple[str, ...]
    scanned: int
    returned: int
    ms: float

    @property
    def way(self) -> str:
        """How it got at its rows, such as Bitmap Heap Scan by idx_notes_user_id."""
        by = f" by {', '.join(self.indexes)}" if self.indexes else ""
        return ", ".join(self.scans) + by


def explain(
    connection: Connection, statement: Statement, params: Sequence[Any] = (), *, runs: int = 1
) -> list[Plan]:
    """Run a statement so many times under EXPLAIN (ANALYZE, BUFFERS)."""
    asked = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {}").format(statement)
    return [parse(one(connection, asked, params)[0]) for _ in range(runs)]


def one(
    connection: Connection, statement: Statement, params: Sequence[Any] = ()
) -> tuple[Any, ...]:
    """Return the only row of a statement. Raises StackError where there is none."""
    row = connection.execute(statement, params).fetchone()
    if row is None:
        raise StackError(f"no row: {statement.as_string(connection)}")
    return row


def median_ms(plans: Sequence[Plan]) -> float:
    """Return the median time of the runs of a statement, in milliseconds."""
    return statistics.median(plan.ms for plan in plans)


def parse(told: Sequence[Mapping[str, Any]]) -> Plan:
    """Return the plan that EXPLAIN told as JSON."""
    root = told[0]["Plan"]
    nodes = list(_walk(root))
    scans = [node for node in nodes if "Relation Name" in node]
    return Plan(
        scans=tuple(dict.fromkeys(node["Node Type"] for node in scans)),
        indexes=tuple(dict.fromkeys(n["Index Name"] for n in nodes if "Index Name" in n)),
        scanned=round(sum(_touched(node) for node in scans)),
        returned=round(root["Actual Rows"]),
        ms=told[0]["Execution Time"],
    )


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)


def _touched(scan: Mapping[str, Any]) -> float:
    """Return the rows of a scan over all its loops; EXPLAIN tells the average of one."""
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    rows = scan["Actual Rows"] + sum(scan.get(name, 0) for name in removed)
    return float(rows * scan["Actual Loops"])
