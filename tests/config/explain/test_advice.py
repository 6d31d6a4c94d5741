"""What is advised about an index, and why."""

import pytest

from config.explain.advice import recommend
from config.explain.indexes import Index
from config.explain.plan import Node, Plan
from config.explain.report import InsertCost, ServedQuery
from config.explain.timing import Measurement, summarize_runs

COST = InsertCost(rows=2_000, with_ms=30.0, without_ms=20.0, noise_ms=1.0)


def index(**changes) -> Index:
    values = {
        "store": "postgres",
        "name": "idx_short",
        "table": "notes",
        "definition": "",
        "size_bytes": 8192,
        "is_unique": False,
        "uses": 0,
    }
    return Index(**(values | changes))


def took(milliseconds: float) -> Measurement:
    plan = Plan(
        store="postgres",
        statement="",
        root=Node(kind="Result"),
        rows_returned=1,
        rows_examined=1,
        rows_fetched=1,
        execution_ms=milliseconds,
    )
    return Measurement(plan=plan, timing=summarize_runs([milliseconds]))


def served(with_ms: float, without_ms: float) -> ServedQuery:
    return ServedQuery(query="user", with_it=took(with_ms), without=took(without_ms))


class TestAdvice:
    def test_a_constraint_is_kept_unused_or_not(self):
        assert recommend(index(is_unique=True), [], None).startswith(
            "Keep: it enforces a constraint"
        )

    def test_an_unused_index_is_dropped_and_its_cost_is_named(self):
        sentence = recommend(index(), [], COST)

        assert sentence.startswith("Drop, unless something outside the service needs it")
        assert "50 % more time for inserting 2000 rows (10 ms)" in sentence

    def test_an_index_that_a_query_needs_is_kept_with_both_times(self):
        sentence = recommend(index(), [served(1, 1.2), served(0.5, 20)], None)

        assert sentence == "Keep: without it user takes 20 ms instead of 0.5 ms, 40 x as long."

    def test_an_unneeded_prefix_is_dropped_for_the_longer_index(self):
        sentence = recommend(index(covered_by="idx_long"), [served(1, 1.2)], None)

        assert sentence.startswith(
            "Drop: idx_long begins with the same columns and serves in its place"
        )

    def test_a_prefix_that_a_query_needs_is_kept(self):
        sentence = recommend(index(covered_by="idx_long"), [served(1, 8)], None)

        assert sentence.startswith("Keep, although idx_long begins with the same columns")

    def test_a_negligible_gain_is_called_hardly_worth_it(self):
        assert recommend(index(), [served(1, 1.1)], None).startswith("Hardly worth it at this size")

    def test_a_few_microseconds_are_no_gain_whatever_their_factor(self):
        sentence = recommend(index(), [served(0.01, 0.018)], None)

        assert sentence.startswith("Hardly worth it at this size")

    def test_queries_that_are_faster_without_it_are_named(self):
        sentence = recommend(index(), [served(0.5, 20), served(50, 5)], None)

        assert sentence.startswith("Keep: ")
        assert sentence.endswith(
            "picks it to its disadvantage for user (0.1 x as long without it)."
        )

    def test_without_a_trial_nothing_is_claimed(self):
        sentence = recommend(index(), [ServedQuery(query="user", with_it=took(1))], None)

        assert sentence.startswith("Used by user; run with --drop-indexes")

    def test_a_ttl_index_is_named_as_such(self):
        assert "TTL index" in recommend(index(expires=True), [served(1, 8)], None)


class TestCost:
    def test_a_cost_within_the_noise_is_not_a_figure(self):
        cost = InsertCost(rows=2_000, with_ms=20.5, without_ms=20.0, noise_ms=2.0)

        assert cost.text.startswith("nothing measurable above 2 ms of noise")


class TestMisestimate:
    @pytest.mark.parametrize(
        ("rows", "estimated", "is_cut", "factor"),
        [
            (1_000, 100, False, 10),
            (100, 1_000, False, 10),
            (1_000, 900, False, None),
            (5, 90, False, None),  # too few to matter
            (21, 100_000, True, None),  # a LIMIT stopped it
            (5_000, 10, True, 500),  # a LIMIT does not bring more
            (500, None, False, None),  # MongoDB tells no estimate
        ],
    )
    def test_counts_from_ten_times_on(self, rows, estimated, is_cut, factor):
        node = Node(kind="Sort", rows=rows, rows_estimated=estimated, is_cut=is_cut)

        assert node.misestimate == factor
