"""The cursor of a feed: what it says, and that it says so to nobody else."""

import base64
import dataclasses
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
from bson import ObjectId

from activity.paging import FeedQuery, Position, position_of
from activity.time_window import Window
from config.web.paging import CursorRejected

AT = Position(
    timestamp=datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC),
    event_id=ObjectId("65b000000000000000000001"),
    side="after",
)
FEED = FeedQuery(user_id="abc", action="note_viewed", limit=7)


def cursor_of(query: FeedQuery, at: Position = AT) -> str:
    [cursor] = parse_qs(query.link_to(at))["cursor"]
    return cursor


class TestLinkTo:
    def test_repeats_the_filters_and_the_limit(self):
        since = datetime(2026, 1, 1, tzinfo=UTC)
        query = dataclasses.replace(FEED, window=Window(since=since))

        said = parse_qs(query.link_to(AT))

        assert said.pop("cursor")
        assert said == {
            "action": ["note_viewed"],
            "since": ["2026-01-01T00:00:00.000Z"],
            "limit": ["7"],
        }


class TestPositionOf:
    @pytest.mark.parametrize("side", ["after", "before", "from", "until"])
    def test_returns_where_the_cursor_points(self, side):
        at = dataclasses.replace(AT, side=side)

        assert position_of(cursor_of(FEED, at), query=FEED) == at

    def test_an_empty_one_points_to_the_start(self):
        assert position_of("", query=FEED) is None

    def test_is_the_same_for_another_limit(self):
        query = dataclasses.replace(FEED, limit=50)

        assert position_of(cursor_of(FEED), query=query) == AT

    @pytest.mark.parametrize(
        "changes",
        [
            {"user_id": "eve"},
            {"action": None},
            {"action": "note_created"},
            {"resource": "note"},
            {"window": Window(since=AT.timestamp)},
            {"window": Window(until=AT.timestamp)},
        ],
        ids=str,
    )
    def test_refuses_the_cursor_of_another_feed(self, changes):
        cursor = cursor_of(dataclasses.replace(FEED, **changes))

        with pytest.raises(CursorRejected, match="another user or to other filters"):
            position_of(cursor, query=FEED)

    def test_refuses_each_altered_character(self):
        cursor = cursor_of(FEED)

        for place, character in enumerate(cursor):
            altered = cursor[:place] + ("A" if character != "A" else "B") + cursor[place + 1 :]
            with pytest.raises(CursorRejected):
                position_of(altered, query=FEED)

    @pytest.mark.parametrize(
        "cursor",
        [
            "x",
            ":",
            "é",
            "\0",
            '{"$gt": ""}',
            base64.b64encode(b'["abc", {}, "after", 0, "x"]').decode(),
        ],
    )
    def test_refuses_what_it_did_not_make(self, cursor):
        with pytest.raises(CursorRejected, match="altered"):
            position_of(cursor, query=FEED)
