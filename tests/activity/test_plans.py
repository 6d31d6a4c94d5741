"""The plans that MongoDB chooses, at 20 000 events of real skew: always an index, and which."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from django.utils import timezone

from activity import pipelines, seeding, selectors, services
from activity.documents import ActivityEvent
from activity.paging import FeedQuery, Position
from activity.windows import Window, midnight

UNTIL = midnight(timezone.now())
MONTH = Window(since=UNTIL - timedelta(days=30), until=UNTIL)
DAY = Window(since=UNTIL - timedelta(days=1), until=UNTIL)


@pytest.fixture(scope="module", autouse=True)
def _empty() -> None:
    """In the place of the fixture of that name: filled once for all tests here, which only read."""
    ActivityEvent.drop_collection()  # with whatever index another test has left
    ActivityEvent.ensure_indexes()
    plan = seeding.Plan(count=20_000, users=200, days=30, until=UNTIL.date(), seed=1)
    for events in seeding.batches(plan):
        services.events_load(events=events)


def parts(explained: Any) -> Iterator[dict[str, Any]]:
    """Every part of an explanation, at any depth."""
    if isinstance(explained, dict):
        yield explained
        for inner in explained.values():
            yield from parts(inner)
    elif isinstance(explained, list):
        for inner in explained:
            yield from parts(inner)


def winner(explained: dict[str, Any]) -> list[dict[str, Any]]:
    """The stages of the plan that won."""
    [plan] = [one["winningPlan"] for one in parts(explained) if "winningPlan" in one]
    return [one for one in parts(plan.get("queryPlan", plan)) if "stage" in one]


def stages(explained: dict[str, Any]) -> set[str]:
    return {stage["stage"] for stage in winner(explained)}


def indexes(explained: dict[str, Any]) -> set[str]:
    return {stage["indexName"] for stage in winner(explained) if "indexName" in stage}


def explain(pipeline: pipelines.Pipeline) -> dict[str, Any]:
    collection = ActivityEvent._get_collection()
    command = {"aggregate": collection.name, "pipeline": pipeline, "cursor": {}}
    return collection.database.command("explain", command, verbosity="queryPlanner")


def examined(explained: dict[str, Any]) -> int:
    return explained["executionStats"]["totalDocsExamined"]


class TestPipelines:
    @pytest.mark.parametrize("window", [Window(), MONTH, DAY], ids=["ever", "month", "day"])
    @pytest.mark.parametrize("make", [pipelines.summary, pipelines.daily])
    @pytest.mark.parametrize("user_id", ["abc", "user-100", "nobody"])
    def test_a_user_is_counted_by_the_index_of_the_user(self, make, window, user_id):
        explained = explain(make(user_id=user_id, window=window))

        assert indexes(explained) == {"user_id_timestamp"}
        assert not stages(explained) & {"COLLSCAN", "SORT"}

    @pytest.mark.parametrize("make", [pipelines.trend, pipelines.retention])
    def test_users_are_counted_without_reading_a_document(self, make):
        explained = explain(make(window=MONTH))

        assert indexes(explained) == {"user_id_timestamp"}
        assert not stages(explained) & {"COLLSCAN", "FETCH"}

    @pytest.mark.parametrize("make", [pipelines.trend, pipelines.retention])
    def test_users_of_a_short_time_are_counted_by_either_index(self, make):
        explained = explain(make(window=DAY))

        assert indexes(explained) <= {"user_id_timestamp", "timestamp"}
        assert "COLLSCAN" not in stages(explained)

    @pytest.mark.parametrize("window", [MONTH, DAY], ids=["month", "day"])
    def test_hours_are_counted_without_reading_a_document(self, window):
        explained = explain(pipelines.hours(window=window))

        assert indexes(explained) == {"timestamp"}
        assert not stages(explained) & {"COLLSCAN", "FETCH"}

    @pytest.mark.parametrize("window", [MONTH, DAY], ids=["month", "day"])
    def test_resources_are_counted_by_the_index_of_the_time(self, window):
        explained = explain(pipelines.resources(window=window, limit=20))

        assert indexes(explained) == {"timestamp"}
        assert "COLLSCAN" not in stages(explained)


class TestReads:
    def test_the_newest_are_read_from_the_end_of_the_index(self):
        explained = selectors.rows_by_time(selectors.recent_match(), 21).explain()

        assert indexes(explained) == {"timestamp"}
        assert not stages(explained) & {"COLLSCAN", "SORT"}
        assert examined(explained) == 21

    @pytest.mark.parametrize("user_id", ["abc", "user-100"])
    @pytest.mark.parametrize("side", ["after", "before"])
    @pytest.mark.parametrize("days", [0, 1, 15, 29])
    def test_a_page_of_a_feed_costs_the_same_at_any_depth(self, user_id, side, days):
        at = Position(timestamp=UNTIL - timedelta(days=days), event_id=ObjectId(), side=side)
        match = selectors.feed_match(FeedQuery(user_id=user_id, position=at))

        explained = selectors.rows_by_time(match, 21, backwards=side == "before").explain()

        assert indexes(explained) == {"user_id_timestamp"}
        assert not stages(explained) & {"COLLSCAN", "SORT"}
        assert examined(explained) <= 22  # the neighbour itself, and no more

    @pytest.mark.parametrize("side", ["after", "before"])
    @pytest.mark.parametrize("days", [0, 1, 15, 29])
    def test_a_page_over_all_users_costs_the_same_at_any_depth(self, side, days):
        at = Position(timestamp=UNTIL - timedelta(days=days), event_id=ObjectId(), side=side)
        match = selectors.feed_match(FeedQuery(position=at))

        explained = selectors.rows_by_time(match, 21, backwards=side == "before").explain()

        assert indexes(explained) == {"timestamp"}
        assert not stages(explained) & {"COLLSCAN", "SORT"}
        assert examined(explained) <= 22

    @pytest.mark.parametrize(
        "changes", [{"action": "cache_cleared"}, {"resource": "cache"}, {"resource": "profile"}]
    )
    def test_what_is_rare_over_all_users_is_found_by_its_action(self, changes):
        match = selectors.feed_match(FeedQuery(**changes))

        explained = selectors.rows_by_time(match, 21).explain()

        assert indexes(explained) <= {"action_timestamp", "timestamp"}
        assert not stages(explained) & {"COLLSCAN", "SORT"}
        assert examined(explained) <= 21 * 15  # of 20 000

    @pytest.mark.parametrize(
        "changes", [{"action": "note_deleted"}, {"resource": "cache"}, {"window": DAY}], ids=str
    )
    def test_a_filtered_feed_is_read_by_an_index_in_its_order(self, changes):
        match = selectors.feed_match(FeedQuery(user_id="abc", **changes))

        explained = selectors.rows_by_time(match, 21).explain()

        assert indexes(explained) <= {"user_id_timestamp", "action_timestamp"}
        assert not stages(explained) & {"COLLSCAN", "SORT"}
