"""From what was observed to the verdict of each expectation; no servers here."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from loadtests.experiments.query_plans import expectations as declared
from loadtests.experiments.query_plans.arms import Round
from loadtests.experiments.query_plans.plans import Plan, median_ms
from loadtests.experiments.query_plans.statements import CURSOR, DEEP, FIRST
from loadtests.experiments.query_plans.sweeps import AtDepth, AtSize
from loadtests.experiments.query_plans.variants import Variants
from loadtests.experiments.query_plans.worth import Uses, Worth
from loadtests.lab.experiment import Verdict
from loadtests.stats import Ratio, ratio_of_medians, spread


@dataclass(frozen=True, kw_only=True)
class Observed:
    """All that a run has measured; deepest: the last page for which the composite index is used."""

    notes: int
    page: int
    rounds: dict[str, list[Round]]
    depths: list[AtDepth]
    deepest: int
    variants: Variants
    worth: list[Worth]
    uses: list[Uses]
    sizes: list[AtSize]

    def plans(self, arm: str, question: str) -> list[Plan]:
        """Return all runs of a question in an arm."""
        return [plan for one in self.rounds[arm] for plan in one.plans[question]]

    def latencies_ms(self, arm: str) -> list[float]:
        """Return what the requests of an arm took; those answered 200."""
        samples = [sample for one in self.rounds[arm] for sample in one.samples]
        return [sample.latency_ms for sample in samples if sample.status == 200]

    def ratio(self, question: str) -> Ratio:
        """Return the time without the indexes against with them, by EXPLAIN's clock."""
        without, with_ = (
            [median_ms(one.plans[question]) for one in self.rounds[arm]]
            for arm in ("without", "with")
        )
        return ratio_of_medians(without, with_)

    def cpu_ratio(self) -> Ratio:
        """Return PostgreSQL's CPU time for a request without the indexes against with them."""
        without, with_ = ([one.cpu_ms for one in self.rounds[arm]] for arm in ("without", "with"))
        return ratio_of_medians(without, with_)

    def rows_at_one_second(self) -> float:
        """Return at how many notes the page takes a second without an index, if it stays linear."""
        largest = self.sizes[-1]
        return largest.rows * 1000 / median_ms(largest.bare)


def _sequential_scan(seen: Observed) -> Verdict:
    plans = seen.plans("without", DEEP)
    # Of a parallel scan EXPLAIN tells rounded averages.
    whole = [
        one for one in plans if one.scans == ("Seq Scan",) and one.scanned >= seen.notes * 0.99
    ]
    took = spread([plan.ms for plan in plans], "ms")
    observed = f"{len(whole)} of {len(plans)} plans scan all {seen.notes} notes: {took}"
    return len(whole) == len(plans), observed, ["deep page, without", "rows scanned, without"]


def _high_cpu(seen: Observed) -> Verdict:
    ratio = seen.cpu_ratio()
    without, with_ = (
        statistics.median(one.cpu_ms for one in seen.rounds[arm]) for arm in ("without", "with")
    )
    observed = (
        f"{without:.3g} ms of CPU a request against {with_:.3g} ms: {ratio.text}, "
        f"n={len(seen.rounds['with'])} rounds; a core serves {1000 / without:.0f} of them a second"
    )
    return ratio.is_above(declared.MORE_CPU), observed, ["CPU, without", "CPU, with"]


def _seconds(seen: Observed) -> Verdict:
    latencies = seen.latencies_ms("without")
    answered = len(latencies) / max(1, sum(len(one.samples) for one in seen.rounds["without"]))
    observed = (
        f"page {seen.page} of {seen.notes} notes: {spread(latencies, 'ms')}; a second at about "
        f"{seen.rows_at_one_second() / 1e6:.1f} million notes"
    )
    if answered < 0.95:
        return None, f"{answered:.0%} answered; {observed}", ["HTTP, without"]
    holds = statistics.median(latencies) >= declared.SECONDS_MS
    return holds, observed, ["HTTP, without", "by size, without"]


def _rows_scanned(seen: Observed) -> Verdict:
    plans = seen.plans("with", DEEP)
    cursor = seen.plans("with", CURSOR)[0]
    holds = all(plan.scanned <= declared.FEW * plan.returned for plan in plans)
    observed = (
        f"{plans[0].scanned} scanned for {plans[0].returned} returned (without: "
        f"{seen.plans('without', DEEP)[0].scanned}); by cursor {cursor.scanned}"
    )
    return holds, observed, ["rows scanned, with", "rows scanned, without"]


def _index_usage(seen: Observed) -> Verdict:
    observed = "; ".join(
        f"{one.question}: "
        + (", ".join(f"{name} +{n}" for name, n in one.scans.items() if n) or "none")
        + f" in {one.runs} runs"
        for one in seen.uses
    )
    return all(one.agrees for one in seen.uses), observed, ["index scans"]


def _index_scan(seen: Observed) -> Verdict:
    plans = seen.plans("with", DEEP)
    ways = ", ".join(sorted({plan.way for plan in plans}))
    larger = [one.rows for one in seen.sizes if one.uses_composite]
    where = f"with {larger[0]} notes it is" if larger else f"nor is it up to {seen.sizes[-1].rows}"
    observed = (
        f"{ways}; the composite index is used up to page {seen.deepest} of {seen.page}, and {where}"
        f" used for page {seen.sizes[-1].page}"
    )
    return all("Index Scan" in plan.scans for plan in plans), observed, ["rows scanned, with"]


def _faster(question: str) -> Callable[[Observed], Verdict]:
    def judge(seen: Observed) -> Verdict:
        ratio = seen.ratio(question)
        without, with_ = (
            spread([plan.ms for plan in seen.plans(arm, question)], "ms")
            for arm in ("without", "with")
        )
        names = [f"{question}, without", f"{question}, with"]
        observed = f"{without} against {with_}: {ratio.text}"
        return ratio.is_above(declared.MUCH_FASTER), observed, names

    return judge


def _deep_is_expensive(seen: Observed) -> Verdict:
    first, deep = seen.depths[0].by_offset[0], seen.depths[-1].by_offset[0]
    observed = (
        f"{first.scanned} rows on page 1, {deep.scanned} on page {seen.page}: "
        f"{median_ms(seen.depths[0].by_offset):.3g} ms and {median_ms(seen.depths[-1].by_offset):.3g} ms"
    )
    return deep.scanned >= declared.GROWS * first.scanned, observed, ["rows by depth, OFFSET"]


def _composite(seen: Observed) -> Verdict:
    apart, composite = seen.variants.apart, seen.variants.composite
    observed = (
        f"{apart[0].scanned} rows, {median_ms(apart):.3g} ms ({apart[0].way}) against "
        f"{composite[0].scanned} rows, {median_ms(composite):.3g} ms ({composite[0].way})"
    )
    holds = apart[0].scanned >= declared.FEWER * composite[0].scanned
    return holds, observed, ["an index for each column", "composite index"]


def _selectivity(seen: Observed) -> Verdict:
    common, rare = seen.variants.selective[0], seen.variants.selective[-1]
    observed = (
        f"{common.share:.0%} of the notes: {common.planned[0].way}; {rare.share:.1%}: "
        f"{rare.planned[0].way}, {median_ms(rare.scanned_whole) / median_ms(rare.planned):.3g} x as "
        "fast as a scan of all"
    )
    holds = not common.planned[0].indexes and bool(rare.planned[0].indexes)
    return holds, observed, ["selectivity: planned", "selectivity: whole scan"]


def _cursor(seen: Observed) -> Verdict:
    most = max(plan.scanned for one in seen.depths for plan in one.by_cursor)
    times = [median_ms(one.by_cursor) for one in seen.depths]
    returned = seen.depths[0].by_cursor[0].returned
    observed = (
        f"at most {most} rows scanned for {returned}, at {len(seen.depths)} depths down to "
        f"{seen.depths[-1].depth}: {spread(times, 'ms')}"
    )
    return most <= declared.FEW * returned, observed, ["rows by depth, cursor"]


def _btree_or_hash(seen: Observed) -> Verdict:
    kinds = seen.variants.kinds
    holds = all(
        one.equal[0].indexes and bool(one.beyond[0].indexes) == (one.kind == "btree")
        for one in kinds
    )
    observed = "; ".join(
        f"{one.kind} on {one.column}: {one.size_bytes / 1024:.0f} KiB, = in "
        f"{median_ms(one.equal):.3g} ms, > in {median_ms(one.beyond):.3g} ms"
        for one in kinds
    )
    return holds, observed, ["kinds: ="]


def _partial(seen: Observed) -> Verdict:
    none, whole, partial = seen.variants.partial
    plan, share = partial.plans[0], partial.size_bytes / whole.size_bytes
    holds = (
        bool(plan.indexes)
        and plan.scanned <= declared.FEW * plan.returned
        and share <= declared.FEW * seen.variants.edited_share
    )
    observed = (
        f"{share:.0%} of the whole index for {seen.variants.edited_share:.0%} of the notes; "
        f"{plan.scanned} rows scanned, {median_ms(partial.plans):.3g} ms (whole: "
        f"{whole.plans[0].scanned}, {median_ms(whole.plans):.3g} ms; none: "
        f"{none.plans[0].scanned}, {median_ms(none.plans):.3g} ms)"
    )
    return holds, observed, ["partial index"]


def _size_against_benefit(seen: Observed) -> Verdict:
    by_size = sorted(seen.worth, key=lambda one: one.size_bytes)
    saves_most = max(seen.worth, key=lambda one: one.saved_ms)
    holds = saves_most is not by_size[-1]
    observed = "; ".join(
        f"{one.name}: {one.size_bytes / 1024:.0f} KiB, saves {one.saved_ms:.3g} ms"
        for one in reversed(by_size)
    )
    return holds, observed, ["saved by index"]


JUDGES: Final[dict[str, Callable[[Observed], Verdict]]] = {
    "sequential-scan": _sequential_scan,
    "high-cpu": _high_cpu,
    "seconds": _seconds,
    "rows-scanned": _rows_scanned,
    "index-usage": _index_usage,
    "index-scan": _index_scan,
    "much-faster": _faster(DEEP),
    "essential": _faster(FIRST),
    "deep-is-expensive": _deep_is_expensive,
    "composite": _composite,
    "selectivity": _selectivity,
    "cursor": _cursor,
    "btree-or-hash": _btree_or_hash,
    "partial": _partial,
    "size-against-benefit": _size_against_benefit,
}
