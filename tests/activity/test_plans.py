"""The plans that MongoDB chooses, at 20 000 events of real skew: always an index, and which."""

from datetime import timedelta

import pytest
from bson import ObjectId
from django.utils import timezone

from activity import pipelines, seeding, selectors, services
from activity.documents import ActivityEvent
from activity.paging import FeedQuery, Position
from activity.time_window import Window, midnight
from config.explain import catalogue
from config.explain.assertions import PlanAssertions, assert_plan
from tests.indexes import of_collection, used_by

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


def plan(pipeline: pipelines.Pipeline) -> PlanAssertions:
    return assert_plan(pipeline, collection=ActivityEvent._get_collection()).no_seq_scan()


class TestPipelines:
    @pytest.mark.parametrize("window", [Window(), MONTH, DAY], ids=["ever", "month", "day"])
    @pytest.mark.parametrize("make", [pipelines.summary, pipelines.daily])
    @pytest.mark.parametrize("user_id", ["abc", "user-100", "nobody"])
    def test_a_user_is_counted_by_the_index_of_the_user(self, make, window, user_id):
        plan(make(user_id=user_id, window=window)).uses_only("user_id_timestamp").no_sort()

    @pytest.mark.parametrize("make", [pipelines.trend, pipelines.retention])
    def test_users_are_counted_without_reading_a_document(self, make):
        plan(make(window=MONTH)).uses_only("user_id_timestamp").reads_the_index_alone()

    @pytest.mark.parametrize("make", [pipelines.trend, pipelines.retention])
    def test_users_of_a_short_time_are_counted_by_either_index(self, make):
        plan(make(window=DAY)).uses_one_of("user_id_timestamp", "timestamp")

    @pytest.mark.parametrize("window", [MONTH, DAY], ids=["month", "day"])
    def test_hours_are_counted_without_reading_a_document(self, window):
        plan(pipelines.hours(window=window)).uses_only("timestamp").reads_the_index_alone()

    @pytest.mark.parametrize("window", [MONTH, DAY], ids=["month", "day"])
    def test_resources_are_counted_by_the_index_of_the_time(self, window):
        plan(pipelines.resources(window=window, limit=20)).uses_only("timestamp")


class TestReads:
    def test_the_newest_are_read_from_the_end_of_the_index(self):
        checked = assert_plan(selectors.rows_by_time(selectors.feed_match(FeedQuery()), 21))

        checked.uses_only("timestamp").no_seq_scan().no_sort().rows_examined_at_most(21)

    @pytest.mark.parametrize("user_id", ["abc", "user-100"])
    @pytest.mark.parametrize("side", ["after", "before"])
    @pytest.mark.parametrize("days", [0, 1, 15, 29])
    def test_a_page_of_a_feed_costs_the_same_at_any_depth(self, user_id, side, days):
        at = Position(timestamp=UNTIL - timedelta(days=days), event_id=ObjectId(), side=side)
        match = selectors.feed_match(FeedQuery(user_id=user_id, position=at))

        checked = assert_plan(selectors.rows_by_time(match, 21, backwards=side == "before"))

        checked.uses_only("user_id_timestamp").no_seq_scan().no_sort()
        checked.rows_fetched_at_most(22)  # the neighbour itself, and no more
        checked.rows_examined_at_most(22)

    @pytest.mark.parametrize("side", ["after", "before"])
    @pytest.mark.parametrize("days", [0, 1, 15, 29])
    def test_a_page_over_all_users_costs_the_same_at_any_depth(self, side, days):
        at = Position(timestamp=UNTIL - timedelta(days=days), event_id=ObjectId(), side=side)
        match = selectors.feed_match(FeedQuery(position=at))

        checked = assert_plan(selectors.rows_by_time(match, 21, backwards=side == "before"))

        checked.uses_only("timestamp").no_seq_scan().no_sort().rows_examined_at_most(22)

    @pytest.mark.parametrize(
        "changes", [{"action": "cache_cleared"}, {"resource": "cache"}, {"resource": "profile"}]
    )
    def test_what_is_rare_over_all_users_is_found_by_its_action(self, changes):
        match = selectors.feed_match(FeedQuery(**changes))

        checked = assert_plan(selectors.rows_by_time(match, 21))

        checked.uses_one_of("action_timestamp", "timestamp").no_seq_scan().no_sort()
        checked.rows_examined_at_most(21 * 15)  # of 20 000

    @pytest.mark.parametrize(
        "changes", [{"action": "note_deleted"}, {"resource": "cache"}, {"window": DAY}], ids=str
    )
    def test_a_filtered_feed_is_read_by_an_index_in_its_order(self, changes):
        match = selectors.feed_match(FeedQuery(user_id="abc", **changes))

        checked = assert_plan(selectors.rows_by_time(match, 21))

        checked.uses_one_of("user_id_timestamp", "action_timestamp").no_seq_scan().no_sort()

    def test_a_feed_of_an_action_that_is_rare_is_read_by_the_index_of_the_actions(self):
        """What clients ask of action_timestamp: the summaries are by user."""
        match = selectors.feed_match(FeedQuery(user_id="abc", action="cache_cleared"))

        checked = assert_plan(selectors.rows_by_time(match, 21))

        checked.uses_only("action_timestamp").no_sort().rows_examined_at_most(100)


class TestIndexes:
    def test_each_serves_a_query_of_the_service(self):
        assert unused() == set()

    def test_one_that_serves_none_is_found_out(self):
        collection = ActivityEvent._get_collection()
        collection.create_index("ip_address", name="ip_address")
        try:
            assert unused() == {"ip_address"}
        finally:
            collection.drop_index("ip_address")


def unused() -> set[str]:
    used = used_by(catalogue.activity_queries())
    return of_collection(ActivityEvent._get_collection()) - set(used)
