"""The advice for MongoDB: each index is built, measured and dropped."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final

from mongoengine.connection import get_db
from pymongo.collection import Collection

from config.advisor import mongodb_candidates, mongodb_profiler
from config.advisor.advice import Advice, Flagged, Proposal, Refused
from config.advisor.measurement import Proving, Tell
from config.advisor.mongodb_candidates import MongoIndex
from config.advisor.mongodb_profiler import Profile
from config.advisor.selection import (
    Before,
    Query,
    Trial,
    choose,
    missed,
    threshold,
    too_costly,
    why_not,
)
from config.explain import build_report, indexes, sandbox
from config.explain.report import Cost

# The time is the client's, which is noise by so much.
WORTH_MS: Final = 0.2
_NO_CONDITION: Final = "too long to have been kept whole, or without a condition to begin with"


def advise(*, limit: int, runs: int, tell: Tell) -> Advice:
    """
    Return the advice, of the lookups that took longest in all, as many as limit.

    Raises TrialsRefused, and what the driver raises.
    """
    sandbox.refuse_unless_allowed()
    for name in build_report.COLLECTIONS:
        sandbox.show_hidden(get_db()[name])
        sandbox.drop_left(get_db()[name])
    ran = mongodb_profiler.read(build_report.COLLECTIONS)
    facts = [one for name in build_report.COLLECTIONS for one in indexes.of_collection(_of(name))]
    queries = [
        Query(
            ran=one.ran,
            statements=[found.statement for found in one.lookups],
            tables=frozenset({one.lookups[0].collection}),
        )
        for one in ran.profiled[:limit]
    ]
    wanted, refused = _wanted(ran, limit)
    with mongodb_profiler.at_level(
        mongodb_profiler.NOTHING
    ):  # our own commands are no part of what ran
        proving = Proving(queries, runs, tell)
        flagged = list(_flagged(facts, proving))
        chosen, others = _chosen(wanted, proving)
        costs = [
            build_report.cost_in_mongodb(made.collection, made.name, made.keys, tell)
            for made in (one.candidate for one in chosen)
        ]
    proposals, costly = _sorted_by_cost(chosen, costs, ran)
    unproved = [Refused(what=one.candidate.text, why=why_not(one)) for one in others]
    left_out = [Refused(what=f"{ran.left_out} commands", why=_NO_CONDITION)] if ran.left_out else []
    return Advice(
        store="mongodb",
        source="system.profile",
        statements=len(queries),
        threshold=threshold(WORTH_MS),
        proposals=proposals,
        refused=[*refused, *unproved, *costly],
        left_out=left_out,
        flagged=flagged,
    )


def _of(name: str) -> Collection[Any]:
    collection: Collection[Any] = get_db()[name]
    return collection


def _wanted(ran: Profile, limit: int) -> tuple[list[MongoIndex], list[Refused]]:
    """Return the indexes that are not there yet, and which do the work of the others."""
    found = {
        (one.collection, one.keys, one.collation): one
        for profiled in ran.profiled[:limit]
        for lookup in profiled.lookups
        for one in mongodb_candidates.for_lookup(lookup)
    }
    known = {name: _of(name).index_information() for name in build_report.COLLECTIONS}
    wanted, refused = [], []
    for one in found.values():
        serving = mongodb_candidates.served_by(one, known[one.collection])
        if serving is None:
            wanted.append(one)
        else:
            refused.append(Refused(what=one.text, why=f"{serving} is there, and does the same"))
    return wanted, refused


def _chosen(
    wanted: Sequence[MongoIndex], proving: Proving
) -> tuple[list[Trial[MongoIndex]], list[Trial[MongoIndex]]]:
    with ExitStack() as kept:  # until all trials are through
        return choose(
            wanted,
            dict(proving.before),
            attempt=lambda one, before: _attempt(one, before, proving),
            keep=lambda trial: kept.enter_context(_made(trial.candidate)),
            worth_ms=WORTH_MS,
        )


def _attempt(candidate: MongoIndex, before: Before, proving: Proving) -> Trial[MongoIndex]:
    """Make an index, measure what would use it, and drop it."""
    proving.tell(f"trying {candidate.text}")
    collection = _of(candidate.collection)
    with _made(candidate) as name:
        gains = proving.gains(candidate.collection, name, before)
        [stats] = collection.aggregate([{"$collStats": {"storageStats": {}}}])
        return Trial(
            candidate=candidate,
            gains=gains,
            keys=len(candidate.keys),
            size_bytes=int(stats["storageStats"]["indexSizes"][name]),
        )


def _made(candidate: MongoIndex) -> AbstractContextManager[str]:
    collection = _of(candidate.collection)
    return sandbox.temporary(collection, candidate.name, candidate.keys, **candidate.options)


def _sorted_by_cost(
    chosen: Sequence[Trial[MongoIndex]], costs: Sequence[Cost], ran: Profile
) -> tuple[list[Proposal], list[Refused]]:
    """Return those that save more than the writes that were seen pay for them, and the others."""
    proposals, costly = [], []
    for one, cost in zip(chosen, costs, strict=True):
        candidate = one.candidate
        why = too_costly(one, cost, ran.writes.get(candidate.collection, 0))
        if why is not None:
            costly.append(Refused(what=candidate.text, why=why))
            continue
        proposals.append(
            Proposal(
                store="mongodb",
                table=candidate.collection,
                name=candidate.name,
                text=candidate.text,
                line=candidate.line,
                gains=one.gains,
                size_bytes=one.size_bytes,
                cost=cost,
            )
        )
    return proposals, costly


def _flagged(facts: Sequence[indexes.Index], proving: Proving) -> Iterator[Flagged]:
    """Yield what begins as another index does, and what neither was used nor would be."""
    for one in facts:
        if one.is_unique or one.expires or (one.covered_by is None and one.uses):
            continue
        gains = proving.without(one.table, one.name, build_report.absent(one))
        if one.covered_by is None and gains:
            continue
        why = "not used since MongoDB began to count"
        if one.covered_by is not None:
            why = f"{one.covered_by} begins with the same fields"
        yield Flagged(
            store="mongodb",
            table=one.table,
            name=one.name,
            kind="unused" if one.covered_by is None else "redundant",
            size_bytes=one.size_bytes,
            why=f"{why}; {missed(gains)}",
        )
