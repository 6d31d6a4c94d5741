"""The commands that really ran on MongoDB, from the profiler's system.profile."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mongoengine.connection import get_db

from config.advisor.workload import QueryStats
from config.explain.mongo_plans import Aggregate, Find
from config.explain.plan import Statement
from config.observability import statements

NOTHING: Final = 0
EVERYTHING: Final = 2
_READ_MAX: Final = 20_000
_SETS_MAX: Final = 3  # sets of values for the commands of one shape
_WRITES: Final = ("insert", "update", "remove")

Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """What a command reads from a collection: a find, or a pipeline."""

    collection: str
    match: Document
    sort: Document
    limit: int = 0
    collation: Document | None = None
    pipeline: Sequence[Document] | None = None

    @property
    def statement(self) -> Statement:
        collection = get_db()[self.collection]
        if self.pipeline is not None:
            return Aggregate(collection, [dict(stage) for stage in self.pipeline])
        return Find(
            lambda: collection.find(
                self.match,
                sort=list(self.sort.items()) or None,
                limit=self.limit,
                collation=self.collation,
            )
        )


@dataclass(frozen=True, kw_only=True)
class ProfiledQuery:
    """Sample lookups of one shape, and the statistics of all its commands."""

    stats: QueryStats
    lookups: Sequence[Lookup]


@dataclass(frozen=True, kw_only=True)
class ProfiledWorkload:
    """What the profiler recorded for some collections, the most expensive first."""

    queries: list[ProfiledQuery]
    left_out: int  # commands that were truncated, or that have no condition
    writes: dict[str, int]  # by collection


def load_workload(collections: Sequence[str]) -> ProfiledWorkload:
    """Return what the profiler recorded. Raises PyMongoError."""
    database = get_db()
    namespaces = {"ns": {"$in": [f"{database.name}.{name}" for name in collections]}}
    shapes: dict[str, list[tuple[Lookup, float]]] = defaultdict(list)
    writes: dict[str, int] = defaultdict(int)
    left_out = 0
    for entry in database["system.profile"].find(namespaces).sort("$natural", -1).limit(_READ_MAX):
        collection = entry["ns"].split(".", 1)[1]
        if entry["op"] in _WRITES:
            writes[collection] += 1
        parsed = parse_lookup(collection, entry)
        if parsed is not None:
            shapes[_shape(parsed)].append((parsed, float(entry.get("millis", 0))))
        elif entry["op"] not in ("insert", "getmore"):
            left_out += 1
    queries = [_profiled(shape, same) for shape, same in shapes.items()]
    queries.sort(key=lambda query: query.stats.total_ms, reverse=True)
    return ProfiledWorkload(queries=queries, left_out=left_out, writes=dict(writes))


def parse_lookup(collection: str, entry: Document) -> Lookup | None:
    """Return the lookup of an entry of system.profile; None if it has none."""
    command = entry.get("command", {})
    if "$truncated" in command or "explain" in command or entry["op"] == "getmore":
        return None
    collation = command.get("collation")
    if "aggregate" in command:
        return _of_pipeline(collection, command.get("pipeline", []), collation)
    for name in ("filter", "query", "q"):
        if name in command:
            return Lookup(
                collection=collection,
                match=command[name],
                sort=command.get("sort") or {},
                limit=int(command.get("limit", 0)) if name == "filter" else 0,
                collation=collation,
            )
    return None


@contextmanager
def at_level(level: int) -> Iterator[None]:
    """
    Have the profiler record NOTHING or EVERYTHING for the block.

    Afterwards its former level is restored, however the block ends.
    """
    database = get_db()
    before = database.command("profile", -1)
    database.command("profile", level)
    try:
        yield
    finally:
        database.command("profile", before["was"], slowms=before["slowms"])


def wait(seconds: float) -> None:
    """Wait; Ctrl-C interrupts."""
    threading.Event().wait(seconds)


def _of_pipeline(
    collection: str, pipeline: Sequence[Document], collation: Document | None
) -> Lookup | None:
    """Return the lookup with which a pipeline begins, its $match and $sort."""
    if not pipeline or "$match" not in pipeline[0] or _writes(pipeline):
        return None
    after = pipeline[1] if len(pipeline) > 1 else {}
    return Lookup(
        collection=collection,
        match=pipeline[0]["$match"],
        sort=after.get("$sort", {}),
        collation=collation,
        pipeline=pipeline,
    )


def _writes(pipeline: Sequence[Document]) -> bool:
    return any(name in stage for stage in pipeline for name in ("$out", "$merge", "$changeStream"))


def _shape(lookup: Lookup) -> str:
    command: dict[str, Any] = {"aggregate": lookup.collection, "pipeline": lookup.pipeline}
    if lookup.pipeline is None:
        command = {"find": lookup.collection, "filter": lookup.match, "sort": lookup.sort}
    return statements.command_shape({name: value for name, value in command.items() if value})


def _profiled(shape: str, same: Sequence[tuple[Lookup, float]]) -> ProfiledQuery:
    # Spread from the fastest to the slowest, to cover users with much data and with little.
    by_time = [lookup for lookup, _ in sorted(same, key=lambda timed: timed[1])]
    count = min(_SETS_MAX, len(by_time))
    spread = [by_time[len(by_time) * (2 * number + 1) // (2 * count)] for number in range(count)]
    stats = QueryStats(
        statement=shape,
        fingerprint=statements.fingerprint("mongodb", shape),
        endpoints=(),
        calls=len(same),
        total_ms=sum(millis for _, millis in same),
    )
    return ProfiledQuery(stats=stats, lookups=spread)
