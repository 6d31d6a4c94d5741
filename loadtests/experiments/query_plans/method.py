"""The method: the same questions without and with the indexes, by depth and by size."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import psutil
import psycopg

from loadtests.experiments.query_plans import indexes, queries, scratch
from loadtests.experiments.query_plans.indexes import COMPOSITE
from loadtests.experiments.query_plans.plans import Connection, Plan, explain, median_ms
from loadtests.experiments.query_plans.variants import Variants, usual_user, variants
from loadtests.experiments.query_plans.worth import Uses, Worth, uses, worth
from loadtests.generators.http_load import Call, OpenLoop, Sample
from loadtests.lab.lab import Lab
from loadtests.stats import Ratio, ratio_of_medians
from loadtests.testbed.site import Site

ARMS: Final = ("without", "with")
_PAGES: Final = (1, 2, 5, 10, 25, 50, 100, 142, 222, 350, 500)
_NOT_CACHED: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything. per_second: requests, at which neither arm is overloaded."""

    notes: int
    rounds: int
    runs: int  # of each statement in each round
    per_second: float
    seconds: float  # of requests in each round of each arm
    growth: tuple[int, ...]  # rows of the copy


QUICK: Final = Sizes(
    notes=20_000,
    rounds=3,
    runs=5,
    per_second=30,
    seconds=1.0,
    growth=(5_000, 20_000, 100_000),
)
FULL: Final = Sizes(
    notes=100_000,
    rounds=6,
    runs=7,
    per_second=10,
    seconds=3.0,
    growth=(20_000, 50_000, 100_000, 300_000, 1_000_000),
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One arm in one round. cpu_ms: PostgreSQL's CPU time for each request."""

    plans: dict[str, list[Plan]]  # by question
    samples: list[Sample]
    cpu_ms: float


@dataclass(frozen=True, kw_only=True)
class AtDepth:
    """A page behind so many rows, by OFFSET and by cursor: the runs of each."""

    depth: int
    by_offset: list[Plan]
    by_cursor: list[Plan]


@dataclass(frozen=True, kw_only=True)
class AtSize:
    """The deep page in a table of so many rows: the runs of each arm."""

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


def run(lab: Lab) -> Observations:
    """Carry out every part on one site and on copies of its notes."""
    sizes = QUICK if lab.quick else FULL
    with lab.site("both", notes=sizes.notes) as site:
        url = site.stack.operator_urls()["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) notes")
            page = queries.last_page(queries.count(connection))
            rounds = _rounds(lab, site, sizes, page)
            lab.tell("pages by depth")
            depths = by_depth(connection, page, runs=sizes.runs)
            deepest = deepest_by_composite(connection, page)
        lab.tell("other indexes, on a copy")
        with scratch.table(url) as connection:
            several = variants(connection, sizes.notes, runs=sizes.runs)
            user = usual_user(connection, sizes.notes)
            taken = list(worth(connection, user, runs=sizes.runs))
            used = list(uses(connection, page, runs=sizes.runs))
        lab.tell(f"the page in a copy that grows to {sizes.growth[-1]} notes")
        with scratch.table(url) as connection:
            grown = list(by_size(connection, sizes.growth, page, runs=sizes.runs))
    return Observations(
        notes=sizes.notes,
        page=page,
        rounds=rounds,
        depths=depths,
        deepest=deepest,
        variants=several,
        worth=taken,
        uses=used,
        sizes=grown,
    )


def _rounds(lab: Lab, site: Site, sizes: Sizes, page: int) -> dict[str, list[Round]]:
    """Ask in both arms in turn, so many rounds; every other round begins with the other arm."""
    url = site.stack.operator_urls()["DATABASE_URL"]
    taken: dict[str, list[Round]] = {arm: [] for arm in ARMS}
    for number in range(sizes.rounds):
        for arm in ARMS if number % 2 == 0 else reversed(ARMS):
            lab.tell(f"round {number + 1} of {sizes.rounds}: {arm} the indexes")
            with ExitStack() as restoring:
                if arm == "without":
                    restoring.enter_context(indexes.dropped(url))
                taken[arm].append(_round(site, url, sizes, page))
    return taken


def _round(site: Site, url: str, sizes: Sizes, page: int) -> Round:
    with psycopg.connect(url, autocommit=True) as connection:
        plans = {
            name: explain(connection, *asked, runs=sizes.runs + 1)[1:]  # the first warms up
            for name, asked in queries.questions(connection, page).items()
        }
        before = server_cpu_seconds(site)
        samples = _requests(site, sizes, page)
        spent = server_cpu_seconds(site) - before
    return Round(plans=plans, samples=samples, cpu_ms=spent * 1000 / len(samples))


def _requests(site: Site, sizes: Sizes, page: int) -> list[Sample]:
    path = f"/api/v1/notes?userId={queries.USER}&page={page}&limit={queries.LIMIT}"
    call = Call("list", f"{path}&sort=created_at:DESC", headers=_NOT_CACHED)
    loop = OpenLoop(site.url, per_second=sizes.per_second)
    loop.run(repeat(call), seconds=sizes.seconds)
    return loop.finish()


def server_cpu_seconds(site: Site) -> float:
    """Return the CPU time that PostgreSQL has used so far, with all its processes."""
    pid = next(one.pid for one in site.stack.status() if one.server == "postgres")
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


def by_depth(connection: Connection, page: int, *, runs: int) -> list[AtDepth]:
    """Ask for pages ever deeper, with the indexes."""
    taken = []
    for number in sorted({*(one for one in _PAGES if one < page), page}):
        depth = queries.depth_of(number)
        by_offset = explain(connection, *queries.by_offset(depth), runs=runs + 1)[1:]
        asked = queries.by_cursor(connection, depth)
        by_cursor = explain(connection, *asked, runs=runs + 1)[1:]
        taken.append(AtDepth(depth=depth, by_offset=by_offset, by_cursor=by_cursor))
    return taken


def deepest_by_composite(connection: Connection, page: int) -> int:
    """Return the last page, up to the one given, for which the planner takes the composite index."""

    def is_used(number: int) -> bool:
        asked = queries.by_offset(queries.depth_of(number))
        return COMPOSITE in explain(connection, *asked)[0].indexes

    if is_used(page):
        return page
    uses, does_not = 0, page
    while does_not - uses > 1:
        middle = (uses + does_not) // 2
        uses, does_not = (middle, does_not) if is_used(middle) else (uses, middle)
    return uses


def by_size(
    connection: Connection, sizes: tuple[int, ...], page: int, *, runs: int
) -> Iterator[AtSize]:
    """Let the copy grow, and ask for a deep page, without and with the seed's indexes of rows."""
    for rows in sizes:
        scratch.grow(connection, rows)
        there = queries.last_page(queries.count(connection, table=scratch.TABLE))
        page_there = min(page, there)
        asked = queries.by_offset(queries.depth_of(page_there), table=scratch.TABLE)
        bare = explain(connection, *asked, runs=runs + 1)[1:]
        with scratch.like_the_notes(connection, titles=False):
            indexed = explain(connection, *asked, runs=runs + 1)[1:]
        yield AtSize(rows=rows, page=page_there, bare=bare, indexed=indexed)
