"""The raw values of a run as series, and what they show as charts and tables."""

import statistics
from collections.abc import Iterable, Iterator, Sequence

from config.charts import Axis, Bar, BarChart, Line, LineChart, Point
from loadtests.experiments.query_plans.arms import ARMS
from loadtests.experiments.query_plans.judging import Observed
from loadtests.experiments.query_plans.plans import Plan, median_ms
from loadtests.experiments.query_plans.statements import CURSOR, DEEP, FIRST, LIMIT
from loadtests.lab.experiment import Series, Table

_QUESTIONS = (FIRST, DEEP, CURSOR)


def series(seen: Observed) -> Iterator[Series]:
    """Yield every value that a row, a chart or a table is made of."""
    yield from _of_arms(seen)
    depths, sizes, several = seen.depths, seen.sizes, seen.variants
    for name, arm, unit, values in (
        ("rows by depth, OFFSET", "with", "rows", [one.by_offset[0].scanned for one in depths]),
        ("rows by depth, cursor", "with", "rows", [one.by_cursor[0].scanned for one in depths]),
        ("by size, without", "without", "ms", [median_ms(one.bare) for one in sizes]),
        ("by size, with", "with", "ms", [median_ms(one.indexed) for one in sizes]),
        ("index scans", "with", "scans", [sum(one.scans.values()) for one in seen.uses]),
        ("an index for each column", "with", "ms", [plan.ms for plan in several.apart]),
        ("composite index", "with", "ms", [plan.ms for plan in several.composite]),
        ("selectivity: planned", "with", "ms", [median_ms(s.planned) for s in several.selective]),
        (
            "selectivity: whole scan",
            "without",
            "ms",
            [median_ms(one.scanned_whole) for one in several.selective],
        ),
        ("kinds: =", "with", "ms", [median_ms(one.equal) for one in several.kinds]),
        ("partial index", "with", "ms", [plan.ms for plan in several.partial[-1].plans]),
        ("saved by index", "both", "ms", [one.saved_ms for one in seen.worth]),
    ):
        yield Series(name=name, arm=arm, unit=unit, values=tuple(map(float, values)))


def _of_arms(seen: Observed) -> Iterator[Series]:
    for arm in ARMS:
        deep = seen.plans(arm, DEEP)
        cpu = [one.cpu_ms for one in seen.rounds[arm]]
        for name, unit, values in (
            *((one, "ms", [plan.ms for plan in seen.plans(arm, one)]) for one in _QUESTIONS),
            ("HTTP", "ms", seen.latencies_ms(arm)),
            ("CPU", "ms", cpu),
            ("rows scanned", "rows", [float(plan.scanned) for plan in deep]),
        ):
            yield Series(name=f"{name}, {arm}", arm=arm, unit=unit, values=tuple(values))


def charts(seen: Observed) -> list[LineChart | BarChart]:
    """Return three charts: which question an index helps, by size, and by depth."""
    return [_questions(seen), _sizes(seen), _depths(seen)]


def _questions(seen: Observed) -> BarChart:
    first, deep = seen.ratio(FIRST).value, seen.ratio(DEEP).value
    return BarChart(
        title=f"Indexes make page 1 {first:.0f} times as fast, and page {seen.page} {deep:.2g} times",
        axis=Axis(label="time of the statement (ms)", log=True),
        bars=tuple(
            _bar(f"{question}, {arm} indexes", seen.plans(arm, question))
            for question in _QUESTIONS
            for arm in ARMS
        ),
    )


def _bar(name: str, plans: Sequence[Plan]) -> Bar:
    times = [plan.ms for plan in plans]
    median = statistics.median(times)
    told = f"{median:.3g} ms (n={len(times)})"
    return Bar(name=name, value=median, low=min(times), high=max(times), told=told)


def _sizes(seen: Observed) -> LineChart:
    largest = seen.sizes[-1]
    at_notes = min(seen.sizes, key=lambda one: abs(one.rows - seen.notes))
    per_row_ms = median_ms(at_notes.bare) / at_notes.rows
    to_one_second = 1000 / per_row_ms
    predicted = [*(one.rows for one in seen.sizes), to_one_second]
    return LineChart(
        title=f"Without an index page {largest.page} takes a second at about "
        f"{seen.rows_at_one_second() / 1e6:.1f} million notes",
        x=Axis(label="notes in the table", log=True),
        y=Axis(label="time of the statement (ms)", log=True),
        lines=(
            Line(
                name="without indexes, measured",
                points=tuple(_point(one.rows, one.bare) for one in seen.sizes),
            ),
            Line(
                name="without indexes, predicted (in proportion)",
                points=tuple(Point(x=rows, y=rows * per_row_ms) for rows in predicted),
                predicted=True,
            ),
            Line(
                name="with indexes, measured",
                points=tuple(_point(one.rows, one.indexed) for one in seen.sizes),
            ),
        ),
    )


def _point(x: float, plans: Sequence[Plan]) -> Point:
    times = [plan.ms for plan in plans]
    return Point(x=x, y=statistics.median(times), low=min(times), high=max(times))


def _depths(seen: Observed) -> LineChart:
    def line(name: str, rows: Iterable[float], *, predicted: bool = False) -> Line:
        points = zip((one.depth for one in seen.depths), rows, strict=True)
        return Line(
            name=name, points=tuple(Point(x=x, y=y) for x, y in points), predicted=predicted
        )

    deepest = seen.depths[-1]
    return LineChart(
        title=f"Behind {deepest.depth} notes a page by OFFSET scans {deepest.by_offset[0].scanned} "
        f"rows, by cursor {deepest.by_cursor[0].scanned}",
        x=Axis(label="notes skipped"),
        y=Axis(label="rows scanned", log=True),
        lines=(
            line("OFFSET, measured", (one.by_offset[0].scanned for one in seen.depths)),
            line(
                "OFFSET, predicted (skipped + returned)",
                (one.depth + LIMIT for one in seen.depths),
                predicted=True,
            ),
            line("cursor, measured", (one.by_cursor[0].scanned for one in seen.depths)),
            line("cursor, predicted (returned)", (LIMIT for _ in seen.depths), predicted=True),
        ),
    )


def tables(seen: Observed) -> list[Table]:
    """Return the plans, the sweeps in numbers, and what was found on each kind of index."""
    return [
        _plans(seen),
        _by_size(seen),
        _by_depth(seen),
        _kinds(seen),
        _selective(seen),
        _worth(seen),
    ]


def _plans(seen: Observed) -> Table:
    return Table(
        title=f"What EXPLAIN (ANALYZE, BUFFERS) says; the deep page is page {seen.page}",
        columns=("question", "indexes", "plan", "rows scanned", "rows returned", "ms"),
        rows=tuple(
            (
                question,
                arm,
                ", ".join(sorted({plan.way for plan in plans})),
                str(plans[0].scanned),
                str(plans[0].returned),
                f"{median_ms(plans):.3g}",
            )
            for question in _QUESTIONS
            for arm in ARMS
            if (plans := seen.plans(arm, question))
        ),
    )


def _by_size(seen: Observed) -> Table:
    return Table(
        title="The deep page by the size of the table",
        columns=("notes", "page", "without: rows", "ms", "with: plan", "rows", "ms", "faster"),
        rows=tuple(
            (
                str(one.rows),
                str(one.page),
                str(one.bare[0].scanned),
                f"{median_ms(one.bare):.3g}",
                one.indexed[0].way,
                str(one.indexed[0].scanned),
                f"{median_ms(one.indexed):.3g}",
                f"{median_ms(one.bare) / median_ms(one.indexed):.3g} x",
            )
            for one in seen.sizes
        ),
        note="On a copy of the notes, repeated where there must be more. In a small table the last "
        "page that there is.",
    )


def _by_depth(seen: Observed) -> Table:
    return Table(
        title="A page by depth, with the indexes",
        columns=(
            "notes skipped",
            "OFFSET: plan",
            "rows scanned",
            "ms",
            "cursor: rows scanned",
            "ms",
        ),
        rows=tuple(
            (
                str(one.depth),
                one.by_offset[0].way,
                str(one.by_offset[0].scanned),
                f"{median_ms(one.by_offset):.3g}",
                str(one.by_cursor[0].scanned),
                f"{median_ms(one.by_cursor):.3g}",
            )
            for one in seen.depths
        ),
    )


def _kinds(seen: Observed) -> Table:
    return Table(
        title="B-tree or hash",
        columns=("column", "kind", "KiB", "built in ms", "= ms", "> and ORDER BY", "ms"),
        rows=tuple(
            (
                one.column,
                one.kind,
                f"{one.size_bytes / 1024:.0f}",
                f"{one.built_ms:.0f}",
                f"{median_ms(one.equal):.3g}",
                one.beyond[0].way,
                f"{median_ms(one.beyond):.3g}",
            )
            for one in seen.variants.kinds
        ),
        note="A B-tree keeps equal values once with a list of their rows, a hash index each of them; "
        "user_id has few values, id has no two that are equal.",
    )


def _selective(seen: Observed) -> Table:
    return Table(
        title="Selectivity: an index on version, and which part of the notes is asked for",
        columns=("condition", "share of the notes", "plan", "ms", "ms by a whole scan"),
        rows=tuple(
            (
                one.condition,
                f"{one.share:.1%}",
                one.planned[0].way,
                f"{median_ms(one.planned):.3g}",
                f"{median_ms(one.scanned_whole):.3g}",
            )
            for one in seen.variants.selective
        ),
    )


def _worth(seen: Observed) -> Table:
    return Table(
        title="What each index takes and saves, beside the three others",
        columns=("index", "its query", "KiB", "ms without", "ms with", "ms saved per MiB"),
        rows=tuple(
            (
                one.name,
                one.query,
                f"{one.size_bytes / 1024:.0f}",
                f"{one.without_ms:.3g}",
                f"{one.with_ms:.3g}",
                f"{one.saved_ms_per_mib:.3g}",
            )
            for one in seen.worth
        ),
    )
