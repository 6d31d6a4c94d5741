"""The method: the same pages without and with the indexes, by depth and by size."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import psutil
import psycopg

from config.explain.plan import Plan
from config.explain.variants import PageAtDepth, explain_runs, last_page_served, pages_by_depth
from loadtests.experiments.query_plans import scratch
from loadtests.experiments.query_plans.queries import LIMIT, USER, Notes, depth_of, median_ms
from loadtests.experiments.query_plans.scratch import COMPOSITE
from loadtests.experiments.query_plans.variants import (
    IndexBenefit,
    IndexUsage,
    Variants,
    index_benefits,
    index_usage,
    usual_user,
    variants,
)
from loadtests.generators.http_load import Call, OpenLoop, Sample
from loadtests.lab.lab import Lab
from loadtests.stats import Ratio, ratio_of_medians
from loadtests.testbed.site import Site

ARMS: Final = ("without", "with")
_PAGES: Final = (1, 2, 5, 10, 25, 50, 100, 142, 222, 350, 500)
_NOT_CACHED: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured. per_second: requests, at a rate that overloads neither arm."""

    notes: int
    rounds: int
    runs: int  # of each statement in each round
    per_second: float
    seconds: float  # of requests in each round of each arm
    growth: tuple[int, ...]  # rows of the copy


QUICK: Final = Scale(
    notes=20_000,
    rounds=3,
    runs=5,
    per_second=30,
    seconds=3.0,  # CPU time is counted in steps of 10 ms
    growth=(5_000, 20_000, 100_000),
)
FULL: Final = Scale(
    notes=100_000,
    rounds=6,
    runs=7,
    per_second=10,
    seconds=3.0,
    growth=(20_000, 50_000, 100_000, 300_000, 1_000_000),
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One arm in one round. cpu_ms: PostgreSQL's CPU time per request."""

    plans: dict[str, list[Plan]]  # by query
    samples: list[Sample]
    cpu_ms: float


@dataclass(frozen=True, kw_only=True)
class PageAtSize:
    """The deep page in a table of that size: the runs of each arm."""

    rows: int
    page: int
    bare: list[Plan]
    indexed: list[Plan]

    @property
    def uses_composite(self) -> bool:
        return COMPOSITE in self.indexed[0].indexes


@dataclass(frozen=True, kw_only=True)
class Observations:
    """All that a run has measured; deepest: the last page for which the composite index is used."""

    notes: int
    page: int
    rounds: dict[str, list[Round]]
    depths: list[PageAtDepth]
    deepest: int
    variants: Variants
    benefits: list[IndexBenefit]
    usage: list[IndexUsage]
    sizes: list[PageAtSize]

    def plans(self, arm: str, query: str) -> list[Plan]:
        """Return all runs of a query in an arm."""
        return [plan for turn in self.rounds[arm] for plan in turn.plans[query]]

    def latencies_ms(self, arm: str) -> list[float]:
        """Return the latencies of an arm's requests with status 200."""
        samples = [sample for turn in self.rounds[arm] for sample in turn.samples]
        return [sample.latency_ms for sample in samples if sample.status == 200]

    def ratio(self, query: str) -> Ratio:
        """Return the time without the indexes against with them, by EXPLAIN's clock."""
        without, with_ = (
            [median_ms(turn.plans[query]) for turn in self.rounds[arm]] for arm in ARMS
        )
        return ratio_of_medians(without, with_)

    def cpu_ratio(self) -> Ratio:
        """Return PostgreSQL's CPU time for a request without the indexes against with them."""
        without, with_ = ([turn.cpu_ms for turn in self.rounds[arm]] for arm in ARMS)
        return ratio_of_medians(without, with_)

    def rows_at_one_second(self) -> float:
        """Return at how many notes the page takes a second without an index, if it stays linear."""
        largest = self.sizes[-1]
        return largest.rows * 1000 / median_ms(largest.bare)


def run(lab: Lab) -> Observations:
    """Carry out every part on one site and on copies of its notes."""
    scale = QUICK if lab.quick else FULL
    with lab.site("both", notes=scale.notes) as site:
        url = site.stack.operator_urls()["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) notes")
            notes = Notes(connection)
            page = notes.last_page()
            rounds = _rounds(lab, site, scale, page)
            lab.progress("pages by depth")
            depths = by_depth(notes, page, runs=scale.runs)
            deepest = deepest_by_composite(notes, page)
        lab.progress("other indexes, on a copy")
        with scratch.table(url) as copy:
            tried = variants(copy, scale.notes, runs=scale.runs)
            user = usual_user(copy, scale.notes)
            benefits = list(index_benefits(copy, user, runs=scale.runs))
            usage = list(index_usage(copy, page, runs=scale.runs))
        lab.progress(f"the page in a copy that grows to {scale.growth[-1]} notes")
        with scratch.table(url) as copy:
            sizes = list(by_size(copy, scale.growth, page, runs=scale.runs))
    return Observations(
        notes=scale.notes,
        page=page,
        rounds=rounds,
        depths=depths,
        deepest=deepest,
        variants=tried,
        benefits=benefits,
        usage=usage,
        sizes=sizes,
    )


def _rounds(lab: Lab, site: Site, scale: Scale, page: int) -> dict[str, list[Round]]:
    """Measure both arms in turn, round by round; every other round begins with the other arm."""
    url = site.stack.operator_urls()["DATABASE_URL"]
    rounds: dict[str, list[Round]] = {arm: [] for arm in ARMS}
    for number in range(scale.rounds):
        for arm in ARMS if number % 2 == 0 else reversed(ARMS):
            lab.progress(f"round {number + 1} of {scale.rounds}: {arm} the indexes")
            with ExitStack() as restoring:
                if arm == "without":
                    restoring.enter_context(scratch.without_indexes(url))
                rounds[arm].append(_round(site, url, scale, page))
    return rounds


def _round(site: Site, url: str, scale: Scale, page: int) -> Round:
    with psycopg.connect(url, autocommit=True) as connection:
        plans = {
            name: explain_runs(query, runs=scale.runs)
            for name, query in Notes(connection).pages(page).items()
        }
        before = server_cpu_seconds(site)
        samples = _requests(site, scale, page)
        spent = server_cpu_seconds(site) - before
    return Round(plans=plans, samples=samples, cpu_ms=spent * 1000 / len(samples))


def _requests(site: Site, scale: Scale, page: int) -> list[Sample]:
    path = f"/api/v1/notes?userId={USER}&page={page}&limit={LIMIT}"
    call = Call("list", f"{path}&sort=created_at:DESC", headers=_NOT_CACHED)
    loop = OpenLoop(site.url, per_second=scale.per_second)
    loop.run(repeat(call), seconds=scale.seconds)
    return loop.finish()


def server_cpu_seconds(site: Site) -> float:
    """Return the CPU time that PostgreSQL has used so far, with all its processes."""
    pid = next(status.pid for status in site.stack.status() if status.server == "postgres")
    postmaster = psutil.Process(pid)
    ended = postmaster.cpu_times()  # of itself, and of its children that have ended
    total = ended.user + ended.system + ended.children_user + ended.children_system
    for child in postmaster.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def by_depth(notes: Notes, page: int, *, runs: int) -> list[PageAtDepth]:
    """Explain pages deeper and deeper, with the indexes."""
    depths = [depth_of(number) for number in (*(n for n in _PAGES if n < page), page)]
    return list(pages_by_depth(depths, notes.by_offset, notes.by_cursor, runs=runs))


def deepest_by_composite(notes: Notes, page: int) -> int:
    """Return the last page, up to this one, for which the planner uses the composite index."""

    def is_served(number: int) -> bool:
        return COMPOSITE in notes.by_offset(depth_of(number)).explain().indexes

    return last_page_served(is_served, page)


def by_size(copy: Notes, sizes: tuple[int, ...], page: int, *, runs: int) -> Iterator[PageAtSize]:
    """Let the copy grow, and explain a deep page, without and with the seed's indexes of rows."""
    for rows in sizes:
        scratch.grow(copy, rows)
        deep = min(page, copy.last_page())
        query = copy.by_offset(depth_of(deep))
        bare = explain_runs(query, runs=runs)
        with scratch.seed_indexes(copy, titles=False):
            indexed = explain_runs(query, runs=runs)
        yield PageAtSize(rows=rows, page=deep, bare=bare, indexed=indexed)
