"""Exercise 4: a deep page without and with its indexes, and what would be fast at any depth."""

from typing import Final

from loadtests.experiments.query_plans import charts, method
from loadtests.experiments.query_plans.expectations import EXPECTATIONS
from loadtests.lab.experiment import Experiment, Guess

EXPERIMENT: Final = Experiment(
    name="query_plans",
    title="Query plans: a deep page without and with its indexes",
    question="What do the indexes change for page 500 of a user's notes, and what does that depend on?",
    lines=(1672, 1731),
    procedure=(
        "Generate 100 000 notes (20 000 with --quick), a seventh of them for one user.",
        "Drop the four indexes, as migrating back would; request page 500 (or the last one) over "
        "HTTP, uncached, at fixed times, and run its statement under EXPLAIN (ANALYZE, BUFFERS).",
        "Create the indexes again and do the same. Alternate both, so that noise affects both.",
        "With the indexes, request deeper and deeper pages, by OFFSET and by cursor.",
        "On a copy, let the table grow, and try other indexes: composite, hash, partial, selective.",
    ),
    control="the four indexes of the notes are dropped",
    treatment="the indexes exist",
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
    lessons=(
        "Indexes are essential for the queries they fit: they make a first page hundreds of times as fast.",
        "EXPLAIN shows what a clock cannot: how many rows were scanned for those returned.",
        "OFFSET has to read all the rows that it skips; a cursor costs the same at any depth.",
        "A composite index serves a filter and an order together, and its first column alone as well.",
        "An index helps if few rows are selected; if not, the planner leaves it out.",
        "Every index costs memory and time on writes, so one that another covers is one too many.",
    ),
    guesses=(
        Guess(
            question="How long does page 500 take over HTTP without an index?",
            unit="ms",
            quantity="deep_page_http_without_indexes_ms",
        ),
        Guess(
            question="How many times as fast do the indexes make the statement of page 500?",
            unit="times",
            quantity="deep_page_improvement_with_indexes_times",
        ),
        Guess(
            question="How many notes must there be for it to take a second without an index?",
            unit="notes",
            quantity="notes_at_one_second_without_index",
        ),
    ),
)
