"""Exercise 3: a cold note requested by 50 clients at once, with single flight and without."""

from typing import Final

from loadtests.experiments.stampede import charts, method
from loadtests.experiments.stampede.expectations import EXPECTATIONS
from loadtests.lab.experiment import Experiment, Guess

EXPERIMENT: Final = Experiment(
    name="stampede",
    title="Cache stampede",
    question="How many queries does one cold note cost when 50 clients ask for it at once?",
    lines=(1623, 1668),
    procedure=(
        "Clear the cache by DELETE /api/v1/admin/cache/clear.",
        "Send 100 requests for one note over 50 connections at once, as ab -n 100 -c 50 does.",
        "Count the note's look-ups in PostgreSQL's log, the backends at work for it in "
        "pg_stat_activity, and the writes of its entry in Redis (MONITOR).",
        "Send one more request, and see that it costs no statement.",
        "Repeat in every arm, in an order drawn by the seed, with 0 to 50 ms added to the load, "
        "which PostgreSQL sleeps.",
        "Instead of a burst let requests arrive evenly, 100 a second, and compare the look-ups "
        "with those predicted.",
    ),
    control="no single flight (each miss loads for itself), and single flight within each process "
    "alone, as a map in memory gives it",
    treatment="single flight in the process, and a lease in Redis over all processes",
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
    lessons=(
        "A cache alone does not protect the database: when a popular entry is gone, all who ask "
        "for it ask the database.",
        "The number of queries is the number of requests that arrive while the first is loading: "
        "the slower the load, the worse the stampede, just when the database is slow already.",
        "Single flight makes it one query; over several processes that takes a lease they share.",
        "A map of promises in one process, as in the textbook, divides the stampede by the requests "
        "per process and no further.",
        "It has to be tried under load: one client alone never sees a stampede.",
        "The price is a lease with a deadline, and waiters that look again: about 100 lines "
        "(cachelayer/single_flight.py, cachelayer/load.py) and one round trip on a miss.",
    ),
    guesses=(
        Guess(
            question="Of 100 requests, 50 at once, for a note that takes 50 ms to load: how many "
            "queries without single flight?",
            unit="queries",
            quantity="queries_without_single_flight",
        ),
        Guess(
            question="And with single flight in each of 4 processes, but not between them?",
            unit="queries",
            quantity="queries_per_process_single_flight",
        ),
    ),
)
