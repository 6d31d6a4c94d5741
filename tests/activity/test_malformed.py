"""One document, as a person may write it in the shell, is no reason to see no other."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from bson import Code, Decimal128, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from activity.documents import ActivityEvent
from activity.time_window import midnight
from config.explain import samples
from tests.activity.test_api import BASE, PATHS, get, results
from tests.builders import make_event

pytestmark = pytest.mark.django_db(transaction=True)
MISSING = object()
START = midnight(timezone.now()) - timedelta(days=1)
UNDATED = {
    "timestamp: missing": MISSING,
    "timestamp: null": None,
    "timestamp: text": "2026-01-31T12:00:00Z",
    "timestamp: number": 1_767_225_600_000,
    "timestamp: object": {"$date": 0},
    "timestamp: internal": Timestamp(1_767_225_600, 1),
    "timestamp: a year of six digits": DatetimeMS(10**15),
    "timestamp: the last": DatetimeMS(2**63 - 1),
    "timestamp: the first": DatetimeMS(-(2**63)),
    "timestamp: year 3000": datetime(3000, 1, 1, tzinfo=UTC),
    "timestamp: list": [START + timedelta(hours=1)],
    "timestamp: long list": [datetime(1960, 1, 1, tzinfo=UTC), START, DatetimeMS(10**15)],
    "timestamp: empty list": [],
    "_id: number": 5,
    "_id: text": "an id with ümläuts",
    "_id: object": {"a": 1},
    "_id: date": START,
}
VALUES = {
    "missing": MISSING,
    "null": None,
    "number": 5,
    "NaN": float("nan"),
    "decimal": Decimal128("1.5"),
    "list": ["abc", "note_viewed"],
    "object": {"$gt": ""},
    "date": DatetimeMS(10**15),
    "id": ObjectId(),
    "bytes": b"\xff",
    "pattern": Regex("("),
    "code": Code("x", {}),
    "least": MinKey(),
}
FIELDS = [
    *("user_id", "action", "resource", "resource_id", "details", "ip_address"),
    *("user_agent", "request_id"),
]
MISTYPED = {f"{name}: {kind}": value for name in FIELDS for kind, value in VALUES.items()}


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    """A list makes an index multikey, also after it is deleted."""
    ActivityEvent.drop_collection()
    ActivityEvent.ensure_indexes()
    yield
    ActivityEvent.drop_collection()
    ActivityEvent.ensure_indexes()


@pytest.fixture
def operator() -> Client:
    browser = Client(raise_request_exception=False)
    browser.force_login(User.objects.create_superuser("ann"))
    return browser


def make_malformed(shape: str, value: Any) -> None:
    event_id = make_event(START + timedelta(milliseconds=1))
    collection = ActivityEvent._get_collection()
    event = collection.find_one_and_delete({"_id": event_id}) | {shape.split(":")[0]: value}
    collection.insert_one({name: kept for name, kept in event.items() if kept is not MISSING})


def walked(api: Client, *, limit: int) -> list[str]:
    """The ids of abc's feed by its links, and the same back again."""
    url, pages, last = f"{BASE}/abc?limit={limit}", [], ""
    while url:
        assert len(pages) < 20, "no end"
        last, body = url, api.get(url).json()
        pages.append([event["id"] for event in body["results"]])
        url = body["next"]
    there = [event_id for page in pages for event_id in page]
    back, url = [], last
    while url:
        body = api.get(url).json()
        back = [event["id"] for event in body["results"]] + back
        url = body["previous"]
    assert back == there
    return there


class TestTimestampAndId:
    """Without a time, or without an id that a cursor can name, it has no place in a list."""

    @pytest.mark.parametrize("shape", UNDATED)
    def test_one_fails_no_endpoint(self, api, operator, shape):
        event_id = str(make_event(START))
        make_malformed(shape, UNDATED[shape])

        for path in PATHS:
            assert get(api, path).status_code == 200, path
        assert [event["id"] for event in results(api, "recent")] == [event_id]
        assert [event["id"] for event in results(api, "abc")] == [event_id]
        assert {row["action"] for row in results(api, "abc/summary")} == {"note_viewed"}
        [day] = results(api, "abc/daily")
        assert day["date"] == START.date().isoformat()
        page = operator.get("/admin/activity/event/")
        assert [event["id"] for event in page.context["events"]] == [event_id]
        assert sum(page.context["events_by_day"]) >= 1

    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_all_of_them_change_no_page(self, api, limit):
        ids = [str(make_event(START + timedelta(milliseconds=place // 2))) for place in range(6)]
        for shape, value in UNDATED.items():
            make_malformed(shape, value)

        assert sorted(walked(api, limit=limit)) == sorted(ids)

    @pytest.mark.parametrize("shape", UNDATED)
    def test_one_changes_no_comparison_with_the_spool(self, shape):
        make_malformed(shape, UNDATED[shape])
        out = StringIO()

        call_command("activity_reconcile", stdout=out)

        assert "0 lost, 0 doubled" in out.getvalue()

    @pytest.mark.parametrize("shape", UNDATED)
    def test_one_is_no_sample_of_a_query(self, shape):
        make_event(START)
        make_malformed(shape, UNDATED[shape])

        assert samples.sample_events().middle == START


class TestOtherFields:
    """It counts as missing."""

    @pytest.mark.parametrize("shape", MISTYPED)
    def test_one_fails_no_endpoint(self, api, operator, shape):
        field = shape.split(":")[0]
        event_id = str(make_event(START))
        make_malformed(shape, MISTYPED[shape])

        for path in PATHS:
            assert get(api, path).status_code == 200, path
        newest, other = results(api, "recent")
        assert other["id"] == event_id
        if shape == "details: object":
            assert newest["details"] == {"$gt": ""}
        else:
            assert newest[field] in (None, {}, "x")  # code is a text
        page = operator.get("/admin/activity/event/")
        assert len(page.context["events"]) == 2
        assert ">None<" not in page.content.decode()

    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_all_of_them_are_walked_by_the_links(self, api, limit):
        make_event(START)
        for kind, value in VALUES.items():
            make_malformed(f"action: {kind}", value)

        assert len(set(walked(api, limit=limit))) == len(VALUES) + 1
        assert results(api, "abc/summary")[-1]["count"] == 1
