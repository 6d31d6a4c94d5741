"""The advice for PostgreSQL: each index is built and measured in a transaction that is rolled back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
from django.db import DatabaseError, connection, transaction

from config.advisor import migration, parameters, postgres_candidates, query_analysis, workload
from config.advisor.advice import Advice, Rejection, flag_unneeded, summarize, weigh_cost
from config.advisor.measurement import Benchmark, OnProgress
from config.advisor.postgres_candidates import Candidate
from config.advisor.query_analysis import QueryAnalysis, UnsupportedStatement
from config.advisor.selection import (
    Baseline,
    ReplayQuery,
    Trial,
    describe_threshold,
    select_candidates,
)
from config.advisor.workload import QueryStats, Workload
from config.explain import build_report, indexes, sandbox
from config.explain.advice import WORTH_MS
from config.explain.report import InsertCost

_TOO_LATE: Final = (
    "rows changed so recently that PostgreSQL cannot use the index in the transaction that builds "
    "it; VACUUM the table and run this again"
)


@dataclass(frozen=True, kw_only=True)
class _ReplayableWorkload:
    """The queries that can be replayed, with their analyses; and those that cannot, with the reason."""

    queries: list[ReplayQuery]
    analyses: list[QueryAnalysis]
    left_out: list[Rejection]
    writes: dict[str, int]  # calls by table


def advise(*, limit: int, runs: int, on_progress: OnProgress) -> tuple[Advice, list[Candidate]]:
    """
    Return the advice for the `limit` statements that took longest in total, and its candidates.

    Raises DdlNotAllowed, CacheDown, and what the driver raises.
    """
    sandbox.refuse_unless_allowed()
    counted = workload.load_workload()
    existing = indexes.of_tables(build_report.TABLES)  # read before our own runs count as uses
    readable = _read(counted, limit)
    candidates, refused = _new_candidates(readable)
    with sandbox.rolled_back():
        benchmark = Benchmark(readable.queries, runs, on_progress)
        flagged = list(flag_unneeded(existing, benchmark, counted_since=_since()))
        chosen, others = select_candidates(
            candidates,
            dict(benchmark.before),
            attempt=lambda candidate, before: _attempt(candidate, before, benchmark),
            keep=lambda trial: _make(trial.candidate),
            worth_ms=WORTH_MS,
        )
        costs = _costs(chosen, on_progress)
        redundant = _redundant_beside(chosen)
    weighed = [
        weigh_cost(
            trial,
            costs[trial.candidate.name],
            readable.writes.get(trial.candidate.table, 0),
            store="postgres",
            table=trial.candidate.table,
            line=migration.declaration(trial.candidate),
            makes_redundant=redundant[trial.candidate.name],
        )
        for trial in chosen
    ]
    advice = summarize(
        weighed,
        others,
        refused,
        store="postgres",
        source=counted.source,
        statements=len(readable.queries),
        threshold=describe_threshold(WORTH_MS),
        left_out=readable.left_out,
        flagged=flagged,
    )
    proposed = {proposal.name for proposal in advice.proposals}
    return advice, [trial.candidate for trial in chosen if trial.candidate.name in proposed]


def _read(workload: Workload, limit: int) -> _ReplayableWorkload:
    """Analyze the statements on our tables, and bind values to their placeholders."""
    rows = parameters.sample_rows(build_report.TABLES)
    read = _ReplayableWorkload(queries=[], analyses=[], left_out=[], writes={})
    for stats in workload.queries:
        table = query_analysis.written_table(stats.statement)
        if table is not None:
            read.writes[table] = read.writes.get(table, 0) + stats.calls
        elif len(read.queries) < limit and _is_ours(stats):
            _read_select(stats, rows, read)
    return read


def _read_select(
    stats: QueryStats, rows: dict[str, list[parameters.Row]], read: _ReplayableWorkload
) -> None:
    try:
        analysis = query_analysis.analyze(stats.statement)
        tables = frozenset(need.table for need in analysis.patterns) & set(build_report.TABLES)
        statements = parameters.bind_parameters(stats.statement, analysis, rows)
        with transaction.atomic():
            for statement in statements:
                statement.planned_indexes()
    except UnsupportedStatement as exc:
        read.left_out.append(Rejection(what=stats.name, why=str(exc)))
        return
    except DatabaseError as exc:
        message = str(exc).splitlines()[0]
        read.left_out.append(Rejection(what=stats.name, why=f"PostgreSQL rejects it: {message}"))
        return
    if tables:
        read.queries.append(ReplayQuery(stats=stats, statements=statements, tables=tables))
        read.analyses.append(analysis)


def _is_ours(stats: QueryStats) -> bool:
    """Whether it reads a table of ours. Tables of Django and its admin get no advice."""
    is_select = stats.statement[:6].upper() == "SELECT"
    return is_select and any(table in stats.statement for table in build_report.TABLES)


def _new_candidates(readable: _ReplayableWorkload) -> tuple[list[Candidate], list[Rejection]]:
    """Return the candidates that do not exist yet, and why the others are rejected."""
    by_definition = {
        (candidate.table, candidate.on): candidate
        for analysis in readable.analyses
        for pattern in analysis.patterns
        if pattern.table in build_report.TABLES
        for candidate in postgres_candidates.candidates_for(
            pattern, json_columns=_json_columns(pattern.table)
        )
    }
    existing = {table: postgres_candidates.existing_indexes(table) for table in build_report.TABLES}
    candidates, refused = [], []
    for candidate in by_definition.values():
        try:
            built = postgres_candidates.build_on_empty_copy(candidate)
        except DatabaseError as exc:
            message = str(exc).splitlines()[0]
            refused.append(
                Rejection(what=candidate.text, why=f"PostgreSQL cannot make it: {message}")
            )
            continue
        serving = postgres_candidates.find_serving_index(
            candidate, built, existing[candidate.table]
        )
        if serving is None:
            candidates.append(candidate)
        else:
            refused.append(
                Rejection(what=candidate.text, why=f"{serving} is there, and does the same")
            )
    return candidates, refused


def _json_columns(table: str) -> list[str]:
    fields = migration.model_for_table(table)._meta.local_fields
    return [str(field.column) for field in fields if field.get_internal_type() == "JSONField"]


def _attempt(candidate: Candidate, before: Baseline, benchmark: Benchmark) -> Trial[Candidate]:
    """Create an index, measure the queries that use it, and roll it back."""
    benchmark.on_progress(f"trying {candidate.text}")
    keys = len(candidate.keys)
    try:
        with sandbox.rolled_back():
            _make(candidate)
            gains = benchmark.gains(candidate.table, candidate.name, before)
            size = sandbox.size_bytes(candidate.name)
            obstacle = "" if gains else _obstacle(candidate.name)
    except DatabaseError as exc:
        if not isinstance(exc.__cause__, psycopg.errors.ProgramLimitExceeded):
            raise
        size, gains, obstacle = 0, [], f"PostgreSQL cannot make it: {str(exc).splitlines()[0]}"
    return Trial(candidate=candidate, gains=gains, keys=keys, size_bytes=size, obstacle=obstacle)


def _make(candidate: Candidate) -> None:
    sandbox.execute(candidate.create())
    if not all(key.is_column for key in candidate.keys):
        sandbox.execute(
            f"ANALYZE {sandbox.quote_name(candidate.table)}"
        )  # statistics of the expression


def _obstacle(index: str) -> str:
    """Return why a new index cannot be used yet; empty if it can."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indcheckxmin FROM pg_index WHERE indexrelid = %s::regclass",
            [sandbox.quote_name(index)],
        )
        is_late = bool(cursor.fetchone()[0])
    return _TOO_LATE if is_late else ""


def _costs(chosen: Sequence[Trial[Candidate]], on_progress: OnProgress) -> dict[str, InsertCost]:
    tables = sorted({trial.candidate.table for trial in chosen})
    return (
        build_report.measure_insert_costs(indexes.of_tables(tables), on_progress) if tables else {}
    )


def _redundant_beside(chosen: Sequence[Trial[Candidate]]) -> dict[str, list[str]]:
    """Return the existing indexes that are a prefix of each chosen one."""
    names = {index.candidate.name for index in chosen}
    redundant: dict[str, list[str]] = {name: [] for name in names}
    for index in indexes.of_tables(build_report.TABLES):
        if index.covered_by in names and index.name not in names:
            redundant[index.covered_by].append(index.name)
    return redundant


def _since() -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()"
        )
        row = cursor.fetchone()
    at = row[0] if row else None
    return "the statistics began" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"
