"""The advice for PostgreSQL: each index is made in a transaction that is rolled back, and measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
from django.db import DatabaseError, connection, transaction

from config.advisor import migration, parameters, postgres_candidates, query_analysis, workload
from config.advisor.advice import Advice, Flagged, Proposal, Refused
from config.advisor.measurement import Proving, Tell
from config.advisor.postgres_candidates import Candidate
from config.advisor.query_analysis import Asked, NotUnderstood
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
from config.advisor.workload import Ran, Workload
from config.explain import build_report, indexes, sandbox
from config.explain.advice import WORTH_MS
from config.explain.indexes import Index
from config.explain.report import Cost

_TOO_LATE: Final = (
    "rows were changed so lately that PostgreSQL does not use it in the transaction that makes it; "
    "VACUUM the table, and ask again"
)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """The statements that can be run again, and what they ask; and those that cannot, with why."""

    queries: list[Query]
    asked: list[Asked]
    left_out: list[Refused]
    writes: dict[str, int]  # calls by table


def advise(*, limit: int, runs: int, tell: Tell) -> tuple[Advice, list[Candidate]]:
    """
    Return the advice, and the candidates that it proposes.

    Of the statements that took longest in all, as many as limit. Raises TrialsRefused, CacheDown,
    and what the driver raises.
    """
    sandbox.refuse_unless_allowed()
    ran = workload.postgres()
    facts = indexes.of_tables(build_report.TABLES)  # before our own runs count as uses
    read = _read(ran, limit)
    wanted, refused = _wanted(read)
    with sandbox.rolled_back():
        proving = Proving(read.queries, runs, tell)
        flagged = list(_flagged(facts, proving))
        chosen, others = choose(
            wanted,
            dict(proving.before),
            attempt=lambda one, before: _attempt(one, before, proving),
            keep=lambda trial: _make(trial.candidate),
            worth_ms=WORTH_MS,
        )
        costs = _costs(chosen, tell)
        redundant = _made_redundant(chosen)
    proposals, costly = _sorted_by_cost(chosen, costs, redundant, read)
    unproved = [Refused(what=one.candidate.text, why=why_not(one)) for one in others]
    advice = Advice(
        store="postgres",
        source=ran.source,
        statements=len(read.queries),
        threshold=threshold(WORTH_MS),
        proposals=proposals,
        refused=[*refused, *unproved, *costly],
        left_out=read.left_out,
        flagged=flagged,
    )
    kept = {one.name for one in proposals}
    return advice, [one.candidate for one in chosen if one.candidate.name in kept]


def _read(workload: Workload, limit: int) -> _Read:
    """Take the statements on our tables apart, and give them values."""
    rows = parameters.rows_of(build_report.TABLES)
    read = _Read(queries=[], asked=[], left_out=[], writes={})
    for one in workload.ran:
        table = query_analysis.written_table(one.statement)
        if table is not None:
            read.writes[table] = read.writes.get(table, 0) + one.calls
        elif len(read.queries) < limit and _is_ours(one):
            _read_select(one, rows, read)
    return read


def _read_select(one: Ran, rows: dict[str, list[parameters.Row]], read: _Read) -> None:
    try:
        found = query_analysis.asked(one.statement)
        tables = frozenset(need.table for need in found.needs) & set(build_report.TABLES)
        statements = parameters.filled(one.statement, found, rows)
        with transaction.atomic():
            for statement in statements:
                statement.planned_indexes()
    except NotUnderstood as exc:
        read.left_out.append(Refused(what=one.name, why=str(exc)))
        return
    except DatabaseError as exc:
        told = str(exc).splitlines()[0]
        read.left_out.append(Refused(what=one.name, why=f"PostgreSQL does not take it: {told}"))
        return
    if tables:
        read.queries.append(Query(ran=one, statements=statements, tables=tables))
        read.asked.append(found)


def _is_ours(one: Ran) -> bool:
    """Whether it reads a table of ours; the admin's and Django's own are no matter of the advice."""
    is_select = one.statement[:6].upper() == "SELECT"
    return is_select and any(table in one.statement for table in build_report.TABLES)


def _wanted(read: _Read) -> tuple[list[Candidate], list[Refused]]:
    """Return the candidates that are not there yet, and why others are none."""
    found = {
        (one.table, one.on): one
        for taken in read.asked
        for need in taken.needs
        if need.table in build_report.TABLES
        for one in postgres_candidates.for_need(need, json_columns=_json_columns(need.table))
    }
    there = {table: postgres_candidates.existing(table) for table in build_report.TABLES}
    wanted, refused = [], []
    for one in found.values():
        try:
            made = postgres_candidates.as_made(one)
        except DatabaseError as exc:
            told = str(exc).splitlines()[0]
            refused.append(Refused(what=one.text, why=f"PostgreSQL cannot make it: {told}"))
            continue
        serving = postgres_candidates.served_by(one, made, there[one.table])
        if serving is None:
            wanted.append(one)
        else:
            refused.append(Refused(what=one.text, why=f"{serving} is there, and does the same"))
    return wanted, refused


def _json_columns(table: str) -> list[str]:
    fields = migration.model_of(table)._meta.local_fields
    return [str(one.column) for one in fields if one.get_internal_type() == "JSONField"]


def _attempt(candidate: Candidate, before: Before, proving: Proving) -> Trial[Candidate]:
    """Make an index, measure what would use it, and take it back."""
    proving.tell(f"trying {candidate.text}")
    keys = len(candidate.keys)
    try:
        with sandbox.rolled_back():
            _make(candidate)
            gains = proving.gains(candidate.table, candidate.name, before)
            size = sandbox.size_bytes(candidate.name)
            obstacle = "" if gains else _obstacle(candidate.name)
    except DatabaseError as exc:
        if not isinstance(exc.__cause__, psycopg.errors.ProgramLimitExceeded):
            raise
        size, gains, obstacle = 0, [], f"PostgreSQL cannot make it: {str(exc).splitlines()[0]}"
    return Trial(candidate=candidate, gains=gains, keys=keys, size_bytes=size, obstacle=obstacle)


def _make(candidate: Candidate) -> None:
    sandbox.run(candidate.create())
    if not all(key.is_column for key in candidate.keys):
        sandbox.run(f"ANALYZE {sandbox.quoted(candidate.table)}")  # what an expression is like


def _obstacle(index: str) -> str:
    """Return why a new index cannot be used yet, where that is so."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indcheckxmin FROM pg_index WHERE indexrelid = %s::regclass",
            [sandbox.quoted(index)],
        )
        is_late = bool(cursor.fetchone()[0])
    return _TOO_LATE if is_late else ""


def _costs(chosen: Sequence[Trial[Candidate]], tell: Tell) -> dict[str, Cost]:
    tables = sorted({one.candidate.table for one in chosen})
    return build_report.costs(indexes.of_tables(tables), tell) if tables else {}


def _made_redundant(chosen: Sequence[Trial[Candidate]]) -> dict[str, list[str]]:
    """Return the indexes that each of the chosen begins with."""
    names = {one.candidate.name for one in chosen}
    found: dict[str, list[str]] = {name: [] for name in names}
    for one in indexes.of_tables(build_report.TABLES):
        if one.covered_by in names and one.name not in names:
            found[one.covered_by].append(one.name)
    return found


def _sorted_by_cost(
    chosen: Sequence[Trial[Candidate]],
    costs: dict[str, Cost],
    redundant: dict[str, list[str]],
    read: _Read,
) -> tuple[list[Proposal], list[Refused]]:
    """Return those that save more than the writes that were seen pay for them, and the others."""
    proposals, costly = [], []
    for one in chosen:
        candidate, cost = one.candidate, costs[one.candidate.name]
        why = too_costly(one, cost, read.writes.get(candidate.table, 0))
        if why is not None:
            costly.append(Refused(what=candidate.text, why=why))
            continue
        proposals.append(
            Proposal(
                store="postgres",
                table=candidate.table,
                name=candidate.name,
                text=candidate.text,
                line=migration.line_of(candidate),
                gains=one.gains,
                size_bytes=one.size_bytes,
                cost=cost,
                makes_redundant=redundant[candidate.name],
            )
        )
    return proposals, costly


def _flagged(facts: Sequence[Index], proving: Proving) -> Iterator[Flagged]:
    """Yield what begins as another index does, and what neither was used nor would be."""
    for one in facts:
        if one.is_unique or (one.covered_by is None and one.uses):
            continue
        gains = proving.without(one.table, one.name, build_report.absent(one))
        if one.covered_by is not None:
            why = f"{one.covered_by} begins with the same columns; {missed(gains)}"
            yield _flag(one, "redundant", why)
        elif not gains:
            yield _flag(one, "unused", f"not used since {_since()}, and {missed(gains)}")


def _flag(index: Index, kind: str, why: str) -> Flagged:
    return Flagged(
        store=index.store,
        table=index.table,
        name=index.name,
        kind="redundant" if kind == "redundant" else "unused",
        size_bytes=index.size_bytes,
        why=why,
    )


def _since() -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()"
        )
        found = cursor.fetchone()
    at = found[0] if found else None
    return "the statistics began" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"
