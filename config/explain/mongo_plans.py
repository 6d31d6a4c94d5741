"""MongoDB's plans: explain with execution statistics, of a find or of a pipeline."""

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
# Without an index, over millions of documents; the site itself waits less.
_LONGEST_SECONDS: Final = 120
_NATURAL: Final = {"$natural": 1}


@dataclass(frozen=True)
class Find:
    """A find, made anew for each run: a cursor runs once."""

    make: Callable[[], Cursor[Any]]
    whole: bool = False  # let it read the whole collection, as if there were no index

    @property
    def store(self) -> Store:
        return "mongodb"

    @property
    def text(self) -> str:
        cursor = self._cursor()
        asked = {"filter": cursor._spec, "sort": cursor._ordering, "limit": cursor._limit}
        told = {name: value for name, value in asked.items() if value}
        return f"{cursor.collection.name}.find({_json(told)})"

    def explain(self) -> Plan:
        with pymongo.timeout(_LONGEST_SECONDS):
            return plan_of(self._cursor().explain(), self.text)

    def execute(self) -> int:
        with pymongo.timeout(_LONGEST_SECONDS):
            return sum(1 for _ in self._cursor())

    def without_index(self) -> "Find":
        """Return the same, read from the collection alone."""
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
        return plan_of(explained, self.text)

    def execute(self) -> int:
        hint: dict[str, Any] = {"hint": _NATURAL} if self.whole else {}
        with pymongo.timeout(_LONGEST_SECONDS):
            return sum(1 for _ in self.collection.aggregate(self.pipeline, **hint))

    def without_index(self) -> "Aggregate":
        """Return the same, read from the collection alone."""
        return Aggregate(self.collection, self.pipeline, whole=True)


def plan_of(explained: Explained, statement: str) -> Plan:
    """Return the plan that an explanation with execution statistics tells of."""
    later = explained.get("stages", [])
    first = later[0]["$cursor"] if later else explained
    ran = first["executionStats"]
    root = _first(first)
    for stage in later[1:]:
        root = _later(stage, root)
    return Plan(
        store="mongodb",
        statement=statement,
        root=root,
        rows_returned=root.rows,
        rows_examined=max(ran["totalDocsExamined"], ran["totalKeysExamined"]),
        rows_fetched=ran["totalDocsExamined"],
        execution_ms=max(float(ran["executionTimeMillis"]), root.total_ms),
    )


def _first(told: Explained) -> Node:
    """Return what the query planner made: a tree of stages, in either of MongoDB's engines."""
    ran = told["executionStats"]["executionStages"]
    winner = told["queryPlanner"]["winningPlan"]
    if "queryPlan" not in winner:
        return _stage(ran, {})
    # The engine of slots runs other stages than it plans; each carries the number of its origin.
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


def _stage(told: Explained, outermost: dict[int, Explained]) -> Node:
    ran = outermost.get(told.get("planNodeId", -1), {}) if outermost else told
    children = tuple(_stage(child, outermost) for child in _inputs(told))
    rows, total_ms = int(ran.get("nReturned", 0)), float(ran.get("executionTimeMillisEstimate", 0))
    asked = told.get("indexBounds") or told.get("filter") or told.get("sortPattern")
    read = sum(child.rows for child in children)
    return Node(
        kind=told["stage"],
        index=told.get("indexName"),
        condition=_json(asked) if asked else "",
        rows=rows,
        rows_removed=max(0, read - rows) if told.get("filter") and children else 0,
        rows_fetched=int(told.get("docsExamined", 0)),
        total_ms=total_ms,
        own_ms=max(0.0, total_ms - sum(child.total_ms for child in children)),
        children=children,
    )


def _later(told: Explained, below: Node) -> Node:
    """Return the node of a stage that works on what the one below it returned."""
    [kind] = [name for name in told if name.startswith("$")]
    total_ms = float(told.get("executionTimeMillisEstimate", below.total_ms))
    return Node(
        kind=kind,
        condition=_json(told[kind]),
        rows=int(told.get("nReturned", below.rows)),
        total_ms=total_ms,
        own_ms=max(0.0, total_ms - below.total_ms),
        children=(below,),
    )


def _json(value: object) -> str:
    return json.dumps(value, default=str)
