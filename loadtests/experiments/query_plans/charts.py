"""The raw values of a run as series, and what they show as charts and tables."""

import statistics
from collections.abc import Iterator, Sequence

from config.charts import Axis, Bar, BarChart, LineChart
from config.explain.plan import Plan
from config.explain.variants import QUERY
from loadtests.experiments.query_plans.method import ARMS, Observations
from loadtests.experiments.query_plans.queries import (
    CURSOR,
    DEEP,
    FIRST,
    LIMIT,
    access_path,
    median_ms,
)
from loadtests.experiments.query_plans.variants import EQUAL, ORDERED
from loadtests.lab.builders import line, median_bar, median_line, series
from loadtests.lab.experiment import Findings, Series, Table

_QUERIES = (FIRST, DEEP, CURSOR)


def present(observations: Observations) -> Findings:
    """Return all findings but the rows."""
    return Findings(
        series=list(_all_series(observations)),
        charts=[_pages(observations), _sizes(observations), _depths(observations)],
        tables=[
            _plans(observations),
            _by_size(observations),
            _by_depth(observations),
            _kinds(observations),
            _selective(observations),
            _worth(observations),
        ],
        remarks=_remarks(observations),
        quantities=_quantities(observations),
    )


def _all_series(observations: Observations) -> Iterator[Series]:
    """Yield every value that a row, a chart or a table is made of."""
    yield from _of_arms(observations)
    depths, sizes, tried = observations.depths, observations.sizes, observations.variants
    for name, arm, unit, values in (
        (
            "rows by depth, OFFSET",
            "with",
            "rows",
            [depth.by_offset[0].rows_examined for depth in depths],
        ),
        (
            "rows by depth, cursor",
            "with",
            "rows",
            [depth.by_cursor[0].rows_examined for depth in depths],
        ),
        ("by size, without", "without", "ms", [median_ms(size.bare) for size in sizes]),
        ("by size, with", "with", "ms", [median_ms(size.indexed) for size in sizes]),
        (
            "index scans",
            "with",
            "scans",
            [sum(index.scans.values()) for index in observations.usage],
        ),
        ("an index for each column", "with", "ms", [plan.execution_ms for plan in tried.separate]),
        ("composite index", "with", "ms", [plan.execution_ms for plan in tried.composite]),
        ("selectivity: planned", "with", "ms", [median_ms(s.planned) for s in tried.selective]),
        (
            "selectivity: whole scan",
            "without",
            "ms",
            [median_ms(selectivity.full_scan) for selectivity in tried.selective],
        ),
        ("kinds: =", "with", "ms", [median_ms(index.plans[EQUAL]) for _, index in tried.kinds]),
        ("partial index", "with", "ms", _times_ms(tried.partial[-1].plans[QUERY])),
        ("saved by index", "both", "ms", [benefit.saved_ms for benefit in observations.benefits]),
    ):
        yield series(name, arm, unit, values)


def _of_arms(observations: Observations) -> Iterator[Series]:
    for arm in ARMS:
        deep = observations.plans(arm, DEEP)
        cpu = [turn.cpu_ms for turn in observations.rounds[arm]]
        for name, unit, values in (
            *(
                (query, "ms", [plan.execution_ms for plan in observations.plans(arm, query)])
                for query in _QUERIES
            ),
            ("HTTP", "ms", observations.latencies_ms(arm)),
            ("CPU", "ms", cpu),
            ("rows scanned", "rows", [float(plan.rows_examined) for plan in deep]),
        ):
            yield series(f"{name}, {arm}", arm, unit, values)


def _pages(observations: Observations) -> BarChart:
    first, deep = observations.ratio(FIRST).value, observations.ratio(DEEP).value
    return BarChart(
        title=f"Indexes make page 1 {first:.0f} times as fast, and page {observations.page} {deep:.2g} times",
        axis=Axis(label="time of the statement (ms)", log=True),
        bars=tuple(
            _bar(f"{query}, {arm} indexes", observations.plans(arm, query))
            for query in _QUERIES
            for arm in ARMS
        ),
    )


def _bar(name: str, plans: Sequence[Plan]) -> Bar:
    return median_bar(name, _times_ms(plans), f"{median_ms(plans):.3g} ms (n={len(plans)})")


def _times_ms(plans: Sequence[Plan]) -> list[float]:
    return [plan.execution_ms for plan in plans]


def _sizes(observations: Observations) -> LineChart:
    sizes = observations.sizes
    measured = min(sizes, key=lambda size: abs(size.rows - observations.notes))
    per_row_ms = median_ms(measured.bare) / measured.rows
    predicted = [*(size.rows for size in sizes), 1000 / per_row_ms]
    return LineChart(
        title=f"Without an index page {sizes[-1].page} takes a second at about "
        f"{observations.rows_at_one_second() / 1e6:.1f} million notes",
        x=Axis(label="notes in the table", log=True),
        y=Axis(label="time of the statement (ms)", log=True),
        lines=(
            median_line(
                "without indexes, measured", {size.rows: _times_ms(size.bare) for size in sizes}
            ),
            line(
                "without indexes, predicted (in proportion)",
                ((rows, rows * per_row_ms) for rows in predicted),
                predicted=True,
            ),
            median_line(
                "with indexes, measured", {size.rows: _times_ms(size.indexed) for size in sizes}
            ),
        ),
    )


def _depths(observations: Observations) -> LineChart:
    depths = observations.depths
    by_offset = [(page.depth, page.by_offset[0].rows_examined) for page in depths]
    by_cursor = [(page.depth, page.by_cursor[0].rows_examined) for page in depths]
    return LineChart(
        title=f"Behind {depths[-1].depth} notes a page by OFFSET scans {by_offset[-1][1]} "
        f"rows, by cursor {by_cursor[-1][1]}",
        x=Axis(label="notes skipped"),
        y=Axis(label="rows scanned", log=True),
        lines=(
            line("OFFSET, measured", by_offset),
            line(
                "OFFSET, predicted (skipped + returned)",
                ((page.depth, page.depth + LIMIT) for page in depths),
                predicted=True,
            ),
            line("cursor, measured", by_cursor),
            line(
                "cursor, predicted (returned)",
                ((page.depth, LIMIT) for page in depths),
                predicted=True,
            ),
        ),
    )


def _plans(observations: Observations) -> Table:
    return Table(
        title=f"What EXPLAIN (ANALYZE, BUFFERS) says; the deep page is page {observations.page}",
        columns=("question", "indexes", "plan", "rows scanned", "rows returned", "ms"),
        rows=tuple(
            (
                query,
                arm,
                ", ".join(sorted({access_path(plan) for plan in plans})),
                str(plans[0].rows_examined),
                str(plans[0].rows_returned),
                f"{median_ms(plans):.3g}",
            )
            for query in _QUERIES
            for arm in ARMS
            if (plans := observations.plans(arm, query))
        ),
    )


def _by_size(observations: Observations) -> Table:
    return Table(
        title="The deep page by the size of the table",
        columns=("notes", "page", "without: rows", "ms", "with: plan", "rows", "ms", "faster"),
        rows=tuple(
            (
                str(size.rows),
                str(size.page),
                str(size.bare[0].rows_examined),
                f"{median_ms(size.bare):.3g}",
                access_path(size.indexed[0]),
                str(size.indexed[0].rows_examined),
                f"{median_ms(size.indexed):.3g}",
                f"{median_ms(size.bare) / median_ms(size.indexed):.3g} x",
            )
            for size in observations.sizes
        ),
        note="On a copy of the notes, which are repeated to fill a larger table. In a small table, the "
        "last page.",
    )


def _by_depth(observations: Observations) -> Table:
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
                str(depth.depth),
                access_path(depth.by_offset[0]),
                str(depth.by_offset[0].rows_examined),
                f"{median_ms(depth.by_offset):.3g}",
                str(depth.by_cursor[0].rows_examined),
                f"{median_ms(depth.by_cursor):.3g}",
            )
            for depth in observations.depths
        ),
    )


def _kinds(observations: Observations) -> Table:
    return Table(
        title="B-tree or hash",
        columns=("column", "kind", "KiB", "built in ms", "= ms", "> and ORDER BY", "ms"),
        rows=tuple(
            (
                column,
                index.name,
                f"{index.size_bytes / 1024:.0f}",
                f"{index.built_ms:.0f}",
                f"{median_ms(index.plans[EQUAL]):.3g}",
                access_path(index.plans[ORDERED][0]),
                f"{median_ms(index.plans[ORDERED]):.3g}",
            )
            for column, index in observations.variants.kinds
        ),
        note="A B-tree stores equal values once with a list of their rows, a hash index stores each; "
        "user_id has few different values, id has only different ones.",
    )


def _selective(observations: Observations) -> Table:
    return Table(
        title="Selectivity: an index on version, by the share of the notes that is selected",
        columns=("condition", "share of the notes", "plan", "ms", "ms by a whole scan"),
        rows=tuple(
            (
                selectivity.condition,
                f"{selectivity.share:.1%}",
                access_path(selectivity.planned[0]),
                f"{median_ms(selectivity.planned):.3g}",
                f"{median_ms(selectivity.full_scan):.3g}",
            )
            for selectivity in observations.variants.selective
        ),
    )


def _worth(observations: Observations) -> Table:
    return Table(
        title="The size of each index and what it saves, beside the three others",
        columns=("index", "its query", "KiB", "ms without", "ms with", "ms saved per MiB"),
        rows=tuple(
            (
                benefit.name,
                benefit.query,
                f"{benefit.size_bytes / 1024:.0f}",
                f"{benefit.without_ms:.3g}",
                f"{benefit.with_ms:.3g}",
                f"{benefit.saved_ms_per_mib:.3g}",
            )
            for benefit in observations.benefits
        ),
    )


def _remarks(observations: Observations) -> list[str]:
    least = min(observations.benefits, key=lambda benefit: benefit.saved_ms_per_mib)
    return [
        f"{least.name} saves least for its size: {least.saved_ms:.3g} ms for "
        f"{least.size_bytes / 1024:.0f} KiB, since other indexes serve its query nearly as well.",
        f"The planner uses idx_notes_user_created as far as page {observations.deepest}; deeper down it "
        "reads all of the user's notes and sorts them.",
    ]


def _quantities(observations: Observations) -> dict[str, float]:
    without, with_ = (median_ms(observations.plans(arm, DEEP)) for arm in ARMS)
    http = {arm: statistics.median(observations.latencies_ms(arm) or [0.0]) for arm in ARMS}
    return {
        "deep_page_http_without_indexes_ms": http["without"],
        "deep_page_http_with_indexes_ms": http["with"],
        "deep_page_query_with_indexes_ms": with_,
        "first_page_query_with_indexes_ms": median_ms(observations.plans("with", FIRST)),
        "query_improvement_with_indexes_percent": (1 - with_ / without) * 100,
        "first_page_improvement_with_indexes_times": observations.ratio(FIRST).value,
        "deep_page_improvement_with_indexes_times": observations.ratio(DEEP).value,
        "notes_at_one_second_without_index": observations.rows_at_one_second(),
    }
