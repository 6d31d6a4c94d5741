"""PostgreSQL plans: EXPLAIN (ANALYZE, BUFFERS) of the statements that the code really runs."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections
from django.db.backends.postgresql.psycopg_any import mogrify
from django.db.models import QuerySet

from config.explain.plan import Node, Plan, Store

_CONDITIONS: Final = (
    *("Index Cond", "Recheck Cond", "Filter", "Sort Key", "Presorted Key"),
    *("Hash Cond", "Join Filter", "Group Key", "Sort Method"),
)
# These read all of their input before the first row, so a LIMIT above does not stop it early.
_READS_ALL: Final = ("Sort", "Aggregate", "Hash", "Bitmap Heap Scan", "Materialize", "Gather Merge")


@dataclass(frozen=True)
class SqlStatement:
    """One SELECT with its parameters, as Django sends it."""

    sql: str
    params: tuple[Any, ...] = ()
    using: str = "default"

    @property
    def store(self) -> Store:
        return "postgres"

    @property
    def text(self) -> str:
        connection = connections[self.using]
        connection.ensure_connection()
        return str(mogrify(self.sql, self.params, connection))

    def explain(self) -> Plan:
        """Run it under EXPLAIN (ANALYZE, BUFFERS). ANALYZE executes: any write takes effect."""
        return parse_plan(self._explained("ANALYZE, BUFFERS, "), self.text)

    def planned_indexes(self) -> frozenset[str]:
        """Return the indexes that the planner would use, without running anything."""
        return frozenset(_index_names(self._explained()["Plan"]))

    def execute(self) -> int:
        with connections[self.using].cursor() as cursor:
            cursor.execute(self.sql, self.params)
            return len(cursor.fetchall())

    def _explained(self, options: str = "") -> dict[str, Any]:
        with connections[self.using].cursor() as cursor:
            cursor.execute(f"EXPLAIN ({options}FORMAT JSON) {self.sql}", self.params)
            output = cursor.fetchone()[0]
        [explained] = json.loads(output) if isinstance(output, str) else output
        return dict(explained)


def compile_queryset(rows: QuerySet[Any, Any]) -> SqlStatement:
    """Return the SELECT of a query set. Raises EmptyResultSet if Django would send none."""
    sql, params = rows.query.get_compiler(using=rows.db).as_sql()
    return SqlStatement(sql, tuple(params), rows.db)


def capture_selects(call: Callable[[], object], *, using: str = "default") -> list[SqlStatement]:
    """Make a call; return the SELECT statements that it sends, in order."""
    sent: list[SqlStatement] = []

    def record(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Mapping[str, Any]
    ) -> Any:
        if sql.lstrip().upper().startswith("SELECT"):
            sent.append(SqlStatement(sql, tuple(params or ()), using))
        return execute(sql, params, many, context)

    with connections[using].execute_wrapper(record):
        call()
    return sent


def parse_plan(explained: dict[str, Any], statement: str) -> Plan:
    """Return the plan in one element of the output of EXPLAIN (ANALYZE, FORMAT JSON)."""
    root = _node(explained["Plan"])
    scans = [
        node
        for node in root.walk()
        if node.kind.endswith("Scan") and node.kind != "Bitmap Index Scan"
    ]
    return Plan(
        store="postgres",
        statement=statement,
        root=root,
        rows_returned=root.rows,
        rows_examined=sum(node.rows + node.rows_removed for node in scans),
        rows_fetched=sum(node.rows_fetched for node in scans),
        execution_ms=explained["Execution Time"],
        planning_ms=explained["Planning Time"],
    )


def _node(step: dict[str, Any], *, cut: bool = False) -> Node:
    below = step["Node Type"] == "Limit" or (cut and step["Node Type"] not in _READS_ALL)
    children = tuple(_node(child, cut=below) for child in step.get("Plans", ()))
    loops = int(step["Actual Loops"])
    total_ms = step["Actual Total Time"] * loops
    rows = round(step["Actual Rows"] * loops)
    removed = sum(
        step.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck", "Join Filter")
    )
    index_only = step["Node Type"] == "Index Only Scan"
    return Node(
        kind=step["Node Type"],
        index=step.get("Index Name"),
        table=step.get("Relation Name"),
        condition="; ".join(
            f"{name}: {_joined(step[name])}" for name in _CONDITIONS if name in step
        ),
        rows=rows,
        rows_estimated=step["Plan Rows"] * max(loops, 1),
        rows_removed=removed * loops,
        rows_fetched=step["Heap Fetches"] if index_only else rows + removed * loops,
        is_cut=cut,
        loops=loops,
        total_ms=total_ms,
        own_ms=max(0.0, total_ms - sum(child.total_ms for child in children)),
        blocks_hit=step.get("Shared Hit Blocks"),
        blocks_read=step.get("Shared Read Blocks"),
        blocks_temporary=step.get("Temp Written Blocks"),
        children=children,
    )


def _index_names(step: dict[str, Any]) -> Iterator[str]:
    if "Index Name" in step:
        yield step["Index Name"]
    for child in step.get("Plans", ()):
        yield from _index_names(child)


def _joined(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)
