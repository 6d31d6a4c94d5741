"""Comparisons: OFFSET or keyset pagination by depth, kinds of index, random_page_cost."""

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
from config.explain.timing import kib, measure, ms
from notes import selectors
from notes.models import Note
from notes.paging import DEFAULT_LIMIT, CursorQuery, PageQuery

COMPOSITE: Final = "idx_notes_user_created"
_DEPTHS: Final = (
    *(1, 5, 25, 50, 100, 150, 200, 300, 400, 500, 750),
    *(1000, 1500, 2000, 3000, 5000, 7000),
)
_PAGE_COSTS: Final = (4.0, 2.0, 1.1)  # the default is for hard disks; 1.1 is usual for SSDs


@contextmanager
def planning_with(**parameters: object) -> Iterator[None]:
    """Set parameters of PostgreSQL's planner for the block only."""
    with transaction.atomic():
        try:
            for name, value in parameters.items():
                sandbox.execute(f"SET LOCAL {name} = {value}")
            yield
        finally:
            transaction.set_rollback(True)


def offset_or_cursor(sample: NotesSample, *, runs: int) -> Curve:
    """Return the time of a page of the heaviest user's list by depth, by OFFSET and by cursor."""
    notes = Note.objects.filter(user_id=sample.heavy_user).count()
    last = samples.deepest_page(notes, most=_DEPTHS[-1])
    pages = [page for page in _DEPTHS if page < last] + [last]
    by_number: list[Point] = []
    forced: list[Point] = []
    by_cursor: list[Point] = []
    for page in pages:
        depth = (page - 1) * DEFAULT_LIMIT
        at = samples.note_position(sample.heavy_user, depth)
        by_number.append(_point(depth, _page(sample, page), runs))
        with planning_with(enable_bitmapscan="off", enable_seqscan="off"):
            forced.append(_point(depth, _page(sample, page), runs))
        keyset = compile_queryset(
            selectors.cursor_rows(CursorQuery(user_id=sample.heavy_user, position=at))
        )
        by_cursor.append(_point(depth, keyset, runs))
    chart = LineChart(
        title="A page of the heaviest user's list, by depth",
        x=Axis(label="notes skipped"),
        y=Axis(label="ms (median, least to most)", log=True),
        lines=(
            Line(name="OFFSET, as planned", points=tuple(by_number)),
            Line(name="OFFSET, forced to walk an index", points=tuple(forced)),
            Line(name="cursor", points=tuple(by_cursor)),
        ),
    )
    return Curve(
        chart=chart, remarks=[_depth_remark(by_number, by_cursor), _planner_choice(sample, last)]
    )


def _planner_choice(sample: NotesSample, last: int) -> str:
    """Return up to which page of the heaviest user's list the planner uses the composite index."""

    def is_used(page: int) -> bool:
        return COMPOSITE in _page(sample, page).planned_indexes()

    if not is_used(1):
        return (
            f"The planner does not use {COMPOSITE} even for the first page of this user, who owns "
            f"such a large share of the {sample.rows} notes that another plan looks cheaper."
        )
    if is_used(last):
        return f"The planner uses {COMPOSITE} down to the last page, {last}."
    uses, does_not = 1, last
    while does_not - uses > 1:
        middle = (uses + does_not) // 2
        uses, does_not = (middle, does_not) if is_used(middle) else (uses, middle)
    instead = ", ".join(sorted(_page(sample, does_not).planned_indexes())) or "no index"
    return (
        f"With {sample.rows} notes the planner uses {COMPOSITE} as far as page {uses}. From page "
        f"{does_not} on it reads all of the user's notes by {instead} instead, and sorts them."
    )


def page_costs(queries: list[Query], *, runs: int) -> Comparison:
    """Return the indexes and the time of each PostgreSQL query, by random_page_cost."""
    rows: list[tuple[Cell, ...]] = []
    changed = []
    for query in queries:
        if not isinstance(query.statement, SqlStatement):
            continue
        row: list[Cell] = [query.name]
        used = set()
        for cost in _PAGE_COSTS:
            with planning_with(random_page_cost=cost):
                measurement = measure(query.statement, runs=runs)
            indexes = ", ".join(sorted(measurement.plan.indexes)) or "none"
            used.add(indexes)
            row += [indexes, ms(measurement.timing.median_ms)]
        rows.append(tuple(row))
        if len(used) > 1:
            changed.append(query.name)
    columns = tuple(part for cost in _PAGE_COSTS for part in (f"at {cost:g}", "takes"))
    remark = (
        f"It changes the plan of {', '.join(changed)}."
        if changed
        else "At this size it changes no plan."
    )
    return Comparison(
        title="random_page_cost: the assumed cost of reading a page out of order",
        columns=("query", *columns),
        rows=rows,
        remarks=[
            remark,
            "Of two plans, the faster one fits this machine and its cache.",
        ],
    )


def btree_or_hash(sample: NotesSample, *, runs: int) -> Comparison:
    """Compare a B-tree and a hash index on user_id, built in turn on the real table."""
    count = SqlStatement("SELECT count(*) FROM notes WHERE user_id = %s", (sample.usual_user,))
    rows: list[tuple[Cell, ...]] = []
    for kind in ("btree", "hash"):
        with sandbox.rolled_back():
            sandbox.drop_indexes(["idx_notes_user_id", COMPOSITE])
            built_ms = _built(f"CREATE INDEX explain_kind ON notes USING {kind} (user_id)")
            size = sandbox.size_bytes("explain_kind")
            equal, page = measure(count, runs=runs), measure(_user_page(sample), runs=runs)
        used = "yes" if "explain_kind" in equal.plan.indexes else "no"
        rows.append((kind, kib(size), ms(built_ms), equal.timing.text, used, page.timing.text))
    return Comparison(
        title="B-tree or hash on user_id, alone",
        columns=("kind", "size", "built in", "count of a user", "uses it", "page of a user"),
        rows=rows,
        remarks=[
            "A hash index only serves =: no order, no prefix of several columns, no uniqueness, and "
            "no index-only scan. A B-tree stores each user once with a list of rows "
            "(deduplication), so many equal keys do not make it large."
        ],
    )


def partial_or_whole(sample: NotesSample, *, runs: int) -> Comparison:
    """Compare a partial index with a full one, for a list of edited notes."""
    rows_of = Note.objects.filter(version__gt=1).order_by("-updated_at")[:DEFAULT_LIMIT]
    statement = compile_queryset(rows_of)
    rows: list[tuple[Cell, ...]] = [
        ("none", kib(0), "", measure(statement, runs=runs).timing.text, "")
    ]
    for name, ending in (("whole", ""), ("partial", " WHERE version > 1")):
        with sandbox.rolled_back():
            built_ms = _built(f"CREATE INDEX explain_part ON notes (updated_at DESC){ending}")
            size = sandbox.size_bytes("explain_part")
            measurement = measure(statement, runs=runs)
        used = "yes" if "explain_part" in measurement.plan.indexes else "no"
        rows.append((name, kib(size), ms(built_ms), measurement.timing.text, used))
    edited = Note.objects.filter(version__gt=1).count()
    return Comparison(
        title="A partial index for the notes edited last (version > 1)",
        columns=("index", "size", "built in", "20 notes", "uses it"),
        rows=rows,
        remarks=[
            f"{edited} of {sample.rows} notes were edited. A partial index is smaller in the same "
            "proportion, and a note that was never edited costs it nothing; a query must repeat "
            "its condition."
        ],
    )


def _page(sample: NotesSample, page: int) -> SqlStatement:
    return compile_queryset(selectors.page_rows(PageQuery(user_id=sample.heavy_user, page=page)))


def _user_page(sample: NotesSample) -> SqlStatement:
    return compile_queryset(selectors.page_rows(PageQuery(user_id=sample.usual_user)))


def _point(depth: int, statement: SqlStatement, runs: int) -> Point:
    timing = measure(statement, runs=runs).timing
    return Point(x=depth, y=timing.median_ms, low=timing.least_ms, high=timing.most_ms)


def _built(statement: str) -> float:
    started = time.perf_counter()
    sandbox.execute(statement)
    return (time.perf_counter() - started) * 1000


def _depth_remark(by_number: list[Point], by_cursor: list[Point]) -> str:
    first, last = by_number[0], by_number[-1]
    return (
        f"Behind {last.x:.0f} notes a page takes {ms(last.y)} by OFFSET and "
        f"{ms(by_cursor[-1].y)} by cursor; on the first page {ms(first.y)} and "
        f"{ms(by_cursor[0].y)}."
    )
