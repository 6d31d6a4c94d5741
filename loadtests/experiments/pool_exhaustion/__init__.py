"""Exercise 6: when a pool of 5 fails 50 clients, and when a larger one helps."""

from typing import Final

from loadtests.experiments.pool_exhaustion import charts, method
from loadtests.experiments.pool_exhaustion.expectations import EXPECTATIONS
from loadtests.experiments.pool_exhaustion.method import LARGE, SMALL
from loadtests.lab.experiment import Experiment, Guess

EXPERIMENT: Final = Experiment(
    name="pool_exhaustion",
    title="A connection pool that is too small",
    question="When does a pool of 5 connections fail 50 clients, and what helps?",
    lines=(1789, 1833),
    procedure=(
        "Start the site with one process and a pool of 5.",
        "Request the uncached list 1000 times (150 with --quick), 50 at a time, with a pool of 5 and "
        "of 20 in turn; the pool is resized within the process, to what its settings would make it.",
        "Let each request hold its connection longer and longer (pg_sleep), with both pools, and compare "
        "the share that fails with the prediction of queueing theory.",
        "Measure latencies for several pool sizes.",
        "Watch the pool's metrics during and after an overload.",
        "Hold every connection for a while, as if it had leaked.",
        "Take every connection that the server has left, then enlarge the pool.",
    ),
    control=f"a pool of {LARGE} connections",
    treatment=f"a pool of {SMALL} connections",
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
    lessons=(
        "A pool protects the server: clients wait at the site, and the server's connections stay few.",
        "What exhausts a pool is not the number of clients but how long each holds its connection.",
        "Wait only briefly for a connection, answer 503 with Retry-After, and let the client retry.",
        "The formula says how much the server can work on at once, Little's law how much the load "
        "needs: take the larger, within max_connections / workers.",
        "Watch waiting requests rather than errors: they show the problem before anything fails.",
        "A leak takes capacity away until nothing is left, without any load; limit every hold "
        "(statement_timeout), and alert if active connections do not come down.",
    ),
    guesses=(
        Guess(
            question="What share of the seed's 1000 requests fails with a pool of 5?",
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
