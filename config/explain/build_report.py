"""Build a report: measure the queries and indexes, and list what is noteworthy."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone
from mongoengine.connection import get_db

from config.explain import catalogue, comparisons, indexes, samples, sandbox
from config.explain.advice import recommend
from config.explain.catalogue import Query
from config.explain.indexes import Index
from config.explain.mongo_plans import Aggregate, Find
from config.explain.postgres_plans import SqlStatement
from config.explain.report import (
    Comparison,
    Curve,
    Environment,
    IndexSection,
    InsertCost,
    QuerySection,
    Report,
    ServedQuery,
)
from config.explain.timing import Measurement, Timing, measure
from config.postgres import replica

TABLES: Final = ("notes", "user_profiles")
COLLECTIONS: Final = ("user_profiles", "activity_logs")
_INSERTED: Final = 2_000
_ROUNDS: Final = 5
_QUICKER: Final = 0.9
_MANY_PER_ROW: Final = 20  # rows examined per row returned

OnProgress = Callable[[str], None]


class UnknownQuery(Exception):
    """The catalogue has no query of that name."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What to report on: these queries, or all if empty. with_trials also measures without indexes."""

    queries: Sequence[str] = ()
    runs: int = 5
    with_trials: bool = False
    command: str = ""


def build(options: ReportOptions, *, on_progress: OnProgress) -> Report:
    """
    Measure, and return the report; on_progress is called with each step.

    Without trials, which write, plans and times are the replica's, if that is used; the uses of the
    indexes are always the primary's, since each server counts its own.
    Raises UnknownQuery, NoSampleData, DdlNotAllowed, and driver errors.
    """
    if options.with_trials:
        sandbox.refuse_unless_allowed()
        for name in COLLECTIONS:
            sandbox.unhide_indexes(get_db()[name])
    existing = [
        *indexes.of_tables(TABLES),
        *_of_collections(),
    ]  # before this run adds to their uses
    using = DEFAULT_DB_ALIAS if options.with_trials else replica.choose()
    queries = [_on(using, query) for query in _chosen(options.queries)]
    now = {}
    for query in queries:
        on_progress(f"measuring {query.name}")
        now[query.name] = measure(query.statement, runs=options.runs)
    without = _without_indexes(queries, existing, options, on_progress)
    parts = [_query_part(query, now[query.name], without.get(query.name)) for query in queries]
    used = {name for measurement in now.values() for name in measurement.plan.indexes}
    reported = [index for index in existing if not options.queries or index.name in used]
    return Report(
        environment=_environment(options, using),
        queries=parts,
        indexes=_index_parts(reported, queries, now, options, on_progress),
        curves=[] if options.queries else _curves(options, using, on_progress),
        comparisons=[] if options.queries else _comparisons(queries, options, on_progress),
    )


def findings(measurement: Measurement) -> list[str]:
    """Return what is noteworthy about a plan."""
    plan, issues = measurement.plan, []
    if plan.has_full_scan:
        issues.append("reads a whole table")
    if not plan.indexes:
        issues.append("uses no index")
    if plan.rows_examined > _MANY_PER_ROW * max(plan.rows_returned, 1):
        issues.append(f"examines {plan.rows_examined} rows to return {plan.rows_returned}")
    if plan.root.blocks_temporary:
        issues.append(f"writes {plan.root.blocks_temporary} blocks to disk: work_mem is too small")
    issues += [
        f"{node.kind}: {node.rows_estimated} rows estimated, {node.rows} returned"
        for node in plan.root.walk()
        if node.misestimate is not None
    ]
    return issues


def _compared(now: Measurement, without: Measurement | None) -> list[str]:
    if without is None or without.timing.median_ms > _QUICKER * now.timing.median_ms:
        return []
    if without.plan.indexes == now.plan.indexes:
        return []
    return ["is not slower without indexes at this size"]


def _chosen(names: Sequence[str]) -> list[Query]:
    queries = catalogue.all_queries()
    known = {query.name: query for query in queries}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownQuery(f"no query {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else queries


def _on(using: str, query: Query) -> Query:
    """Return the query with its SQL on this database."""
    if not isinstance(query.statement, SqlStatement):
        return query
    return replace(query, statement=replace(query.statement, using=using))


def _of_collections() -> list[Index]:
    return [index for name in COLLECTIONS for index in indexes.of_collection(get_db()[name])]


def _query_part(query: Query, now: Measurement, without: Measurement | None) -> QuerySection:
    return QuerySection(
        name=query.name,
        asks=query.asks,
        serves=query.serves,
        now=now,
        without_indexes=without,
        findings=[*findings(now), *_compared(now, without)],
    )


def _without_indexes(
    queries: Sequence[Query],
    existing: Sequence[Index],
    options: ReportOptions,
    on_progress: OnProgress,
) -> dict[str, Measurement]:
    """Measure each query without any index but those of constraints. MongoDB needs only a hint."""
    measurements = {}
    for query in queries:
        if isinstance(query.statement, (Find, Aggregate)):
            on_progress(f"measuring {query.name} without an index")
            measurements[query.name] = measure(query.statement.without_index(), runs=options.runs)
    if options.with_trials:
        sql_queries = [query for query in queries if isinstance(query.statement, SqlStatement)]
        with sandbox.rolled_back():
            sandbox.drop_indexes([index.name for index in _droppable(existing)])
            for query in sql_queries:
                on_progress(f"measuring {query.name} without indexes")
                measurements[query.name] = measure(query.statement, runs=options.runs)
    return measurements


def _droppable(existing: Sequence[Index]) -> list[Index]:
    return [index for index in existing if index.store == "postgres" and not index.is_unique]


def without_index(index: Index) -> AbstractContextManager[None]:
    """Return a context in which the planner does not see an index."""
    if index.store == "mongodb":
        return sandbox.hidden_index(get_db()[index.table], index.name)
    return _dropped(index)


@contextmanager
def _dropped(index: Index) -> Iterator[None]:
    with sandbox.rolled_back():
        sandbox.drop_indexes([index.name])
        yield


def _index_parts(
    existing: Sequence[Index],
    queries: Sequence[Query],
    now: dict[str, Measurement],
    options: ReportOptions,
    on_progress: OnProgress,
) -> list[IndexSection]:
    cost_by_index = measure_insert_costs(existing, on_progress) if options.with_trials else {}
    parts = []
    for index in existing:
        is_tried = options.with_trials and not index.is_unique
        queries_using = [query for query in queries if index.name in now[query.name].plan.indexes]
        queries_using = [query for query in queries_using if query.statement.store == index.store]
        served = _served(index, queries_using, now, options, on_progress) if is_tried else []
        served = served or [
            ServedQuery(query=query.name, with_it=now[query.name]) for query in queries_using
        ]
        cost = cost_by_index.get(index.name)
        parts.append(
            IndexSection(
                index=index,
                served=served,
                advice=recommend(index, served, cost),
                cost=cost,
                rebuilt_bytes=_rebuilt(index) if is_tried else None,
            )
        )
    return parts


def _served(
    index: Index,
    queries_using: Sequence[Query],
    now: dict[str, Measurement],
    options: ReportOptions,
    on_progress: OnProgress,
) -> list[ServedQuery]:
    """Measure the queries that use an index without it."""
    if not queries_using:
        return []
    served = []
    with without_index(index):
        for query in queries_using:
            on_progress(f"measuring {query.name} without {index.name}")
            without = measure(query.statement, runs=options.runs)
            served.append(ServedQuery(query=query.name, with_it=now[query.name], without=without))
    return served


def _rebuilt(index: Index) -> int | None:
    return sandbox.rebuilt_bytes(index.name) if index.store == "postgres" else None


def measure_insert_costs(
    existing: Sequence[Index], on_progress: OnProgress
) -> dict[str, InsertCost]:
    """
    Return by name what each index adds to inserts into a copy of its table or collection.

    Indexes of constraints are left out. Raises DdlNotAllowed, and driver errors.
    """
    cost_by_index = {}
    for table in TABLES:
        of_table = [
            index for index in existing if index.store == "postgres" and index.table == table
        ]
        if not _droppable(of_table):
            continue
        on_progress(
            f"inserting {_INSERTED} rows into a copy of {table}, with and without each index"
        )
        times = sandbox.time_postgres_inserts(table, of_table, rows=_INSERTED, rounds=_ROUNDS)
        for index in _droppable(of_table):
            cost_by_index[index.name] = _insert_cost(times[None], times[index.name], rows=_INSERTED)
    for index in existing:
        if index.store == "mongodb" and not index.is_unique:
            cost_by_index[index.name] = measure_mongodb_insert_cost(
                index.table, index.name, index.keys, on_progress
            )
    return cost_by_index


def measure_mongodb_insert_cost(
    collection: str, name: str, keys: sandbox.Keys, on_progress: OnProgress
) -> InsertCost:
    """Return what a MongoDB index, existing or not, adds to inserts into a copy."""
    on_progress(
        f"inserting {_INSERTED} documents into a copy of {collection}, with and without {name}"
    )
    times = sandbox.time_mongodb_inserts(
        get_db()[collection], name, keys, rows=_INSERTED, rounds=_ROUNDS
    )
    return _insert_cost(*times, rows=_INSERTED)


def _insert_cost(with_it: Timing, without: Timing, *, rows: int) -> InsertCost:
    """Return the cost of inserting this many rows, by the times with an index and without it."""
    noise = max(index.median_ms - index.least_ms for index in (with_it, without))
    return InsertCost(
        rows=rows,
        with_ms=with_it.median_ms,
        without_ms=without.median_ms,
        noise_ms=noise,
    )


def _curves(options: ReportOptions, using: str, on_progress: OnProgress) -> list[Curve]:
    on_progress("measuring OFFSET against the cursor by depth")
    sample = samples.sample_notes()
    return [comparisons.offset_or_cursor(sample, runs=options.runs, using=using)]


def _comparisons(
    queries: Sequence[Query], options: ReportOptions, on_progress: OnProgress
) -> list[Comparison]:
    on_progress("measuring by random_page_cost")
    tables = [comparisons.page_costs(list(queries), runs=options.runs)]
    if options.with_trials:
        sample = samples.sample_notes()
        on_progress("measuring a hash index and a partial one")
        tables.append(comparisons.btree_or_hash(sample, runs=options.runs))
        tables.append(comparisons.partial_or_whole(sample, runs=options.runs))
    return tables


def _environment(options: ReportOptions, using: str) -> Environment:
    rows = {}
    with connections[using].cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = str(cursor.fetchone()[0]).split()[0]
        for table in TABLES:
            cursor.execute(f"SELECT count(*) FROM {sandbox.quote_name(table)}")  # noqa: S608
            rows[f"{table} (PostgreSQL)"] = int(cursor.fetchone()[0])
    for name in COLLECTIONS:
        rows[f"{name} (MongoDB)"] = get_db()[name].estimated_document_count()
    return Environment(
        measured_at=timezone.now().isoformat(timespec="seconds"),
        command=options.command,
        postgres=version if using == DEFAULT_DB_ALIAS else f"{version} (the replica)",
        mongodb=str(get_db().client.server_info()["version"]),
        runs=options.runs,
        rows=rows,
    )
