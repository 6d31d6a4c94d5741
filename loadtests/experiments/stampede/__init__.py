"""Exercise 3: a cold note requested by 50 clients at once, with single flight and without."""

from typing import Final

from loadtests.experiments.stampede import charts, method
from loadtests.experiments.stampede.expectations import EXPECTATIONS
from loadtests.lab.experiment import Experiment, Guess

EXPERIMENT: Final = Experiment(
    name="stampede",
    title="Cache stampede",
    question="How many queries does one cold note cost when 50 clients request it at once?",
    lines=(1623, 1668),
    procedure=(
        "Clear the cache with DELETE /api/v1/admin/cache/clear.",
        "Send 100 requests for one note over 50 connections at once, as ab -n 100 -c 50 does.",
        "Count the note's look-ups in PostgreSQL's log, the backends at work for it in "
        "pg_stat_activity, and the writes of its entry in Redis (MONITOR).",
        "Send one more request, and check that it needs no statement.",
        "Repeat this in every arm, in an order drawn by the seed, with 0 to 50 ms of pg_sleep added to "
        "the load.",
        "Let requests arrive evenly, 100 per second, instead of in a burst, and compare the look-ups "
        "with the prediction.",
    ),
    control="no single flight (each miss loads for itself), and single flight only within each "
    "process, as a map in memory provides it",
    treatment="single flight in each process, and a lease in Redis across all processes",
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
    lessons=(
        "A cache alone does not protect the database: when a popular entry is gone, every request "
        "for it becomes a query.",
        "The number of queries is the number of requests that arrive during the first load: "
        "the slower the load, the worse the stampede, just when the database is already slow.",
        "Single flight reduces it to one query; across several processes this takes a shared lease.",
        "A map of promises in one process, as in the textbook, reduces the stampede to one query per "
        "process, and no further.",
        "Test it under load: a single client never sees a stampede.",
        "It costs a lease with a deadline, waiters that poll, a few modules "
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
