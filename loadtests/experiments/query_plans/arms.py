"""The same questions without and with the indexes, in turn: plans, requests, and CPU time."""

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import psutil
import psycopg

from loadtests.experiments.query_plans import indexes, statements
from loadtests.experiments.query_plans.plans import Plan, explain
from loadtests.generators.http_load import Call, OpenLoop, Sample
from loadtests.lab.lab import Lab
from loadtests.testbed.site import Site

ARMS: Final = ("without", "with")
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


def rounds(lab: Lab, site: Site, sizes: Sizes, page: int) -> dict[str, list[Round]]:
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
            for name, asked in statements.questions(connection, page).items()
        }
        before = server_cpu_seconds(site)
        samples = _requests(site, sizes, page)
        spent = server_cpu_seconds(site) - before
    return Round(plans=plans, samples=samples, cpu_ms=spent * 1000 / len(samples))


def _requests(site: Site, sizes: Sizes, page: int) -> list[Sample]:
    path = f"/api/v1/notes?userId={statements.USER}&page={page}&limit={statements.LIMIT}"
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
