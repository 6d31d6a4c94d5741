"""Counts against small sets of events whose counts are known."""

from datetime import datetime, timedelta
from typing import Any

import pymongo
import pytest
from django.utils import timezone
from pymongo.errors import OperationFailure

from activity import analytics
from activity.documents import ActivityEvent
from activity.time_window import ALL_TIME, Window, midnight, monday
from tests.builders import make_event

NOW = timezone.now()
TODAY = midnight(NOW)
MONDAY = monday(NOW) - timedelta(weeks=6)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
MILLISECOND = timedelta(milliseconds=1)


def iso(moment: datetime) -> str:
    return moment.date().isoformat()


def happen(user_id: str, action: str, *times: datetime) -> None:
    for at in times:
        make_event(at, user_id=user_id, action=action)


class TestSummary:
    def test_is_most_frequent_first_with_ties_by_action(self):
        happen("abc", "note_viewed", MONDAY, MONDAY, MONDAY + DAY)
        happen("abc", "note_updated", MONDAY)
        happen("abc", "note_created", MONDAY)
        happen("eve", "note_deleted", MONDAY)

        assert analytics.summary(user_id="abc", window=ALL_TIME) == [
            {"action": "note_viewed", "count": 3},
            {"action": "note_created", "count": 1},
            {"action": "note_updated", "count": 1},
        ]

    def test_counts_from_since_inclusive_until_until_exclusive(self):
        happen("abc", "note_viewed", MONDAY - MILLISECOND, MONDAY, MONDAY + DAY)

        def count(**bounds: datetime) -> int:
            [row] = analytics.summary(user_id="abc", window=Window(**bounds))
            return row["count"]

        assert count(since=MONDAY) == 2
        assert count(until=MONDAY + DAY) == 2
        assert count(since=MONDAY, until=MONDAY + DAY) == 1

    def test_is_empty_for_an_unknown_user(self):
        assert analytics.summary(user_id="nobody", window=ALL_TIME) == []


class TestDaily:
    def test_is_newest_day_first_then_by_count_then_by_action(self):
        happen("abc", "note_viewed", MONDAY, MONDAY + DAY - MILLISECOND)
        happen("abc", "note_deleted", MONDAY)
        happen("abc", "note_created", MONDAY)
        happen("abc", "notes_listed", MONDAY + DAY)
        happen("eve", "notes_listed", MONDAY + DAY)

        assert analytics.daily(user_id="abc", window=ALL_TIME) == [
            {"date": iso(MONDAY + DAY), "action": "notes_listed", "count": 1},
            {"date": iso(MONDAY), "action": "note_viewed", "count": 2},
            {"date": iso(MONDAY), "action": "note_created", "count": 1},
            {"date": iso(MONDAY), "action": "note_deleted", "count": 1},
        ]

    def test_is_at_most_30_rows_the_newest(self):
        days = [MONDAY + number * DAY for number in range(20)]
        happen("abc", "note_viewed", *days)
        happen("abc", "note_created", *days)

        rows = analytics.daily(user_id="abc", window=ALL_TIME)

        assert len(rows) == 30
        assert rows[0]["date"] == iso(days[-1])
        assert rows[-1]["date"] == iso(days[5])


class TestTrend:
    def test_has_every_day_also_those_of_no_event_oldest_first(self):
        happen("abc", "note_viewed", TODAY, TODAY, TODAY - 2 * DAY)
        happen("eve", "note_viewed", TODAY + DAY - MILLISECOND, TODAY - 3 * DAY)

        assert analytics.trend(days=3, now=NOW) == [
            {"date": iso(TODAY - 2 * DAY), "total_activities": 1, "unique_users": 1},
            {"date": iso(TODAY - DAY), "total_activities": 0, "unique_users": 0},
            {"date": iso(TODAY), "total_activities": 3, "unique_users": 2},
        ]

    @pytest.mark.parametrize("days", [1, 7, 365])
    def test_has_as_many_days_as_asked_without_any_event(self, days):
        rows = analytics.trend(days=days, now=NOW)

        assert len(rows) == days
        assert rows[-1]["date"] == iso(TODAY)
        assert rows[0]["date"] == iso(TODAY - (days - 1) * DAY)

    def test_leaves_tomorrow_out(self):
        happen("abc", "note_viewed", TODAY + DAY)

        assert analytics.trend(days=1, now=NOW)[0]["total_activities"] == 0


class TestResources:
    window = Window(since=MONDAY, until=MONDAY + WEEK)

    def use(self, resource: str, resource_id: str | None, *users: str) -> None:
        for user in users:
            make_event(MONDAY, user_id=user, resource=resource, resource_id=resource_id)

    def test_is_most_used_first_with_its_users(self):
        self.use("note", "n2", "abc", "abc", "eve")
        self.use("note", "n1", "abc")
        self.use("profile", "a", "abc")
        self.use("note", None, "abc", "abc", "abc", "abc")
        make_event(MONDAY + WEEK, resource_id="n1")

        assert analytics.resources(window=self.window, limit=20) == [
            {"resource": "note", "resource_id": "n2", "count": 3, "unique_users": 2},
            {"resource": "note", "resource_id": "n1", "count": 1, "unique_users": 1},
            {"resource": "profile", "resource_id": "a", "count": 1, "unique_users": 1},
        ]

    def test_tells_the_same_id_of_two_resources_apart(self):
        self.use("note", "abc", "abc")
        self.use("profile", "abc", "abc")

        assert len(analytics.resources(window=self.window, limit=20)) == 2

    def test_is_as_long_as_asked(self):
        for number in range(5):
            self.use("note", f"n{number}", "abc")

        rows = analytics.resources(window=self.window, limit=2)

        assert [row["resource_id"] for row in rows] == ["n0", "n1"]


class TestHours:
    def test_has_all_168_from_monday_midnight(self):
        happen("abc", "note_viewed", MONDAY, MONDAY + HOUR - MILLISECOND, MONDAY + WEEK)
        happen("eve", "note_viewed", MONDAY + 6 * DAY + 23 * HOUR)

        rows = analytics.hours(window=Window(since=MONDAY, until=MONDAY + 2 * WEEK))

        assert [(row["weekday"], row["hour"]) for row in rows] == [
            (weekday, hour) for weekday in range(1, 8) for hour in range(24)
        ]
        assert rows[0]["count"] == 3
        assert rows[-1]["count"] == 1
        assert sum(row["count"] for row in rows) == 4


class TestRetention:
    def run(self, weeks: int, **changes: Any) -> list[dict[str, Any]]:
        bounds = {"since": MONDAY, "until": MONDAY + weeks * WEEK} | changes
        return analytics.retention(**bounds)

    def test_counts_who_came_in_a_week_and_was_seen_again_in_later_ones(self):
        happen("a", "note_viewed", MONDAY, MONDAY + HOUR, MONDAY + WEEK, MONDAY + 2 * WEEK)
        happen("b", "note_viewed", MONDAY + WEEK - MILLISECOND, MONDAY + 2 * WEEK)
        happen("c", "note_viewed", MONDAY + WEEK)

        assert self.run(3) == [
            {"week": iso(MONDAY), "users": 2, "returned": [1, 2]},
            {"week": iso(MONDAY + WEEK), "users": 1, "returned": [0]},
            {"week": iso(MONDAY + 2 * WEEK), "users": 0, "returned": []},
        ]

    def test_first_seen_means_within_the_window(self):
        happen("a", "note_viewed", MONDAY - DAY, MONDAY + WEEK)

        [first, second] = self.run(2)

        assert (first["users"], second["users"]) == (0, 1)

    def test_a_window_may_begin_and_end_within_a_week(self):
        happen("a", "note_viewed", MONDAY + DAY, MONDAY + WEEK)

        rows = self.run(1, since=MONDAY + 2 * HOUR, until=MONDAY + WEEK + HOUR)

        assert rows == [
            {"week": iso(MONDAY), "users": 1, "returned": [1]},
            {"week": iso(MONDAY + WEEK), "users": 0, "returned": []},
        ]

    def test_looks_at_most_8_weeks_ahead(self):
        since = MONDAY - 5 * WEEK
        happen("a", "note_viewed", since, since + 8 * WEEK, since + 9 * WEEK)

        rows = self.run(1, since=since, until=since + 10 * WEEK)

        assert rows[0]["returned"] == [0, 0, 0, 0, 0, 0, 0, 1]
        assert len(rows) == 10


class TestTooMuchToCount:
    def failing(self, monkeypatch, code: int) -> None:
        def aggregate(self, *args: Any, **kwargs: Any) -> None:
            raise OperationFailure("no", code)

        monkeypatch.setattr(type(ActivityEvent._get_collection()), "aggregate", aggregate)

    @pytest.mark.parametrize("code", [146, 292])
    def test_is_what_a_count_beyond_the_memory_is(self, monkeypatch, code):
        self.failing(monkeypatch, code)

        with pytest.raises(analytics.TooMuchToCount):
            analytics.trend(days=1, now=NOW)

    def test_is_no_other_failure(self, monkeypatch):
        self.failing(monkeypatch, 2)

        with pytest.raises(OperationFailure):
            analytics.trend(days=1, now=NOW)


class TestBounds:
    def test_no_aggregation_may_use_the_disk_or_take_for_ever(self, monkeypatch):
        collection, commands = type(ActivityEvent._get_collection()), []
        aggregate = collection.aggregate

        def watched(self, pipeline: Any, **kwargs: Any) -> Any:
            commands.append((kwargs["allowDiskUse"], pymongo._csot.get_timeout()))
            return aggregate(self, pipeline, **kwargs)

        monkeypatch.setattr(collection, "aggregate", watched)
        window = Window(since=MONDAY, until=MONDAY + WEEK)

        analytics.summary(user_id="abc", window=window)
        analytics.daily(user_id="abc", window=window)
        analytics.trend(days=7, now=NOW)
        analytics.resources(window=window, limit=1)
        analytics.hours(window=window)
        analytics.retention(since=MONDAY, until=MONDAY + WEEK)

        assert commands == [(False, analytics.LONGEST_SECONDS)] * 6
