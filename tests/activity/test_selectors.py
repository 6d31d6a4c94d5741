"""The newest events, and feeds by keyset, on a real MongoDB."""

import dataclasses
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from django.utils import timezone

from activity import selectors
from activity.documents import ActivityEvent
from activity.paging import FeedQuery, Position, position_of
from activity.time_window import midnight
from tests.builders import make_event

START = midnight(timezone.now()) - timedelta(days=9)
# How far into a second the events happen: with ties of many sizes, first, last and between.
TIES = [0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 3, 4, 5, 6, 6, 7, 7, 7]


def feed_ids(query: FeedQuery) -> list[str]:
    return [event["id"] for event in selectors.feed(query=query).events]


def follow(query: FeedQuery, way: str) -> FeedQuery | None:
    """The query of the page before or after this one."""
    link = getattr(selectors.feed(query=query), way)
    if link is None:
        return None
    [cursor] = parse_qs(link)["cursor"]
    return dataclasses.replace(query, position=position_of(cursor, query=query))


@pytest.fixture
def ids() -> list[str]:
    """Ids of abc's events, newest first, ties by id; eve's are between them."""
    made = []
    for number, place in enumerate(TIES):
        at = START + timedelta(milliseconds=place)
        made.append((at, make_event(at)))
        make_event(at, user_id="eve", action="note_created" if number % 2 else "note_viewed")
    return [str(event_id) for _, event_id in sorted(made, reverse=True)]


class TestRecent:
    def test_returns_the_newest_of_all_users_with_ties_by_id(self):
        made = [
            (place, make_event(START + timedelta(milliseconds=place), user_id=f"u{number}"))
            for number, place in enumerate(TIES)
        ]
        newest = [str(event_id) for _, event_id in sorted(made, reverse=True)]

        for limit in (1, 2, 5, 100):
            assert [event["id"] for event in selectors.recent(limit=limit)] == newest[:limit]

    def test_is_empty_where_there_is_no_event(self):
        assert selectors.recent(limit=5) == []

    def test_presents_what_has_no_more_than_it_must(self):
        event_id = ActivityEvent._get_collection().insert_one({"timestamp": START}).inserted_id

        [event] = selectors.recent(limit=5)

        assert event["id"] == str(event_id)
        assert event["timestamp"] == f"{START.date()}T00:00:00.000Z"
        assert (event["user_id"], event["details"]) == (None, {})


class TestFeed:
    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7, 17, 18, 19])
    def test_pages_show_every_event_once_there_and_back(self, ids, limit):
        query, shown, pages = FeedQuery(user_id="abc", limit=limit), [], []
        while query is not None:
            pages.append(query)
            shown += feed_ids(query)
            query = follow(query, "next_query")

        assert shown == ids
        query, back = pages[-1], feed_ids(pages[-1])
        while (query := follow(query, "previous_query")) is not None:
            assert feed_ids(query), "a link to an empty page"
            back = feed_ids(query) + back
        assert back == ids

    @pytest.mark.parametrize("limit", [1, 2, 5, 100])
    @pytest.mark.parametrize(
        ("side", "back"), [("after", "previous_query"), ("before", "next_query")]
    )
    def test_a_page_emptied_by_deletes_leads_back_to_what_remains(self, ids, limit, side, back):
        middle = len(ids) // 2
        remaining, gone = (
            (ids[:middle], ids[middle:]) if side == "after" else (ids[middle:], ids[:middle])
        )
        neighbour = ActivityEvent.objects.get(id=remaining[-1 if side == "after" else 0])
        at = Position(timestamp=neighbour.timestamp, event_id=neighbour.id, side=side)
        empty = FeedQuery(user_id="abc", limit=limit, position=at)
        assert feed_ids(empty)

        ActivityEvent.objects(id__in=gone).delete()

        assert feed_ids(empty) == []
        pages_events, query = [], follow(empty, back)
        while query is not None:
            page = feed_ids(query)
            pages_events = page + pages_events if side == "after" else pages_events + page
            query = follow(query, back)
        assert pages_events == remaining

    def test_an_empty_feed_ends_whichever_way_one_goes(self, ids):
        second = follow(FeedQuery(user_id="abc", limit=5), "next_query")
        ActivityEvent.objects.delete()

        for way in ("next_query", "previous_query"):
            query, pages = second, 0
            while query is not None:
                assert feed_ids(query) == []
                query, pages = follow(query, way), pages + 1
            assert pages <= 2

    def test_an_event_that_comes_while_one_pages_shifts_nothing(self, ids):
        first = FeedQuery(user_id="abc", limit=5)
        second = follow(first, "next_query")

        make_event(START + timedelta(seconds=1))

        assert feed_ids(second) == ids[5:10]

    def test_is_one_query_and_two_where_a_tie_is_cut(self, ids, monkeypatch):
        queries = []
        find = type(ActivityEvent._get_collection()).find
        monkeypatch.setattr(
            type(ActivityEvent._get_collection()),
            "find",
            lambda self, *args, **kwargs: queries.append(args) or find(self, *args, **kwargs),
        )

        selectors.feed(query=FeedQuery(user_id="abc", limit=3))  # 7, 7, 7 | 6
        untied = len(queries)
        selectors.feed(query=FeedQuery(user_id="abc", limit=2))  # 7, 7 | 7

        assert (untied, len(queries) - untied) == (1, 2)

    @pytest.mark.usefixtures("ids")
    def test_filters_by_action_resource_and_time(self):
        until = START + timedelta(milliseconds=3)
        query = FeedQuery(user_id="eve", action="note_created", resource="note")
        bounded = dataclasses.replace(
            query, window=dataclasses.replace(query.window, since=START, until=until)
        )

        events = selectors.feed(query=bounded).events

        assert len(events) == len([n for n, at in enumerate(TIES) if n % 2 and at < 3])
        assert {event["action"] for event in events} == {"note_created"}
        assert selectors.feed(query=dataclasses.replace(query, resource="cache")).events == []
