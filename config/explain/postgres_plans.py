"""PostgreSQL's plans: EXPLAIN (ANALYZE, BUFFERS) of the statements that the code really runs."""

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
# What these return first depends on all of their input, so a LIMIT above does not cut that short.
_READS_ALL: Final = ("Sort", "Aggregate", "Hash", "Bitmap Heap Scan", "Materialize", "Gather Merge")


@dataclass(frozen=True)
class Sql:
    """One SELECT with its parameters, as Django would send it."""

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
        """Run it under EXPLAIN (ANALYZE, BUFFERS); whatever it changes is changed."""
        with connections[self.using].cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {self.sql}", self.params)
            told = cursor.fetchone()[0]
        [explained] = json.loads(told) if isinstance(told, str) else told
        return plan_of(explained, self.text)

    def planned_indexes(self) -> frozenset[str]:
        """Return the indexes that the planner would use, without running anything."""
        with connections[self.using].cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {self.sql}", self.params)
            told = cursor.fetchone()[0]
        [explained] = json.loads(told) if isinstance(told, str) else told
        return frozenset(_index_names(explained["Plan"]))

    def execute(self) -> int:
        with connections[self.using].cursor() as cursor:
            cursor.execute(self.sql, self.params)
            return len(cursor.fetchall())


def of_queryset(rows: QuerySet[Any, Any]) -> Sql:
    """Return the statement of a query set. Raises EmptyResultSet where Django would ask nothing."""
    sql, params = rows.query.get_compiler(using=rows.db).as_sql()
    return Sql(sql, tuple(params), rows.db)


def of_call(call: Callable[[], object], *, using: str = "default") -> list[Sql]:
    """Return the SELECT statements that a call sends, in their order, by calling it."""
    sent: list[Sql] = []

    def note(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Mapping[str, Any]
    ) -> Any:
        if sql.lstrip().upper().startswith("SELECT"):
            sent.append(Sql(sql, tuple(params or ()), using))
        return execute(sql, params, many, context)

    with connections[using].execute_wrapper(note):
        call()
    return sent


def plan_of(explained: dict[str, Any], statement: str) -> Plan:
    """Return the plan that EXPLAIN (ANALYZE, FORMAT JSON) tells of."""
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


def _node(told: dict[str, Any], *, cut: bool = False) -> Node:
    below = told["Node Type"] == "Limit" or (cut and told["Node Type"] not in _READS_ALL)
    children = tuple(_node(child, cut=below) for child in told.get("Plans", ()))
    loops = int(told["Actual Loops"])
    total_ms = told["Actual Total Time"] * loops
    rows = round(told["Actual Rows"] * loops)
    removed = sum(
        told.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck", "Join Filter")
    )
    index_only = told["Node Type"] == "Index Only Scan"
    return Node(
        kind=told["Node Type"],
        index=told.get("Index Name"),
        table=told.get("Relation Name"),
        condition="; ".join(
            f"{name}: {_joined(told[name])}" for name in _CONDITIONS if name in told
        ),
        rows=rows,
        rows_estimated=told["Plan Rows"] * max(loops, 1),
        rows_removed=removed * loops,
        rows_fetched=told["Heap Fetches"] if index_only else rows + removed * loops,
        is_cut=cut,
        loops=loops,
        total_ms=total_ms,
        own_ms=max(0.0, total_ms - sum(child.total_ms for child in children)),
        blocks_hit=told.get("Shared Hit Blocks"),
        blocks_read=told.get("Shared Read Blocks"),
        blocks_temporary=told.get("Temp Written Blocks"),
        children=children,
    )


def _index_names(told: dict[str, Any]) -> Iterator[str]:
    if "Index Name" in told:
        yield told["Index Name"]
    for child in told.get("Plans", ()):
        yield from _index_names(child)


def _joined(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)
