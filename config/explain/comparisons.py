"""The follow-up questions: OFFSET or cursor by depth, which kind of index, which page cost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import transaction

from config.charts import Axis, Line, LineChart, Point
from config.explain import samples, sandbox
from config.explain.catalogue import Query
from config.explain.postgres_plans import SqlStatement, compile_queryset
from config.explain.report import Cell, Comparison, Curve
from config.explain.samples import NotesSample
from config.explain.timing import Measurement, kib, measure, ms
from notes import selectors
from notes.models import Note
from notes.paging import DEFAULT_LIMIT, CursorQuery, PageQuery

COMPOSITE: Final = "idx_notes_user_created"
_DEPTHS: Final = (
    1,
    5,
    25,
    50,
    100,
    150,
    200,
    300,
    400,
    500,
    750,
    1000,
    1500,
    2000,
    3000,
    5000,
    7000,
)
_PAGE_COSTS: Final = (4.0, 2.0, 1.1)  # the default is for disks that turn; 1.1 is usual for SSDs


@contextmanager
def planning_with(**parameters: object) -> Iterator[None]:
    """Set parameters of PostgreSQL's planner for the block alone."""
    with transaction.atomic():
        try:
            for name, value in parameters.items():
                sandbox.run(f"SET LOCAL {name} = {value}")
            yield
        finally:
            transaction.set_rollback(True)


def offset_or_cursor(has: NotesSample, *, runs: int) -> Curve:
    """Return what a page of the heaviest user's list takes by depth, both ways."""
    notes = Note.objects.filter(user_id=has.heavy_user).count()
    last = samples.deepest_page(notes, most=_DEPTHS[-1])
    pages = [page for page in _DEPTHS if page < last] + [last]
    by_number: list[Point] = []
    forced: list[Point] = []
    by_cursor: list[Point] = []
    for page in pages:
        depth = (page - 1) * DEFAULT_LIMIT
        at = samples.note_position(has.heavy_user, depth)
        by_number.append(_point(depth, _page(has, page), runs))
        with planning_with(enable_bitmapscan="off", enable_seqscan="off"):
            forced.append(_point(depth, _page(has, page), runs))
        keyset = compile_queryset(
            selectors.cursor_rows(CursorQuery(user_id=has.heavy_user, position=at))
        )
        by_cursor.append(_point(depth, keyset, runs))
    chart = LineChart(
        title="A page of the heaviest user's list, by depth",
        x=Axis(label="notes skipped"),
        y=Axis(label="ms (median, least to most)", log=True),
        lines=(
            Line(name="OFFSET, as planned", points=tuple(by_number)),
            Line(name="OFFSET, made to use an index in its order", points=tuple(forced)),
            Line(name="cursor", points=tuple(by_cursor)),
        ),
    )
    return Curve(
        chart=chart, told=[_told_of_depth(by_number, by_cursor), composite_told(has, last)]
    )


def composite_told(has: NotesSample, last: int) -> str:
    """Return up to which page of the heaviest user's list the planner uses the composite index."""

    def is_used(page: int) -> bool:
        return COMPOSITE in _page(has, page).planned_indexes()

    if not is_used(1):
        return (
            f"The planner does not use {COMPOSITE} even for the first page of this user, who has "
            f"so large a part of the {has.rows} notes that another plan looks cheaper."
        )
    if is_used(last):
        return f"The planner uses {COMPOSITE} down to the last page, {last}."
    uses, does_not = 1, last
    while does_not - uses > 1:
        middle = (uses + does_not) // 2
        uses, does_not = (middle, does_not) if is_used(middle) else (uses, middle)
    instead = ", ".join(sorted(_page(has, does_not).planned_indexes())) or "no index"
    return (
        f"With {has.rows} notes the planner uses {COMPOSITE} as far as page {uses}. From page "
        f"{does_not} on it rather reads all of the user's notes by {instead} and sorts them."
    )


def page_costs(queries: list[Query], *, runs: int) -> Comparison:
    """Return which indexes each query of PostgreSQL uses, and its time, by random_page_cost."""
    rows: list[tuple[Cell, ...]] = []
    changed = []
    for query in queries:
        if not isinstance(query.statement, SqlStatement):
            continue
        row: list[Cell] = [query.name]
        used = set()
        for cost in _PAGE_COSTS:
            with planning_with(random_page_cost=cost):
                found = measure(query.statement, runs=runs)
            indexes = ", ".join(sorted(found.plan.indexes)) or "none"
            used.add(indexes)
            row += [indexes, ms(found.timing.median_ms)]
        rows.append(tuple(row))
        if len(used) > 1:
            changed.append(query.name)
    columns = tuple(part for cost in _PAGE_COSTS for part in (f"at {cost:g}", "takes"))
    told = (
        f"It changes the plan of {', '.join(changed)}."
        if changed
        else "At this size it changes no plan."
    )
    return Comparison(
        title="random_page_cost: what a page read out of order is said to cost",
        columns=("query", *columns),
        rows=rows,
        told=[
            told,
            "Whichever of two plans took less is the one that fits this machine and its cache.",
        ],
    )


def btree_or_hash(has: NotesSample, *, runs: int) -> Comparison:
    """Return a B-tree and a hash index on user_id, made in turn on the real table."""
    count = SqlStatement("SELECT count(*) FROM notes WHERE user_id = %s", (has.usual_user,))
    rows: list[tuple[Cell, ...]] = []
    for kind in ("btree", "hash"):
        with sandbox.rolled_back():
            sandbox.drop(["idx_notes_user_id", COMPOSITE])
            built_ms = _built(f"CREATE INDEX explain_kind ON notes USING {kind} (user_id)")
            size = sandbox.size_bytes("explain_kind")
            equal, page = measure(count, runs=runs), measure(_user_page(has), runs=runs)
        found = "yes" if "explain_kind" in equal.plan.indexes else "no"
        rows.append((kind, kib(size), ms(built_ms), _text(equal), found, _text(page)))
    return Comparison(
        title="B-tree or hash on user_id, alone",
        columns=("kind", "size", "built in", "count of a user", "uses it", "page of a user"),
        rows=rows,
        told=[
            "A hash index answers = and nothing else: no order, no prefix of more columns, no "
            "uniqueness, and never from the index alone. A B-tree keeps each user once with a "
            "list of its rows, so many equal keys do not make it large."
        ],
    )


def partial_or_whole(has: NotesSample, *, runs: int) -> Comparison:
    """Return a partial index of edited notes beside a whole one, for a list of edited notes."""
    rows_of = Note.objects.filter(version__gt=1).order_by("-updated_at")[:DEFAULT_LIMIT]
    statement = compile_queryset(rows_of)
    rows: list[tuple[Cell, ...]] = [("none", kib(0), "", _text(measure(statement, runs=runs)), "")]
    for name, ending in (("whole", ""), ("partial", " WHERE version > 1")):
        with sandbox.rolled_back():
            built_ms = _built(f"CREATE INDEX explain_part ON notes (updated_at DESC){ending}")
            size = sandbox.size_bytes("explain_part")
            found = measure(statement, runs=runs)
        used = "yes" if "explain_part" in found.plan.indexes else "no"
        rows.append((name, kib(size), ms(built_ms), _text(found), used))
    edited = Note.objects.filter(version__gt=1).count()
    return Comparison(
        title="A partial index for the notes edited last (version > 1)",
        columns=("index", "size", "built in", "20 notes", "uses it"),
        rows=rows,
        told=[
            f"{edited} of {has.rows} notes were edited. A partial index is as much smaller, and a "
            "note that was never edited costs it nothing; a query must repeat its condition."
        ],
    )


def _page(has: NotesSample, page: int) -> SqlStatement:
    return compile_queryset(selectors.page_rows(PageQuery(user_id=has.heavy_user, page=page)))


def _user_page(has: NotesSample) -> SqlStatement:
    return compile_queryset(selectors.page_rows(PageQuery(user_id=has.usual_user)))


def _point(depth: int, statement: SqlStatement, runs: int) -> Point:
    timing = measure(statement, runs=runs).timing
    return Point(x=depth, y=timing.median_ms, low=timing.least_ms, high=timing.most_ms)


def _built(statement: str) -> float:
    started = time.perf_counter()
    sandbox.run(statement)
    return (time.perf_counter() - started) * 1000


def _told_of_depth(by_number: list[Point], by_cursor: list[Point]) -> str:
    first, last = by_number[0], by_number[-1]
    return (
        f"Behind {last.x:.0f} notes a page takes {ms(last.y)} by OFFSET and "
        f"{ms(by_cursor[-1].y)} by cursor; on the first page {ms(first.y)} and "
        f"{ms(by_cursor[0].y)}."
    )


def _text(found: Measurement) -> str:
    return found.timing.text
