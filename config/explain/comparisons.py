"""Comparisons: OFFSET or keyset pagination by depth, kinds of index, random_page_cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from django.db import DEFAULT_DB_ALIAS, transaction

from config.charts import Axis, Line, LineChart, Point
from config.explain import samples, sandbox, variants
from config.explain.catalogue import Query
from config.explain.plan import Plan
from config.explain.postgres_plans import SqlStatement, compile_queryset
from config.explain.report import Cell, Comparison, Curve
from config.explain.samples import NotesSample
from config.explain.timing import Timing, kib, measure, ms, summarize_runs
from config.explain.variants import QUERY, IndexVariant
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
def planning_with(using: str, **parameters: object) -> Iterator[None]:
    """Set parameters of PostgreSQL's planner on this database for the block only."""
    with transaction.atomic(using):
        try:
            for name, value in parameters.items():
                sandbox.execute(f"SET LOCAL {name} = {value}", using=using)
            yield
        finally:
            transaction.set_rollback(True, using)


def offset_or_cursor(sample: NotesSample, *, runs: int, using: str = DEFAULT_DB_ALIAS) -> Curve:
    """Return the time of a page of the heaviest user's list by depth, by OFFSET and by cursor."""
    notes = Note.objects.filter(user_id=sample.heavy_user).count()
    last = samples.deepest_page(notes, most=_DEPTHS[-1])
    depths = [(page - 1) * DEFAULT_LIMIT for page in (*(n for n in _DEPTHS if n < last), last)]
    by_offset = partial(_by_offset, sample, using)
    by_cursor = partial(_by_cursor, sample, using)
    pages = list(variants.pages_by_depth(depths, by_offset, by_cursor, runs=runs))
    with planning_with(using, enable_bitmapscan="off", enable_seqscan="off"):
        forced = [(depth, variants.explain_runs(by_offset(depth), runs=runs)) for depth in depths]
    offset = _line("OFFSET, as planned", [(page.depth, page.by_offset) for page in pages])
    cursor = _line("cursor", [(page.depth, page.by_cursor) for page in pages])
    chart = LineChart(
        title="A page of the heaviest user's list, by depth",
        x=Axis(label="notes skipped"),
        y=Axis(label="ms (median, least to most)", log=True),
        lines=(offset, _line("OFFSET, forced to walk an index", forced), cursor),
    )
    first, deepest = offset.points[0], offset.points[-1]
    remark = (
        f"Behind {deepest.x:.0f} notes a page takes {ms(deepest.y)} by OFFSET and "
        f"{ms(cursor.points[-1].y)} by cursor; on the first page {ms(first.y)} and "
        f"{ms(cursor.points[0].y)}."
    )
    return Curve(chart=chart, remarks=[remark, _planner_choice(sample, last, using)])


def _planner_choice(sample: NotesSample, last: int, using: str) -> str:
    """Return up to which page of the heaviest user's list the planner uses the composite index."""

    def planned(page: int) -> frozenset[str]:
        return _by_offset(sample, using, (page - 1) * DEFAULT_LIMIT).planned_indexes()

    served = variants.last_page_served(lambda page: COMPOSITE in planned(page), last)
    if served == 0:
        return (
            f"The planner does not use {COMPOSITE} even for the first page of this user, who owns "
            f"such a large share of the {sample.rows} notes that another plan looks cheaper."
        )
    if served == last:
        return f"The planner uses {COMPOSITE} down to the last page, {last}."
    instead = ", ".join(sorted(planned(served + 1))) or "no index"
    return (
        f"With {sample.rows} notes the planner uses {COMPOSITE} as far as page {served}. From page "
        f"{served + 1} on it reads all of the user's notes by {instead} instead, and sorts them."
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
            with planning_with(query.statement.using, random_page_cost=cost):
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
    statements = {
        "count": SqlStatement(
            "SELECT count(*) FROM notes WHERE user_id = %s", (sample.usual_user,)
        ),
        "page": compile_queryset(selectors.page_rows(PageQuery(user_id=sample.usual_user))),
    }
    build = partial(sandbox.built_index, "notes", instead_of=("idx_notes_user_id", COMPOSITE))
    return Comparison(
        title="B-tree or hash on user_id, alone",
        columns=("kind", "size", "built in", "count of a user", "uses it", "page of a user"),
        rows=[
            (*_index_cells(index, index.plans["count"]), _text(index.plans["page"]))
            for index in variants.btree_or_hash("user_id", statements, build=build, runs=runs)
        ],
        remarks=[
            "A hash index only serves =: no order, no prefix of several columns, no uniqueness, and "
            "no index-only scan. A B-tree stores each user once with a list of rows "
            "(deduplication), so many equal keys do not make it large."
        ],
    )


def partial_or_whole(sample: NotesSample, *, runs: int) -> Comparison:
    """Compare a partial index with a full one, for a list of edited notes."""
    edited = Note.objects.filter(version__gt=1)
    none, *built = variants.partial_or_whole(
        "updated_at DESC",
        "version > 1",
        compile_queryset(edited.order_by("-updated_at")[:DEFAULT_LIMIT]),
        build=partial(sandbox.built_index, "notes"),
        runs=runs,
    )
    return Comparison(
        title="A partial index for the notes edited last (version > 1)",
        columns=("index", "size", "built in", "20 notes", "uses it"),
        rows=[
            (none.name, kib(0), "", _text(none.plans[QUERY]), ""),
            *(_index_cells(index, index.plans[QUERY]) for index in built),
        ],
        remarks=[
            f"{edited.count()} of {sample.rows} notes were edited. A partial index is smaller in the "
            "same proportion, and a note that was never edited costs it nothing; a query must "
            "repeat its condition."
        ],
    )


def _by_offset(sample: NotesSample, using: str, depth: int) -> SqlStatement:
    query = PageQuery(user_id=sample.heavy_user, page=depth // DEFAULT_LIMIT + 1)
    return compile_queryset(selectors.page_rows(query).using(using))


def _by_cursor(sample: NotesSample, using: str, depth: int) -> SqlStatement:
    at = samples.note_position(sample.heavy_user, depth)
    query = CursorQuery(user_id=sample.heavy_user, position=at)
    return compile_queryset(selectors.cursor_rows(query).using(using))


def _timing(plans: list[Plan]) -> Timing:
    return summarize_runs([plan.execution_ms for plan in plans])


def _text(plans: list[Plan]) -> str:
    return _timing(plans).text


def _line(name: str, plans_by_depth: list[tuple[int, list[Plan]]]) -> Line:
    timings = [(depth, _timing(plans)) for depth, plans in plans_by_depth]
    points = (
        Point(x=depth, y=timing.median_ms, low=timing.least_ms, high=timing.most_ms)
        for depth, timing in timings
    )
    return Line(name=name, points=tuple(points))


def _index_cells(index: IndexVariant, plans: list[Plan]) -> tuple[Cell, ...]:
    is_used = "yes" if sandbox.BUILT_INDEX in plans[0].indexes else "no"
    return (index.name, kib(index.size_bytes), ms(index.built_ms), _text(plans), is_used)
