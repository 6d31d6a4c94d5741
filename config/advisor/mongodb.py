"""The advice for MongoDB: each index is built, measured and dropped."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final

from mongoengine.connection import get_db
from pymongo.collection import Collection

from config.advisor import mongodb_candidates, mongodb_profiler
from config.advisor.advice import Advice, Proposal, Rejection, flag_unneeded, summarize, weigh_cost
from config.advisor.measurement import Benchmark, OnProgress
from config.advisor.mongodb_candidates import MongoCandidate
from config.advisor.mongodb_profiler import ProfiledWorkload
from config.advisor.selection import (
    Baseline,
    ReplayQuery,
    Trial,
    describe_threshold,
    select_candidates,
)
from config.explain import build_report, indexes, sandbox

# Times are the client's, so smaller differences are noise.
WORTH_MS: Final = 0.2
_NO_CONDITION: Final = "too long for the profiler to keep whole, or without an initial condition"


def advise(*, limit: int, runs: int, on_progress: OnProgress) -> Advice:
    """
    Return the advice for the `limit` lookups that took longest in total.

    Raises DdlNotAllowed, and what the driver raises.
    """
    sandbox.refuse_unless_allowed()
    for name in build_report.COLLECTIONS:
        sandbox.unhide_indexes(get_db()[name])
        sandbox.drop_leftovers(get_db()[name])
    workload = mongodb_profiler.load_workload(build_report.COLLECTIONS)
    existing = [
        index
        for name in build_report.COLLECTIONS
        for index in indexes.of_collection(_collection(name))
    ]
    queries = [
        ReplayQuery(
            stats=query.stats,
            statements=[lookup.statement for lookup in query.lookups],
            tables=frozenset({query.lookups[0].collection}),
        )
        for query in workload.queries[:limit]
    ]
    candidates, refused = _new_candidates(workload, limit)
    with mongodb_profiler.at_level(mongodb_profiler.NOTHING):  # do not profile our own commands
        benchmark = Benchmark(queries, runs, on_progress)
        flagged = list(flag_unneeded(existing, benchmark, counted_since="MongoDB began to count"))
        chosen, others = _select(candidates, benchmark)
        weighed = [_weigh(trial, workload, on_progress) for trial in chosen]
    left_out = (
        [Rejection(what=f"{workload.left_out} commands", why=_NO_CONDITION)]
        if workload.left_out
        else []
    )
    return summarize(
        weighed,
        others,
        refused,
        store="mongodb",
        source="system.profile",
        statements=len(queries),
        threshold=describe_threshold(WORTH_MS),
        left_out=left_out,
        flagged=flagged,
    )


def _collection(name: str) -> Collection[Any]:
    collection: Collection[Any] = get_db()[name]
    return collection


def _new_candidates(
    workload: ProfiledWorkload, limit: int
) -> tuple[list[MongoCandidate], list[Rejection]]:
    """Return the candidates that do not exist yet, and which index serves each of the others."""
    by_keys = {
        (candidate.collection, candidate.keys, candidate.collation): candidate
        for query in workload.queries[:limit]
        for lookup in query.lookups
        for candidate in mongodb_candidates.candidates_for(lookup)
    }
    known = {name: _collection(name).index_information() for name in build_report.COLLECTIONS}
    candidates, refused = [], []
    for candidate in by_keys.values():
        serving = mongodb_candidates.find_serving_index(candidate, known[candidate.collection])
        if serving is None:
            candidates.append(candidate)
        else:
            refused.append(
                Rejection(what=candidate.text, why=f"{serving} is there, and does the same")
            )
    return candidates, refused


def _select(
    candidates: Sequence[MongoCandidate], benchmark: Benchmark
) -> tuple[list[Trial[MongoCandidate]], list[Trial[MongoCandidate]]]:
    with ExitStack() as kept_indexes:  # until all trials are through
        return select_candidates(
            candidates,
            dict(benchmark.before),
            attempt=lambda candidate, before: _attempt(candidate, before, benchmark),
            keep=lambda trial: kept_indexes.enter_context(_temporary_index(trial.candidate)),
            worth_ms=WORTH_MS,
        )


def _attempt(
    candidate: MongoCandidate, before: Baseline, benchmark: Benchmark
) -> Trial[MongoCandidate]:
    """Create an index, measure the queries that use it, and drop it."""
    benchmark.on_progress(f"trying {candidate.text}")
    collection = _collection(candidate.collection)
    with _temporary_index(candidate) as name:
        gains = benchmark.gains(candidate.collection, name, before)
        [stats] = collection.aggregate([{"$collStats": {"storageStats": {}}}])
        return Trial(
            candidate=candidate,
            gains=gains,
            keys=len(candidate.keys),
            size_bytes=int(stats["storageStats"]["indexSizes"][name]),
        )


def _temporary_index(candidate: MongoCandidate) -> AbstractContextManager[str]:
    collection = _collection(candidate.collection)
    # Its name does not tell the two directions of a key apart, and one may be kept while the other is tried.
    name = "_".join([candidate.name, *(str(side) for _, side in candidate.keys)])
    return sandbox.temporary_index(collection, name, candidate.keys, **candidate.options)


def _weigh(
    trial: Trial[MongoCandidate], workload: ProfiledWorkload, on_progress: OnProgress
) -> Proposal | Rejection:
    candidate = trial.candidate
    cost = build_report.measure_mongodb_insert_cost(
        candidate.collection, candidate.name, candidate.keys, on_progress
    )
    return weigh_cost(
        trial,
        cost,
        workload.writes.get(candidate.collection, 0),
        store="mongodb",
        table=candidate.collection,
        line=candidate.line,
    )
