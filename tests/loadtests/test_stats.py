"""Percentiles and ratios."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.stats import Ratio, percentile, ratio_of_medians

SAMPLES = st.lists(st.floats(0.1, 1e6), min_size=1)


class TestPercentile:
    @pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
    def test_is_the_nearest_rank(self, share, value):
        assert percentile(list(range(100, 0, -1)), share) == value

    @given(SAMPLES, st.floats(0, 1))
    def test_is_one_of_the_samples(self, samples, share):
        assert percentile(samples, share) in samples

    def test_of_nothing_is_an_error(self):
        with pytest.raises(ValueError, match="no samples"):
            percentile([], 0.5)


class TestRatioOfMedians:
    @given(SAMPLES)
    def test_of_the_same_is_one(self, samples):
        assert ratio_of_medians(samples[:20], samples[:20]) == (1.0, 1.0, 1.0)

    def test_lies_in_its_interval(self):
        ratio = ratio_of_medians([2.0, 2.2, 1.9, 2.1], [1.0, 1.0, 1.1, 0.9])

        assert ratio.low <= ratio.value <= ratio.high
        assert 1.7 < ratio.low < 2.1 < ratio.high < 2.5

    @pytest.mark.parametrize(("limit", "above"), [(1.0, True), (2.0, None), (3.0, False)])
    def test_lies_above_or_below_what_its_interval_does_not_hold(self, limit, above):
        assert Ratio(2.0, 1.5, 2.5).is_above(limit) is above

    def test_tells_its_interval(self):
        assert Ratio(1.234, 0.5, 1478.2).text == "1.23 x [0.5, 1478]"

    def test_is_the_same_in_every_run(self):
        arms = [1.0, 2.0, 3.0], [2.0, 1.0, 2.0]

        assert ratio_of_medians(*arms) == ratio_of_medians(*arms)

    @pytest.mark.parametrize(("above", "below"), [([], []), ([1.0], [1.0, 2.0])])
    def test_needs_pairs(self, above, below):
        with pytest.raises(ValueError, match="as many rounds"):
            ratio_of_medians(above, below)
