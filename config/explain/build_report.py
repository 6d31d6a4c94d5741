"""Taking a report: what is measured, in which order, and what is said about it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from django.db import connection
from django.utils import timezone
from mongoengine.connection import get_db

from config.explain import catalogue, comparisons, indexes, samples, sandbox
from config.explain.advice import advice
from config.explain.catalogue import Query
from config.explain.indexes import Index
from config.explain.mongo_plans import Aggregate, Find
from config.explain.postgres_plans import SqlStatement
from config.explain.report import (
    Comparison,
    Cost,
    Curve,
    IndexPart,
    QueryPart,
    Report,
    Served,
    Surroundings,
)
from config.explain.timing import Measurement, Timing, measure

TABLES: Final = ("notes", "user_profiles")
COLLECTIONS: Final = ("user_profiles", "activity_logs")
_INSERTED: Final = 2_000
_ROUNDS: Final = 5
_QUICKER: Final = 0.9
_MANY_PER_ROW: Final = 20  # rows touched for one that is returned

Tell = Callable[[str], None]


class NoSuchQuery(Exception):
    """The catalogue has no query of that name."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to report on: these queries, or all for none; with_trials drops indexes in between."""

    queries: Sequence[str] = ()
    runs: int = 5
    with_trials: bool = False
    command: str = ""


def take(wanted: Wanted, *, tell: Tell) -> Report:
    """
    Measure, and return the report; tell hears what is at hand.

    Raises NoSuchQuery, NothingThere, TrialsRefused, and what the drivers raise.
    """
    if wanted.with_trials:
        sandbox.refuse_unless_allowed()
        for name in COLLECTIONS:
            sandbox.show_hidden(get_db()[name])
    facts = [*indexes.of_tables(TABLES), *_of_collections()]  # before our own runs count as uses
    queries = _chosen(wanted.queries)
    now = {}
    for query in queries:
        tell(f"measuring {query.name}")
        now[query.name] = measure(query.statement, runs=wanted.runs)
    without = _without_indexes(queries, facts, wanted, tell)
    parts = [_query_part(query, now[query.name], without.get(query.name)) for query in queries]
    used = {name for found in now.values() for name in found.plan.indexes}
    kept = [one for one in facts if not wanted.queries or one.name in used]
    return Report(
        surroundings=_surroundings(wanted),
        queries=parts,
        indexes=_index_parts(kept, queries, now, wanted, tell),
        curves=[] if wanted.queries else _curves(wanted, tell),
        comparisons=[] if wanted.queries else _comparisons(queries, wanted, tell),
    )


def findings(found: Measurement) -> list[str]:
    """Return what there is to notice about a plan."""
    plan, told = found.plan, []
    if plan.has_full_scan:
        told.append("reads a whole table")
    if not plan.indexes:
        told.append("uses no index")
    if plan.rows_examined > _MANY_PER_ROW * max(plan.rows_returned, 1):
        told.append(f"touches {plan.rows_examined} rows to return {plan.rows_returned}")
    if plan.root.blocks_temporary:
        told.append(f"writes {plan.root.blocks_temporary} blocks to disk: work_mem is too small")
    told += [
        f"{node.kind}: {node.rows_estimated} rows expected, {node.rows} came"
        for node in plan.root.walk()
        if node.misestimate is not None
    ]
    return told


def _compared(now: Measurement, without: Measurement | None) -> list[str]:
    if without is None or without.timing.median_ms > _QUICKER * now.timing.median_ms:
        return []
    if without.plan.indexes == now.plan.indexes:
        return []
    return ["is no slower without indexes at this size"]


def _chosen(names: Sequence[str]) -> list[Query]:
    queries = catalogue.all_queries()
    known = {query.name: query for query in queries}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise NoSuchQuery(f"no query {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else queries


def _of_collections() -> list[Index]:
    return [one for name in COLLECTIONS for one in indexes.of_collection(get_db()[name])]


def _query_part(query: Query, now: Measurement, without: Measurement | None) -> QueryPart:
    return QueryPart(
        name=query.name,
        asks=query.asks,
        serves=query.serves,
        now=now,
        without_indexes=without,
        findings=[*findings(now), *_compared(now, without)],
    )


def _without_indexes(
    queries: Sequence[Query], facts: Sequence[Index], wanted: Wanted, tell: Tell
) -> dict[str, Measurement]:
    """Return each query with no index but those of constraints; MongoDB needs no trial for that."""
    found = {}
    for query in queries:
        if isinstance(query.statement, (Find, Aggregate)):
            tell(f"measuring {query.name} without an index")
            found[query.name] = measure(query.statement.without_index(), runs=wanted.runs)
    if wanted.with_trials:
        asked = [query for query in queries if isinstance(query.statement, SqlStatement)]
        with sandbox.rolled_back():
            sandbox.drop([one.name for one in _droppable(facts)])
            for query in asked:
                tell(f"measuring {query.name} without indexes")
                found[query.name] = measure(query.statement, runs=wanted.runs)
    return found


def _droppable(facts: Sequence[Index]) -> list[Index]:
    return [one for one in facts if one.store == "postgres" and not one.is_unique]


def absent(index: Index) -> AbstractContextManager[None]:
    """Return a block in which the planner does not see an index."""
    if index.store == "mongodb":
        return sandbox.hidden(get_db()[index.table], index.name)
    return _dropped(index)


@contextmanager
def _dropped(index: Index) -> Iterator[None]:
    with sandbox.rolled_back():
        sandbox.drop([index.name])
        yield


def _index_parts(
    facts: Sequence[Index],
    queries: Sequence[Query],
    now: dict[str, Measurement],
    wanted: Wanted,
    tell: Tell,
) -> list[IndexPart]:
    found = costs(facts, tell) if wanted.with_trials else {}
    parts = []
    for one in facts:
        is_tried = wanted.with_trials and not one.is_unique
        asked = [query for query in queries if one.name in now[query.name].plan.indexes]
        asked = [query for query in asked if query.statement.store == one.store]
        served = _served(one, asked, now, wanted, tell) if is_tried else []
        served = served or [Served(query=query.name, with_it=now[query.name]) for query in asked]
        cost = found.get(one.name)
        parts.append(
            IndexPart(
                index=one,
                served=served,
                advice=advice(one, served, cost),
                cost=cost,
                rebuilt_bytes=_rebuilt(one) if is_tried else None,
            )
        )
    return parts


def _served(
    index: Index, asked: Sequence[Query], now: dict[str, Measurement], wanted: Wanted, tell: Tell
) -> list[Served]:
    """Return the queries that use an index, measured without it."""
    if not asked:
        return []
    served = []
    with absent(index):
        for query in asked:
            tell(f"measuring {query.name} without {index.name}")
            without = measure(query.statement, runs=wanted.runs)
            served.append(Served(query=query.name, with_it=now[query.name], without=without))
    return served


def _rebuilt(index: Index) -> int | None:
    return sandbox.rebuilt_bytes(index.name) if index.store == "postgres" else None


def costs(facts: Sequence[Index], tell: Tell) -> dict[str, Cost]:
    """
    Return what each index adds to inserting into a copy of its table or collection, by its name.

    Those that hold a constraint are left out. Raises TrialsRefused, and what the drivers raise.
    """
    found = {}
    for table in TABLES:
        of_table = [one for one in facts if one.store == "postgres" and one.table == table]
        if not _droppable(of_table):
            continue
        tell(f"inserting {_INSERTED} rows into a copy of {table}, with and without each index")
        times = sandbox.insert_times(table, of_table, rows=_INSERTED, rounds=_ROUNDS)
        for one in _droppable(of_table):
            found[one.name] = cost_of(times[None], times[one.name], rows=_INSERTED)
    for one in facts:
        if one.store == "mongodb" and not one.is_unique:
            found[one.name] = cost_in_mongodb(one.table, one.name, one.keys, tell)
    return found


def cost_in_mongodb(collection: str, name: str, keys: sandbox.Keys, tell: Tell) -> Cost:
    """Return what an index of MongoDB, there or not, adds to inserting into a copy."""
    tell(f"inserting {_INSERTED} documents into a copy of {collection}, with and without {name}")
    times = sandbox.inserting(get_db()[collection], name, keys, rows=_INSERTED, rounds=_ROUNDS)
    return cost_of(*times, rows=_INSERTED)


def cost_of(with_it: Timing, without: Timing, *, rows: int) -> Cost:
    """Return the cost of so many inserts by what they took with an index and without it."""
    noise = max(one.median_ms - one.least_ms for one in (with_it, without))
    return Cost(
        rows=rows,
        with_ms=with_it.median_ms,
        without_ms=without.median_ms,
        noise_ms=noise,
    )


def _curves(wanted: Wanted, tell: Tell) -> list[Curve]:
    tell("measuring OFFSET against the cursor by depth")
    return [comparisons.offset_or_cursor(samples.notes(), runs=wanted.runs)]


def _comparisons(queries: Sequence[Query], wanted: Wanted, tell: Tell) -> list[Comparison]:
    tell("measuring by random_page_cost")
    found = [comparisons.page_costs(list(queries), runs=wanted.runs)]
    if wanted.with_trials:
        has = samples.notes()
        tell("measuring a hash index and a partial one")
        found.append(comparisons.btree_or_hash(has, runs=wanted.runs))
        found.append(comparisons.partial_or_whole(has, runs=wanted.runs))
    return found


def _surroundings(wanted: Wanted) -> Surroundings:
    rows = {}
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = str(cursor.fetchone()[0]).split()[0]
        for table in TABLES:
            cursor.execute(f"SELECT count(*) FROM {sandbox.quoted(table)}")  # noqa: S608
            rows[f"{table} (PostgreSQL)"] = int(cursor.fetchone()[0])
    for name in COLLECTIONS:
        rows[f"{name} (MongoDB)"] = get_db()[name].estimated_document_count()
    return Surroundings(
        taken_at=timezone.now().isoformat(timespec="seconds"),
        command=wanted.command,
        postgres=version,
        mongodb=str(get_db().client.server_info()["version"]),
        runs=wanted.runs,
        rows=rows,
    )
