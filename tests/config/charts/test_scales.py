"""Axes: round ticks, places, and numbers as people read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.charts.scales import number, scale

VALUES = st.lists(st.floats(1e-4, 1e9), min_size=1, max_size=20)


class TestScale:
    @given(VALUES, st.booleans())
    def test_holds_every_value_and_has_ticks(self, values, log):
        axis = scale(values, log=log, start=0, end=100, from_zero=True)

        assert axis.low <= min(values)
        assert axis.high >= max(values) * 0.99
        assert 1 <= len(axis.ticks()) <= 25
        assert all(axis.low * 0.99 <= tick <= axis.high * 1.01 for tick in axis.ticks())

    @given(VALUES, st.booleans())
    def test_places_rise_with_values(self, values, log):
        axis = scale(values, log=log, start=10, end=90, from_zero=True)
        places = [axis.place(value) for value in sorted(values)]

        assert places == sorted(places)
        assert all(10 <= place <= 90 for place in places)

    @pytest.mark.parametrize(
        ("values", "log", "ticks"),
        [
            ([0, 10], False, [0, 2, 4, 6, 8, 10]),
            ([3, 480], False, [0, 100, 200, 300, 400, 500]),
            ([0.4, 4], True, [0.2, 0.5, 1, 2, 5]),
            ([0.03, 1500], True, [0.1, 1, 10, 100, 1000]),
            ([-5, 5], False, [-6, -4, -2, 0, 2, 4, 6]),
        ],
    )
    def test_ticks_are_round(self, values, log, ticks):
        axis = scale(values, log=log, start=0, end=1, from_zero=not log)

        assert axis.ticks() == pytest.approx(ticks)

    @pytest.mark.parametrize("log", [False, True])
    @pytest.mark.parametrize("values", [[], [0, 0], [7, 7]])
    def test_of_one_value_or_none_is_an_axis_all_the_same(self, values, log):
        axis = scale(values, log=log, start=0, end=100, from_zero=False)

        assert axis.high > axis.low
        assert math.isfinite(axis.place(1))


class TestNumber:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0, "0"),
            (0.05, "0.05"),
            (0.0012, "0.0012"),
            (2.5, "2.5"),
            (250, "250"),
            (10_000, "10\u202f000"),
            (2_000_000, "2\u202fM"),
            (1234.5, "1\u202f234"),
            (-3.25, "-3.25"),
        ],
    )
    def test_is_short(self, value, text):
        assert number(value) == text
