"""The commands that really ran on MongoDB: those that its profiler has kept in system.profile."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mongoengine.connection import get_db

from config.advisor.workload import Ran
from config.explain.mongo_plans import Aggregate, Find
from config.explain.plan import Statement
from config.observability import statements

NOTHING: Final = 0
EVERYTHING: Final = 2
_READ_MAX: Final = 20_000
_SETS_MAX: Final = 3  # of values, of commands of one shape
_EXPLAINED: Final = "explain_"  # collections of ours begin so
_WRITES: Final = ("insert", "update", "remove")

Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """What a command looks for in a collection: by find, or as a pipeline."""

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
class Profiled:
    """The lookups of one shape: as many as values are wanted of, and how often all of them ran."""

    ran: Ran
    lookups: Sequence[Lookup]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What the profiler has kept of some collections, the most expensive first."""

    profiled: list[Profiled]
    left_out: int  # commands that were too long to be kept whole, or that look for nothing
    writes: dict[str, int]  # by collection


def read(collections: Sequence[str]) -> Profile:
    """Return what ran. Raises PyMongoError."""
    database = get_db()
    wanted = {"ns": {"$in": [f"{database.name}.{name}" for name in collections]}}
    shapes: dict[str, list[tuple[Lookup, float]]] = defaultdict(list)
    writes: dict[str, int] = defaultdict(int)
    left_out = 0
    for told in database["system.profile"].find(wanted).sort("$natural", -1).limit(_READ_MAX):
        collection = told["ns"].split(".", 1)[1]
        if told["op"] in _WRITES:
            writes[collection] += 1
        found = lookup(collection, told)
        if found is not None:
            shapes[_shape(found)].append((found, float(told.get("millis", 0))))
        elif told["op"] not in ("insert", "getmore"):
            left_out += 1
    profiled = [_profiled(shape, same) for shape, same in shapes.items()]
    profiled.sort(key=lambda one: one.ran.total_ms, reverse=True)
    return Profile(profiled=profiled, left_out=left_out, writes=dict(writes))


def lookup(collection: str, told: Document) -> Lookup | None:
    """Return what a command of system.profile looks for; None where that is not known."""
    command = told.get("command", {})
    if "$truncated" in command or "explain" in command or told["op"] == "getmore":
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
    Have the profiler keep NOTHING or EVERYTHING for the block.

    Then it is as it was before, however the block ends.
    """
    database = get_db()
    before = database.command("profile", -1)
    database.command("profile", level)
    try:
        yield
    finally:
        database.command("profile", before["was"], slowms=before["slowms"])


def wait(seconds: float) -> None:
    """Wait; Ctrl-C ends it."""
    threading.Event().wait(seconds)


def _of_pipeline(
    collection: str, pipeline: Sequence[Document], collation: Document | None
) -> Lookup | None:
    """Return the condition and the order with which a pipeline begins."""
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


def _shape(found: Lookup) -> str:
    command: dict[str, Any] = {"aggregate": found.collection, "pipeline": found.pipeline}
    if found.pipeline is None:
        command = {"find": found.collection, "filter": found.match, "sort": found.sort}
    return statements.command_shape({name: told for name, told in command.items() if told})


def _profiled(shape: str, same: Sequence[tuple[Lookup, float]]) -> Profiled:
    # From the quickest to the slowest, so that who has much and who has little both count.
    by_time = [found for found, _ in sorted(same, key=lambda one: one[1])]
    count = min(_SETS_MAX, len(by_time))
    spread = [by_time[len(by_time) * (2 * number + 1) // (2 * count)] for number in range(count)]
    ran = Ran(
        statement=shape,
        fingerprint=statements.fingerprint("mongodb", shape),
        endpoints=(),
        calls=len(same),
        total_ms=sum(millis for _, millis in same),
    )
    return Profiled(ran=ran, lookups=spread)
