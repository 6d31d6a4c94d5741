"""What should happen to a deep page without and with its indexes, each with its threshold and its test."""

import statistics
from typing import Final

from config.explain.variants import QUERY
from loadtests.experiments.query_plans.method import Observations
from loadtests.experiments.query_plans.queries import (
    CURSOR,
    DEEP,
    FIRST,
    access_path,
    median_ms,
    scan_kinds,
)
from loadtests.experiments.query_plans.variants import EQUAL, ORDERED
from loadtests.lab.experiment import Expectations, Outcome, Verdict
from loadtests.stats import spread

SECONDS_MS: Final = 1000.0  # "seconds, not milliseconds" begins here
MORE_CPU: Final = 1.2  # times as much CPU time is "high"
MUCH_FASTER: Final = 10.0  # times
GROWS: Final = 50.0  # times as many rows for the deep page as for the first
FEW: Final = 2  # times as many rows scanned as returned is "only what it returns"
FEWER: Final = 5.0  # times fewer rows scanned, by an index that fits

EXPECTATIONS: Final = Expectations[Observations]()


@EXPECTATIONS.declare(
    "Without the indexes the deep page is read by a scan of the whole table.",
    line=1697,
    threshold="every plan is a Seq Scan that touches every note; else refuted",
)
def sequential_scan(observations: Observations) -> Verdict:
    plans = observations.plans("without", DEEP)
    # For a parallel scan EXPLAIN prints rounded averages.
    whole = [
        plan
        for plan in plans
        if scan_kinds(plan) == ["Seq Scan"] and plan.rows_examined >= observations.notes * 0.99
    ]
    took = spread([plan.execution_ms for plan in plans], "ms")
    observed = f"{len(whole)} of {len(plans)} plans scan all {observations.notes} notes: {took}"
    return Verdict(
        len(whole) == len(plans), observed, ["deep page, without", "rows scanned, without"]
    )


@EXPECTATIONS.declare(
    "Without the indexes the database's CPU use is high.",
    line=1698,
    threshold=f"PostgreSQL's CPU time for a request, against the same with the indexes: interval "
    f"above {MORE_CPU:g} confirms, below it refutes",
    timed=True,
)
def high_cpu(observations: Observations) -> Verdict:
    ratio = observations.cpu_ratio()
    without, with_ = (
        statistics.median(turn.cpu_ms for turn in observations.rounds[arm])
        for arm in ("without", "with")
    )
    observed = (
        f"{without:.3g} ms of CPU a request against {with_:.3g} ms: {ratio.text}, "
        f"n={len(observations.rounds['with'])} rounds; a core serves {1000 / without:.0f} of them a second"
    )
    return Verdict(ratio.is_above(MORE_CPU), observed, ["CPU, without", "CPU, with"])


@EXPECTATIONS.declare(
    "Without the indexes the API takes seconds, not milliseconds.",
    line=1699,
    threshold=f"the median latency of the page over HTTP, uncached: {SECONDS_MS:g} ms or more "
    "confirms, less refutes",
    declared=Outcome.REFUTED,
    because="100 000 short rows fit in memory and are scanned in tens of milliseconds. The time "
    "grows with the table, and reaches a second at a few million notes.",
    timed=True,
)
def seconds(observations: Observations) -> Verdict:
    latencies = observations.latencies_ms("without")
    answered = len(latencies) / max(
        1, sum(len(turn.samples) for turn in observations.rounds["without"])
    )
    observed = (
        f"page {observations.page} of {observations.notes} notes: {spread(latencies, 'ms')}; a second at about "
        f"{observations.rows_at_one_second() / 1e6:.1f} million notes"
    )
    if answered < 0.95:
        return Verdict(None, f"{answered:.0%} answered; {observed}", ["HTTP, without"])
    holds = statistics.median(latencies) >= SECONDS_MS
    return Verdict(holds, observed, ["HTTP, without", "by size, without"])


@EXPECTATIONS.declare(
    "With the indexes PostgreSQL scans little more than the rows that it returns.",
    line=1705,
    threshold=f"rows scanned for the deep page: up to {FEW} times the rows returned confirms",
    declared=Outcome.REFUTED,
    because="OFFSET has to read the rows that it skips, whatever the index; only the "
    "cursor scans no more than it returns.",
)
def rows_scanned(observations: Observations) -> Verdict:
    plans = observations.plans("with", DEEP)
    cursor = observations.plans("with", CURSOR)[0]
    holds = all(plan.rows_examined <= FEW * plan.rows_returned for plan in plans)
    observed = (
        f"{plans[0].rows_examined} scanned for {plans[0].rows_returned} returned (without: "
        f"{observations.plans('without', DEEP)[0].rows_examined}); by cursor {cursor.rows_examined}"
    )
    return Verdict(holds, observed, ["rows scanned, with", "rows scanned, without"])


@EXPECTATIONS.declare(
    "The index usage statistics name the index that EXPLAIN names.",
    line=1706,
    threshold="idx_scan of each index increases by 1 for each run of a plan that names it, and "
    "otherwise not at all",
)
def index_usage(observations: Observations) -> Verdict:
    observed = "; ".join(
        f"{index.query}: "
        + (", ".join(f"{name} +{n}" for name, n in index.scans.items() if n) or "none")
        + f" in {index.runs} runs"
        for index in observations.usage
    )
    return Verdict(all(index.agrees for index in observations.usage), observed, ["index scans"])


@EXPECTATIONS.declare(
    "With the indexes applied again EXPLAIN shows an Index Scan.",
    line=1715,
    threshold="every plan of the deep page has an Index Scan confirms; another scan refutes",
    declared=Outcome.REFUTED,
    because="The page lies behind 70 % of the user's notes. Reading all of them in the order "
    "of the table (Bitmap Heap Scan, idx_notes_user_id) and sorting looks cheaper than following "
    "the composite index; that changes if the list is longer.",
)
def index_scan(observations: Observations) -> Verdict:
    plans = observations.plans("with", DEEP)
    ways = ", ".join(sorted({access_path(plan) for plan in plans}))
    larger = [size.rows for size in observations.sizes if size.uses_composite]
    where = (
        f"with {larger[0]} notes it is"
        if larger
        else f"nor is it up to {observations.sizes[-1].rows}"
    )
    observed = (
        f"{ways}; the composite index is used up to page {observations.deepest} of {observations.page}, and {where}"
        f" used for page {observations.sizes[-1].page}"
    )
    return Verdict(
        all("Index Scan" in scan_kinds(plan) for plan in plans), observed, ["rows scanned, with"]
    )


@EXPECTATIONS.declare(
    "With the indexes applied again the deep page is much faster.",
    line=1715,
    threshold=f"EXPLAIN's time without against with: interval above {MUCH_FASTER:g} confirms, "
    "below it refutes",
    declared=Outcome.REFUTED,
    because="It still reads every note of the user, a seventh of the table, and sorts them.",
    timed=True,
)
def much_faster(observations: Observations) -> Verdict:
    return _faster(observations, DEEP)


@EXPECTATIONS.declare(
    "Indexes are essential: the first page is much faster with them.",
    line=1720,
    threshold=f"EXPLAIN's time of page 1 without against with: interval above {MUCH_FASTER:g} "
    "confirms, below it refutes",
    timed=True,
)
def essential(observations: Observations) -> Verdict:
    return _faster(observations, FIRST)


@EXPECTATIONS.declare(
    "A high OFFSET is expensive, with the indexes too.",
    line=1722,
    threshold=f"the deep page scans at least {GROWS:g} times the rows of page 1",
)
def deep_is_expensive(observations: Observations) -> Verdict:
    first, deep = observations.depths[0].by_offset[0], observations.depths[-1].by_offset[0]
    observed = (
        f"{first.rows_examined} rows on page 1, {deep.rows_examined} on page {observations.page}: "
        f"{median_ms(observations.depths[0].by_offset):.3g} ms and {median_ms(observations.depths[-1].by_offset):.3g} ms"
    )
    return Verdict(
        deep.rows_examined >= GROWS * first.rows_examined, observed, ["rows by depth, OFFSET"]
    )


@EXPECTATIONS.declare(
    "One composite index serves a filter and an order better than one index for each.",
    line=1723,
    threshold=f"a user's first page scans at least {FEWER:g} times fewer rows by the composite",
)
def composite(observations: Observations) -> Verdict:
    separate, composite = observations.variants.separate, observations.variants.composite
    observed = (
        f"{separate[0].rows_examined} rows, {median_ms(separate):.3g} ms ({access_path(separate[0])}) against "
        f"{composite[0].rows_examined} rows, {median_ms(composite):.3g} ms ({access_path(composite[0])})"
    )
    holds = separate[0].rows_examined >= FEWER * composite[0].rows_examined
    return Verdict(holds, observed, ["an index for each column", "composite index"])


@EXPECTATIONS.declare(
    "Selectivity matters: an index is useful for a condition that few rows meet.",
    line=1724,
    threshold="an index is used for the rarest versions, and not for all of them",
)
def selectivity(observations: Observations) -> Verdict:
    common, rare = observations.variants.selective[0], observations.variants.selective[-1]
    observed = (
        f"{common.share:.0%} of the notes: {access_path(common.planned[0])}; {rare.share:.1%}: "
        f"{access_path(rare.planned[0])}, {median_ms(rare.full_scan) / median_ms(rare.planned):.3g} x as "
        "fast as a scan of all"
    )
    holds = not common.planned[0].indexes and bool(rare.planned[0].indexes)
    return Verdict(holds, observed, ["selectivity: planned", "selectivity: whole scan"])


@EXPECTATIONS.declare(
    "A cursor costs the same at every depth.",
    line=1725,
    threshold=f"at no depth more than {FEW} times the rows returned are scanned",
)
def cursor(observations: Observations) -> Verdict:
    most = max(plan.rows_examined for depth in observations.depths for plan in depth.by_cursor)
    times = [median_ms(depth.by_cursor) for depth in observations.depths]
    returned = observations.depths[0].by_cursor[0].rows_returned
    observed = (
        f"at most {most} rows scanned for {returned}, at {len(observations.depths)} depths down to "
        f"{observations.depths[-1].depth}: {spread(times, 'ms')}"
    )
    return Verdict(most <= FEW * returned, observed, ["rows by depth, cursor"])


@EXPECTATIONS.declare(
    "A hash index finds equal values, but serves neither ranges nor order; a B-tree serves both.",
    line=1729,
    threshold="both are used for =, only the B-tree for > with ORDER BY, on both columns",
)
def btree_or_hash(observations: Observations) -> Verdict:
    kinds = observations.variants.kinds
    holds = all(
        index.plans[EQUAL][0].indexes
        and bool(index.plans[ORDERED][0].indexes) == (index.name == "btree")
        for _, index in kinds
    )
    observed = "; ".join(
        f"{index.name} on {column}: {index.size_bytes / 1024:.0f} KiB, = in "
        f"{median_ms(index.plans[EQUAL]):.3g} ms, > in {median_ms(index.plans[ORDERED]):.3g} ms"
        for column, index in kinds
    )
    return Verdict(holds, observed, ["kinds: ="])


@EXPECTATIONS.declare(
    "A partial index serves its filtered query, and is smaller in proportion to its filter.",
    line=1730,
    threshold="it is used, scans at most twice the rows returned, and its size is at most twice the "
    "filter's share of the whole index",
)
def partial(observations: Observations) -> Verdict:
    _, whole, partial = observations.variants.partial
    none_plans, whole_plans, partial_plans = (
        index.plans[QUERY] for index in observations.variants.partial
    )
    plan, share = partial_plans[0], partial.size_bytes / whole.size_bytes
    holds = (
        bool(plan.indexes)
        and plan.rows_examined <= FEW * plan.rows_returned
        and share <= FEW * observations.variants.edited_share
    )
    observed = (
        f"{share:.0%} of the whole index for {observations.variants.edited_share:.0%} of the notes; "
        f"{plan.rows_examined} rows scanned, {median_ms(partial_plans):.3g} ms (whole: "
        f"{whole_plans[0].rows_examined}, {median_ms(whole_plans):.3g} ms; none: "
        f"{none_plans[0].rows_examined}, {median_ms(none_plans):.3g} ms)"
    )
    return Verdict(holds, observed, ["partial index"])


@EXPECTATIONS.declare(
    "How much an index saves does not depend on its size.",
    line=1731,
    threshold="the largest of the seed's four is not the one that saves its query the most: confirmed",
    timed=True,
)
def size_against_benefit(observations: Observations) -> Verdict:
    by_size = sorted(observations.benefits, key=lambda benefit: benefit.size_bytes)
    saves_most = max(observations.benefits, key=lambda benefit: benefit.saved_ms)
    holds = saves_most is not by_size[-1]
    observed = "; ".join(
        f"{index.name}: {index.size_bytes / 1024:.0f} KiB, saves {index.saved_ms:.3g} ms"
        for index in reversed(by_size)
    )
    return Verdict(holds, observed, ["saved by index"])


def _faster(observations: Observations, query: str) -> Verdict:
    ratio = observations.ratio(query)
    without, with_ = (
        spread([plan.execution_ms for plan in observations.plans(arm, query)], "ms")
        for arm in ("without", "with")
    )
    return Verdict(
        ratio.is_above(MUCH_FASTER),
        f"{without} against {with_}: {ratio.text}",
        [f"{query}, without", f"{query}, with"],
    )
