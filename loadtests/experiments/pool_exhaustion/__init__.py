"""When does a pool of 5 fail 50 clients, and when does a larger one help."""

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
        "Ask for the uncached list 1000 times, 50 at a time (150 with --quick), with a pool of 5 and "
        "of 20 in turn; the pool is resized within the process, as its settings would at a start.",
        "Let each request hold its connection ever longer (pg_sleep), with both pools, and compare "
        "the part that fails with what queueing says.",
        "Measure latencies for several pool sizes.",
        "Watch the pool's metrics during an overload and behind it.",
        "Hold every connection for a while, as if it had leaked.",
        "Take every connection that the server has left, and let the pool ask for more.",
    ),
    control=f"a pool of {LARGE} connections",
    treatment=f"a pool of {SMALL} connections",
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
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
