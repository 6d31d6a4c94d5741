"""When does a pool of 5 fail 50 clients, and when does a larger one help."""

from typing import Final

from loadtests.experiments.pool_exhaustion import judging, phases, pressure, queueing, showing
from loadtests.experiments.pool_exhaustion.expectations import EXPECTATIONS
from loadtests.experiments.pool_exhaustion.judging import Observed
from loadtests.experiments.pool_exhaustion.phases import CLIENTS, LARGE, SMALL
from loadtests.lab.experiment import Experiment, Findings, Guess
from loadtests.lab.lab import Lab

_NOTES: Final = 2_000
_THREADS: Final = 64  # one process, with room for all clients and for who asks for the figures


def run(lab: Lab) -> Findings:
    """Run it on a site of the lab."""
    return findings(_observed(lab, phases.QUICK if lab.quick else phases.FULL))


def findings(seen: Observed) -> Findings:
    """Return what a run shows that has measured this."""
    return Findings(
        rows=EXPERIMENT.judged(judging.JUDGES, seen),
        series=list(showing.series(seen)),
        charts=[*showing.charts(seen)],
        tables=showing.tables(seen),
        remarks=_remarks(seen),
        quantities=_quantities(seen),
    )


def _observed(lab: Lab, sizes: phases.Sizes) -> Observed:
    with lab.site(
        "both",
        notes=_NOTES,
        workers=1,
        threads=_THREADS,
        application="loadtests.testbed.instrumented_wsgi:application",
        variables={"POSTGRES_POOL_MIN": str(SMALL), "POSTGRES_POOL_MAX": str(SMALL)},
    ) as site:
        before = pressure.refusals(site)
        cached = phases.cached_note(site)
        rounds = phases.seed_rounds(lab, site, sizes, cached)
        holds = phases.sweep(lab, site, sizes)
        pools = phases.by_pool_size(lab, site, sizes)
        overload = phases.overload(lab, site, sizes, cached)
        leak = phases.leak(lab, site, cached)
        refused = pressure.refusals(site) - before
        full = phases.full_server(lab, site, sizes, cached)
    return Observed(
        acquire_ms=sizes.acquire_ms,
        rounds=rounds,
        holds=holds,
        pools=pools,
        overload=overload,
        leak=leak,
        full=full,
        refused=refused,
    )


def _remarks(seen: Observed) -> list[str]:
    unscaled = queueing.break_point_ms(
        clients=CLIENTS, pool=SMALL, acquire_ms=phases.SITE_ACQUIRE_MS
    )
    return [
        f"The sweep's acquire timeout is {seen.acquire_ms} ms, to be quick. The break point goes "
        f"in proportion to it: with the site's {phases.SITE_ACQUIRE_MS} ms it is {unscaled:.0f} ms.",
        "The seed's formula (cores x 2 + disks) gives 5 for 2 cores: the very size that it calls "
        "very small. It is right for queries that compute; for connections that wait (locks, a "
        "slow network, a transaction around other work) the load decides: arrivals a second x hold.",
        f"A cached read takes no connection, and was answered in each of "
        f"{len(seen.overload.ticks) + len(seen.leak.ticks)} readings.",
    ]


def _quantities(seen: Observed) -> dict[str, float]:
    longest = seen.swept(SMALL)[-1]
    return {
        "seed_load_failures_percent": 100
        * sum(one.status != 200 for r in seen.of_pool(SMALL) for one in r.samples)
        / sum(len(r.samples) for r in seen.of_pool(SMALL)),
        "break_point_pool_5_with_2_s_ms": queueing.break_point_ms(
            clients=CLIENTS, pool=SMALL, acquire_ms=phases.SITE_ACQUIRE_MS
        ),
        "longest_hold_failures_percent": 100 * longest.failure_ratio,
        "pool_utilization_of_5_percent": 100 * seen.utilization(SMALL),
        "pool_utilization_of_20_percent": 100 * seen.utilization(LARGE),
        "throughput_of_20_against_5_times": seen.rate_ratio().value,
        "latency_of_5_against_20_times": seen.latency_ratio().value,
    }


EXPERIMENT = Experiment(
    name="pool_exhaustion",
    title="A connection pool that is too small",
    question="When does a pool of 5 connections fail 50 clients, and what helps?",
    lines=(1789, 1833),
    procedure=(
        "Start the site with one process and a pool of 5.",
        "Ask for the uncached list 1000 times, 50 at a time (150 with --quick), with a pool of 5 and "
        "of 20 in turn; the pool is resized within the process, as its settings would at a start.",
        "Let each request hold its connection ever longer (pg_sleep), with both pools, and compare "
        "the part that fails with what queueing says.",
        "Take latencies for several pool sizes.",
        "Watch the pool's metrics during an overload and behind it.",
        "Hold every connection for a while, as if it had leaked.",
        "Take every connection that the server has left, and let the pool ask for more.",
    ),
    control=f"a pool of {LARGE} connections",
    treatment=f"a pool of {SMALL} connections",
    expectations=EXPECTATIONS,
    lessons=(
        "A pool protects the server: clients wait at the site, and the server's connections stay few.",
        "What exhausts a pool is not the number of clients but how long each holds its connection.",
        "Wait for a connection shortly, answer 503 with Retry-After, and let the client come again.",
        "The formula is about what the server can work on at once; Little's law about what the load "
        "needs: take the larger, within max_connections / workers.",
        "Watch waiting requests, not errors: they show it before anything fails.",
        "A leak takes capacity away until nothing is left, without any load; bound every hold "
        "(statement_timeout), and alert on active connections that do not come down.",
    ),
    run=run,
    guesses=(
        Guess(
            question="What part of the seed's 1000 requests fails with a pool of 5?",
            unit="percent",
            quantity="seed_load_failures_percent",
        ),
        Guess(
            question="How long must each request hold its connection before the first of them fails "
            "(timeout 2 s)?",
            unit="ms",
            quantity="break_point_pool_5_with_2_s_ms",
        ),
    ),
)
