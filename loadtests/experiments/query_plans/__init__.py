"""Is a deep page slow without its indexes, fast with them, and what would be fast at any depth."""

from typing import Final

from loadtests.experiments.query_plans import charts, method
from loadtests.experiments.query_plans.expectations import EXPECTATIONS
from loadtests.lab.experiment import Experiment, Guess

EXPERIMENT: Final = Experiment(
    name="query_plans",
    title="Query plans: a deep page without and with its indexes",
    question="What do the indexes change for page 500 of a user's notes, and what does it depend on?",
    lines=(1672, 1731),
    procedure=(
        "Make up 100 000 notes, a seventh of them of one user (20 000 with --quick).",
        "Drop the four indexes, as migrating back would; ask for page 500 (or the last one) over "
        "HTTP, uncached, at fixed times, and read EXPLAIN (ANALYZE, BUFFERS) of its statement.",
        "Make the indexes again and ask the same. Repeat both in turn, so that noise hits both.",
        "With the indexes, ask for pages ever deeper, by OFFSET and by cursor.",
        "On a copy, let the table grow, and try other indexes: composite, hash, partial, selective.",
    ),
    control="the four indexes of the notes are dropped",
    treatment="they are there",
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
    lessons=(
        "Indexes are essential for what they fit: they make a first page some hundred times faster.",
        "EXPLAIN shows what a clock does not: how many rows were scanned for those returned.",
        "OFFSET has to find all that it skips; a cursor costs the same at every depth.",
        "A composite index serves a filter and an order in one; its first column alone as well.",
        "An index helps where few rows are selected, and the planner knows when it is not.",
        "Every index costs memory and writes, so one that another covers is one too many.",
    ),
    guesses=(
        Guess(
            question="How long does page 500 take over HTTP without an index?",
            unit="ms",
            quantity="deep_page_http_without_indexes_ms",
        ),
        Guess(
            question="How many times faster are the indexes for the statement of page 500?",
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
