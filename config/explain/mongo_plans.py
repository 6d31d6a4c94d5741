"""MongoDB plans: explain with execution statistics, of a find or a pipeline."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pymongo
from pymongo.collection import Collection
from pymongo.synchronous.cursor import Cursor

from config.explain.plan import Node, Plan, Store

Explained = dict[str, Any]
_INPUTS: Final = ("inputStage", "outerStage", "innerStage", "thenStage", "elseStage")
# Enough for millions of documents without an index. The site itself gives up earlier.
_LONGEST_SECONDS: Final = 120
_NATURAL: Final = {"$natural": 1}


@dataclass(frozen=True)
class Find:
    """A find. make returns a new cursor for each run, since a cursor runs only once."""

    make: Callable[[], Cursor[Any]]
    whole: bool = False  # force a collection scan, as if there were no index

    @property
    def store(self) -> Store:
        return "mongodb"

    @property
    def text(self) -> str:
        cursor = self._cursor()
        arguments = {"filter": cursor._spec, "sort": cursor._ordering, "limit": cursor._limit}
        arguments = {name: value for name, value in arguments.items() if value}
        return f"{cursor.collection.name}.find({_json(arguments)})"

    def explain(self) -> Plan:
        with pymongo.timeout(_LONGEST_SECONDS):
            return parse_plan(self._cursor().explain(), self.text)

    def execute(self) -> int:
        with pymongo.timeout(_LONGEST_SECONDS):
            return sum(1 for _ in self._cursor())

    def without_index(self) -> "Find":
        """Return the same statement, forced to scan the collection."""
        return Find(self.make, whole=True)

    def _cursor(self) -> Cursor[Any]:
        cursor = self.make()
        return cursor.hint(list(_NATURAL.items())) if self.whole else cursor


@dataclass(frozen=True)
class Aggregate:
    """A pipeline over a collection."""

    collection: Collection[Any]
    pipeline: list[dict[str, Any]]
    whole: bool = False

    @property
    def store(self) -> Store:
        return "mongodb"

    @property
    def text(self) -> str:
        return f"{self.collection.name}.aggregate({_json(self.pipeline)})"

    def explain(self) -> Plan:
        command: Explained = {
            "aggregate": self.collection.name,
            "pipeline": self.pipeline,
            "cursor": {},
            **({"hint": _NATURAL} if self.whole else {}),
        }
        database = self.collection.database
        with pymongo.timeout(_LONGEST_SECONDS):
            explained = database.command("explain", command, verbosity="executionStats")
        return parse_plan(explained, self.text)

    def execute(self) -> int:
        hint: dict[str, Any] = {"hint": _NATURAL} if self.whole else {}
        with pymongo.timeout(_LONGEST_SECONDS):
            return sum(1 for _ in self.collection.aggregate(self.pipeline, **hint))

    def without_index(self) -> "Aggregate":
        """Return the same statement, forced to scan the collection."""
        return Aggregate(self.collection, self.pipeline, whole=True)


def parse_plan(explained: Explained, statement: str) -> Plan:
    """Return the plan in the output of explain with execution statistics."""
    later = explained.get("stages", [])
    first = later[0]["$cursor"] if later else explained
    stats = first["executionStats"]
    root = _first(first)
    for stage in later[1:]:
        root = _later(stage, root)
    return Plan(
        store="mongodb",
        statement=statement,
        root=root,
        rows_returned=root.rows,
        rows_examined=max(stats["totalDocsExamined"], stats["totalKeysExamined"]),
        rows_fetched=stats["totalDocsExamined"],
        execution_ms=max(float(stats["executionTimeMillis"]), root.total_ms),
    )


def _first(explained: Explained) -> Node:
    """Return the planned stages as a tree, from either of MongoDB's two engines."""
    ran = explained["executionStats"]["executionStages"]
    winner = explained["queryPlanner"]["winningPlan"]
    if "queryPlan" not in winner:
        return _stage(ran, {})
    # The slot-based engine runs other stages than it plans; planNodeId links each to its origin.
    outermost: dict[int, Explained] = {}
    for stage in _walk(ran):
        outermost.setdefault(stage.get("planNodeId", -1), stage)
    return _stage(winner["queryPlan"], outermost)


def _walk(stage: Explained) -> Iterator[Explained]:
    yield stage
    for child in _inputs(stage):
        yield from _walk(child)


def _inputs(stage: Explained) -> list[Explained]:
    return [*(stage[name] for name in _INPUTS if name in stage), *stage.get("inputStages", [])]


def _stage(stage: Explained, outermost: dict[int, Explained]) -> Node:
    ran = outermost.get(stage.get("planNodeId", -1), {}) if outermost else stage
    children = tuple(_stage(child, outermost) for child in _inputs(stage))
    rows, total_ms = int(ran.get("nReturned", 0)), float(ran.get("executionTimeMillisEstimate", 0))
    condition = stage.get("indexBounds") or stage.get("filter") or stage.get("sortPattern")
    read = sum(child.rows for child in children)
    return Node(
        kind=stage["stage"],
        index=stage.get("indexName"),
        condition=_json(condition) if condition else "",
        rows=rows,
        rows_removed=max(0, read - rows) if stage.get("filter") and children else 0,
        rows_fetched=int(stage.get("docsExamined", 0)),
        total_ms=total_ms,
        own_ms=max(0.0, total_ms - sum(child.total_ms for child in children)),
        children=children,
    )


def _later(stage: Explained, below: Node) -> Node:
    """Return the node of a pipeline stage, which reads what the node below it returned."""
    [kind] = [name for name in stage if name.startswith("$")]
    total_ms = float(stage.get("executionTimeMillisEstimate", below.total_ms))
    return Node(
        kind=kind,
        condition=_json(stage[kind]),
        rows=int(stage.get("nReturned", below.rows)),
        total_ms=total_ms,
        own_ms=max(0.0, total_ms - below.total_ms),
        children=(below,),
    )


def _json(value: object) -> str:
    return json.dumps(value, default=str)
