"""The goals of the bench, on made-up figures."""

import pytest

from loadtests.bench import goals
from loadtests.bench.peers import DRF, SITE
from loadtests.bench.runner import Figures, Saturation
from loadtests.bench.scenarios import CREATED, HIT, MIX, NOT_MODIFIED, PAGE, REPLACED, UNCACHED
from loadtests.stats import Ratio
from loadtests.testbed.processor import POSTGRES

ARMS = (HIT, NOT_MODIFIED, PAGE, MIX, UNCACHED, CREATED, REPLACED)


def figures(*, per_second: float, p99_ms: float, postgres_us: float, ratio: float) -> Figures:
    """The same for all requests of the site; DRF answers 1000 a second at 10 ms, for 100 µs of PostgreSQL."""
    ratios = Ratio(ratio, ratio, ratio)
    rows = [
        (SITE, per_second, p99_ms, postgres_us, Ratio(1, 1, 1)),
        (DRF, 1_000.0, 10.0, 100.0, ratios),
    ]
    return Figures(
        [
            Saturation(arm, server, rate, 1.0, p99, {POSTGRES: cost}, of, 0, [rate])
            for arm in ARMS
            for server, rate, p99, cost, of in rows
        ],
        [],
        [],
    )


class TestOutcomes:
    def test_all_hold_at_their_limits(self):
        reached = figures(per_second=60_000, p99_ms=5, postgres_us=200, ratio=1.5)

        assert all(outcome.holds for outcome in goals.outcomes(reached))

    @pytest.mark.parametrize(
        ("missed", "goal", "count"),
        [
            ({"per_second": 26_999.0}, "/s", 4),
            ({"p99_ms": 5.1}, "p99 at most 5 ms", 2),
            ({"p99_ms": 10.1}, "p99 at most DRF's 10.0 ms", 6),
            ({"postgres_us": 200.1}, "PostgreSQL at most 2 times DRF's 100.0 µs", 2),
            ({"ratio": 1.19}, "times DRF's 1,000/s", 3),
        ],
    )
    def test_names_each_that_is_missed(self, missed, goal, count):
        limits = {"per_second": 60_000.0, "p99_ms": 5.0, "postgres_us": 200.0, "ratio": 1.5}
        outcomes = goals.outcomes(figures(**(limits | missed)))
        failed = [outcome.goal for outcome in outcomes if not outcome.holds]

        assert sum(goal in text for text in failed) == count

    def test_a_figure_that_was_not_measured_is_named(self):
        with pytest.raises(LookupError, match="cached read was not measured at Trilith"):
            list(goals.outcomes(Figures([], [], [])))
