"""The activity part of docs/api.md, call by call."""

import re
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest
from django.test import Client
from django.utils import timezone

from activity import analytics
from activity.actions import ACTIONS
from activity.time_window import midnight
from config.mongodb import client as mongodb_client
from config.stack.process import wait_until
from tests.builders import make_event

BASE = "/api/v1/activity"
PATHS = [
    *("recent", "trend", "insights/resources", "insights/hours", "insights/retention"),
    *("abc", "abc/summary", "abc/daily"),
]
WINDOWED = [path for path in PATHS if path not in ("recent", "trend")]
LIMITED = ["recent", "abc", "insights/resources"]
TODAY = midnight(timezone.now())
FIELDS = [
    *("id", "user_id", "action", "resource", "resource_id", "details"),
    *("timestamp", "ip_address", "user_agent", "request_id"),
]
HOSTILE = [
    *('{"$gt": ""}', "$where", "$gt", "a.b", "a\0", "\0", "[$ne]", "this.constructor", "'", '"'),
    *("<script>", "{{7*7}}", "é", "\u202e", " ", "a" * 5000, "null", "-1", "1e3", "NaN", "0"),
]


def get(api: Client, path: str, **parameters: object):
    query = urlencode(parameters)
    return api.get(f"{BASE}/{path}" + (f"?{query}" if query else ""))


def results(api: Client, path: str, **parameters: object) -> list[dict]:
    response = get(api, path, **parameters)
    assert response.status_code == 200, response.content
    return response.json()["results"]


def error_fields(response) -> set[str]:
    assert response.status_code == 400, response.content
    assert response["Content-Type"] == "application/problem+json"
    return {error["field"] for error in response.json()["errors"]}


class TestEveryEndpoint:
    @pytest.mark.parametrize("path", PATHS)
    def test_answers_without_any_event_and_is_not_kept(self, api, path):
        response = get(api, path)

        assert response.status_code == 200
        assert response["Cache-Control"] == "no-store"
        assert "results" in response.json()

    @pytest.mark.parametrize("path", PATHS)
    def test_refuses_what_it_does_not_know(self, api, path):
        assert error_fields(get(api, path, nonsense=1, sort="x")) == {"nonsense", "sort"}

    @pytest.mark.parametrize("path", PATHS)
    def test_refuses_operators_in_names(self, api, path):
        for name in ("user_id[$ne]", "$where", "since[$gt]", "a.b", "\0"):
            assert error_fields(get(api, path, **{name: "x"})) == {name}

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
    def test_is_for_reading_only(self, api, path, method):
        assert getattr(api, method)(f"{BASE}/{path}").status_code == 405

    @pytest.mark.parametrize("path", PATHS)
    def test_is_open_but_not_to_a_malformed_caller(self, path):
        caller = Client(headers={"X-User-Id": "a b"})

        assert Client().get(f"{BASE}/{path}").status_code == 200
        assert error_fields(caller.get(f"{BASE}/{path}")) == {"X-User-Id"}


class TestWindow:
    @pytest.mark.parametrize("path", WINDOWED)
    def test_since_must_be_before_until(self, api, path):
        day = "2026-01-31"

        for since, until in [(day, day), (day, "2026-01-30"), (f"{day}T00:00:01Z", day)]:
            response = get(api, path, since=since, until=until)
            assert error_fields(response) == {"since", "until"}

    @pytest.mark.parametrize("path", WINDOWED)
    @pytest.mark.parametrize(
        "text",
        [
            *HOSTILE,
            *("", "yesterday", "2026", "2026-1-1", "20260101", "2026-W05-1", "2026-02-30"),
            *("2026-01-01T00:00:00", "2026-01-01T24:00:01Z", "2026-01-01 00:00:00Z", "1767225600"),
            *("2026-01-01T00:00:60Z", "2026-01-01T00:00:00+99:00", "1969-12-31", "3000-01-01"),
            # RFC 3339, 5.7: no leap second but the last of June or December, in UTC.
            *("1990-12-31T23:59:61Z", "1990-12-31T23:58:60Z", "1990-12-31T22:59:60Z"),
            *("1990-12-31T23:59:60+01:00", "1990-11-30T23:59:60Z", "1990-12-30T23:59:60Z"),
            # 5.6: ASCII digits, both halves, a fraction of at least one digit, one offset.
            *("2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00Z", "2026-01-01T"),
            *("2026-01-01T00:00:00.Z", "2026-01-01T00:00:00,5Z", "2026-01-01T00:00:00+0100"),
            *(
                "2026-01-01T00:00:00+24:00",
                "2026-01-01T00:00:00+01:60",
                "2026-01-01T00:00:00Z+01:00",
            ),
            *("2026-01-01T00:00:00.\u0665Z", "2026-01-01T00:00:00\u212a", "2026-01-01_00:00:00Z"),
            *("02026-01-01T00:00:00Z", "+2026-01-01T00:00:00Z", "2026-01-01T00:00:00 Z"),
            *("0000-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "2025-02-29T00:00:00Z"),
            *(
                "0001-01-01T00:00:00+14:00",
                "9999-12-31T23:59:59-14:00",
                "2026-01-01\n",
                "\u0662026-01-01",
            ),
        ],
        ids=ascii,
    )
    def test_refuses_what_is_no_time(self, api, path, text):
        for name in ("since", "until"):
            assert error_fields(get(api, path, **{name: text})) == {name}

    def test_understands_dates_and_times_with_any_offset(self, api):
        at = TODAY - timedelta(hours=12)
        make_event(at)
        later = at + timedelta(milliseconds=1)

        for since in (at.date(), at.isoformat(), f"{at:%Y-%m-%dT%H:%M:%S.000000000Z}"):
            assert len(results(api, "abc", since=since)) == 1
        shifted = at.astimezone(timezone.get_fixed_timezone(330))
        assert len(results(api, "abc", since=shifted.isoformat())) == 1
        assert len(results(api, "abc", since=later.isoformat())) == 0
        assert len(results(api, "abc", until=shifted.isoformat())) == 0
        assert len(results(api, "abc", until=later.isoformat())) == 1

    @pytest.mark.parametrize(
        "text",
        [
            # The examples of RFC 3339, 5.8.
            *("1985-04-12T23:20:50.52Z", "1996-12-19T16:39:57-08:00", "1990-12-31T23:59:60Z"),
            *(
                "1990-12-31T15:59:60-08:00",
                "2013-01-01T12:00:27.87+00:20",
                "2016-12-31T23:59:60.5z",
            ),
            *("1985-04-12t23:20:50z", "1985-04-12T23:20:50-00:00", "2015-07-01T05:29:60+05:30"),
            *("1985-04-12T23:20:50.0123456789Z", f"1985-04-12T23:20:50.{'1' * 1000}Z"),
            *("2024-02-29T23:59:59+23:59", "2024-02-29T00:00:00-23:59"),
        ],
        ids=lambda text: text[:40],
    )
    @pytest.mark.parametrize("path", ["abc", "abc/summary", "abc/daily"])
    def test_accepts_each_form_of_rfc_3339(self, api, path, text):
        for name in ("since", "until"):
            assert get(api, path, **{name: text}).status_code == 200

    @pytest.mark.parametrize(
        ("bound", "is_after"),
        [
            (".907Z", True),
            (".9070Z", True),
            (".906999999999Z", True),
            (".9070000000000000000000000000000001Z", False),
            (".9075Z", False),
            (".9079999Z", False),
            (".908Z", False),
        ],
    )
    def test_is_exact_below_a_millisecond(self, api, bound, is_after):
        at = TODAY - timedelta(days=1) + timedelta(milliseconds=907)
        make_event(at)
        text = f"{at:%Y-%m-%dT%H:%M:%S}{bound}"

        assert len(results(api, "abc", since=text)) == is_after
        assert len(results(api, "abc", until=text)) == (not is_after)

    def test_a_window_within_a_millisecond_is_empty_and_no_mistake(self, api):
        day = f"{TODAY - timedelta(days=1):%Y-%m-%d}"
        first, last = f"{day}T00:00:00.9071Z", f"{day}T00:00:00.9075Z"

        assert results(api, "abc", since=first, until=last) == []
        assert error_fields(get(api, "abc", since=last, until=first)) == {"since", "until"}

    def test_a_leap_second_lies_between_its_neighbours(self, api):
        make_event(datetime(2998, 12, 31, 23, 59, 59, 999_000, UTC))
        make_event(datetime(2999, 1, 1, tzinfo=UTC))
        leap = "2998-12-31T23:59:60.5Z"

        assert [event["timestamp"] for event in results(api, "abc", since=leap)] == [
            "2999-01-01T00:00:00.000Z"
        ]
        assert [event["timestamp"] for event in results(api, "abc", until=leap)] == [
            "2998-12-31T23:59:59.999Z"
        ]

    @pytest.mark.parametrize("path", ["insights/resources", "insights/hours", "insights/retention"])
    def test_of_insights_is_366_days_at_most(self, api, path):
        bounds = {"since": "2024-01-01", "until": "2025-01-01"}

        assert get(api, path, **bounds).status_code == 200
        response = get(api, path, **bounds | {"since": "2023-12-31"})
        assert error_fields(response) == {"since", "until"}

    @pytest.mark.parametrize("path", ["insights/resources", "insights/hours", "insights/retention"])
    def test_of_insights_may_lie_at_the_ends_of_time(self, api, path):
        for bounds in ({"until": "1970-01-01"}, {"until": "2999-12-31"}):
            assert get(api, path, **bounds).status_code == 200
        assert error_fields(get(api, path, since="2999-12-31")) == {"since", "until"}

    def test_of_insights_is_the_last_30_days_by_default(self, api):
        now = timezone.now()
        for days in (0, 29, 31):
            make_event(now - timedelta(days=days, minutes=1))

        assert results(api, "insights/resources")[0]["count"] == 2
        until = (now - timedelta(days=28)).isoformat()
        assert results(api, "insights/resources", until=until)[0]["count"] == 2


class TestLimit:
    @pytest.mark.parametrize("path", LIMITED)
    def test_is_1_to_100_and_20_by_default(self, api, path):
        for number in range(101):
            make_event(resource_id=f"n{number}")

        assert len(results(api, path)) == 20
        assert len(results(api, path, limit=1)) == 1
        assert len(results(api, path, limit=100)) == 100

    @pytest.mark.parametrize("path", LIMITED)
    @pytest.mark.parametrize("text", [*HOSTILE, "101", "1.5", "+5", "", "99999999999"], ids=ascii)
    def test_refuses_any_other(self, api, path, text):
        assert error_fields(get(api, path, limit=text)) == {"limit"}


class TestRecent:
    def test_shows_events_of_all_users_newest_first(self, api):
        first = make_event(user_id="eve", timestamp=TODAY - timedelta(days=1))
        second = make_event(timestamp=TODAY - timedelta(milliseconds=1), details={"status": 200})

        shown = results(api, "recent")

        assert [event["id"] for event in shown] == [str(second), str(first)]
        assert list(shown[0]) == FIELDS
        assert shown[0]["timestamp"] == f"{TODAY - timedelta(days=1):%Y-%m-%d}T23:59:59.999Z"
        assert shown[0]["details"] == {"status": 200}

    def test_of_a_user_named_like_a_path_is_the_path(self, api):
        make_event(user_id="recent")

        assert results(api, "recent/summary") == [{"action": "note_viewed", "count": 1}]


class TestFeed:
    def test_is_walked_by_its_links_there_and_back(self, api):
        made = [str(make_event(TODAY + timedelta(milliseconds=n // 3))) for n in range(23)]
        make_event(user_id="eve")
        url, shown, links = f"{BASE}/abc?limit=5&action=note_viewed", [], []
        while url:
            response = api.get(url)
            body = response.json()
            assert list(body) == ["results", "limit", "next", "previous"]
            shown += [event["id"] for event in body["results"]]
            links.append(url)
            links_sent = dict(re.findall(r'<([^>]+)>; rel="(\w+)"', response.get("Link", "")))
            assert links_sent == {body[rel]: rel for rel in ("next", "previous") if body[rel]}
            url = body["next"]

        assert sorted(shown) == sorted(made)
        assert links[1].startswith("http://testserver/api/v1/activity/abc?")
        assert api.get(links[0]).json()["previous"] is None
        back = api.get(api.get(links[2]).json()["previous"]).json()
        assert [event["id"] for event in back["results"]] == shown[5:10]

    @pytest.mark.parametrize(
        "until",
        [
            *("2999-12-31T23:59:59.9999Z", "2999-12-31T23:59:60Z", "2999-12-31T23:59:59.999Z"),
            *("2999-12-31T22:59:59.9990000001-01:00", "2999-12-31"),
        ],
    )
    @pytest.mark.parametrize("bound", [{}, {"since": "1970-01-01T00:00:00+00:00"}], ids=str)
    def test_its_links_are_followed_at_the_end_of_time(self, api, until, bound):
        made = [str(make_event(TODAY + timedelta(milliseconds=n))) for n in range(3)]
        response, shown = get(api, "abc", limit=1, until=until, **bound), []
        while response is not None:
            assert response.status_code == 200, response.content
            body = response.json()
            shown += [event["id"] for event in body["results"]]
            assert body["previous"] is None or api.get(body["previous"]).status_code == 200
            response = body["next"] and api.get(body["next"])

        assert shown == made[::-1]

    def test_is_empty_for_an_unknown_user(self, api):
        assert get(api, "nobody").json() == {
            "results": [],
            "limit": 20,
            "next": None,
            "previous": None,
        }

    def test_filters_by_action_and_resource(self, api):
        make_event(action="note_viewed")
        make_event(action="profile_viewed", resource="profile")

        assert len(results(api, "abc", action="note_viewed")) == 1
        assert len(results(api, "abc", resource="profile")) == 1
        assert len(results(api, "abc", action="note_viewed", resource="profile")) == 0

    @pytest.mark.parametrize("text", [*HOSTILE, "", "note_viewed ", "NOTE_VIEWED"], ids=ascii)
    def test_refuses_an_unknown_action_resource_or_cursor(self, api, text):
        for name in ("action", "resource"):
            assert error_fields(get(api, "abc", **{name: text})) == {name}
        if text:
            assert error_fields(get(api, "abc", cursor=text)) == {"cursor"}

    def test_names_the_actions_that_there_are(self, api):
        [error] = get(api, "abc", action="nonsense").json()["errors"]

        assert set(re.findall(r"\w+_\w+", error["message"])) == ACTIONS

    def test_refuses_the_cursor_of_another_user_or_filter(self, api):
        for _ in range(3):
            make_event()
            make_event(user_id="eve")
        url = get(api, "abc", limit=1).json()["next"]

        assert error_fields(api.get(url.replace("/abc?", "/eve?"))) == {"cursor"}
        assert error_fields(api.get(f"{url}&action=note_viewed")) == {"cursor"}
        assert api.get(url.replace("limit=1", "limit=2")).status_code == 200

    def test_repeated_parameters_are_refused(self, api):
        response = api.get(f"{BASE}/abc?action=note_viewed&action=note_viewed")

        assert error_fields(response) == {"action"}


class TestUser:
    @pytest.mark.parametrize("path", ["", "/summary", "/daily"])
    @pytest.mark.parametrize(
        "user_id", ["$where", '{"$gt":""}', "a b", "\0", "a\n", "é", "[$ne]", "a" * 129], ids=ascii
    )
    def test_refuses_a_malformed_one(self, api, path, user_id):
        response = api.get(f"{BASE}/{quote(user_id)}{path}")

        assert error_fields(response) == {"user_id"}

    @pytest.mark.parametrize("user_id", ["a.b", "a@b.example", "a:b-c_d", "A" * 128])
    def test_takes_every_well_formed_one(self, api, user_id):
        make_event(user_id=user_id)

        assert len(results(api, user_id)) == 1
        assert len(results(api, f"{user_id}/summary")) == 1
        assert len(results(api, f"{user_id}/daily")) == 1


class TestCounts:
    def test_of_a_user_by_action_and_by_day(self, api):
        make_event(TODAY)
        make_event(TODAY)
        make_event(TODAY - timedelta(days=1), action="note_created")

        assert results(api, "abc/summary") == [
            {"action": "note_viewed", "count": 2},
            {"action": "note_created", "count": 1},
        ]
        assert results(api, "abc/daily", since=TODAY.date()) == [
            {"date": TODAY.date().isoformat(), "action": "note_viewed", "count": 2}
        ]

    def test_by_day_over_all_users(self, api):
        make_event()
        make_event(user_id="eve")

        rows = results(api, "trend")

        assert len(rows) == 7
        assert rows[-1]["total_activities"] == rows[-1]["unique_users"] == 2
        assert len(results(api, "trend", days=1)) == 1
        assert len(results(api, "trend", days=365)) == 365

    @pytest.mark.parametrize("text", [*HOSTILE, "366", "7.0", ""], ids=ascii)
    def test_refuses_days_out_of_range(self, api, text):
        assert error_fields(get(api, "trend", days=text)) == {"days"}

    def test_by_hour_and_week(self, api):
        make_event()

        assert sum(row["count"] for row in results(api, "insights/hours")) == 1
        weeks = results(api, "insights/retention")
        assert [week["users"] for week in weeks][-1] == 1
        assert list(weeks[0]) == ["week", "users", "returned"]

    @pytest.mark.parametrize(
        ("path", "fields"), [("trend", {"days"}), ("insights/resources", {"since", "until"})]
    )
    def test_of_too_much_is_a_400_that_names_what_to_make_shorter(
        self, api, monkeypatch, path, fields
    ):
        def refuse(pipeline):
            raise analytics.TooMuchToCount("there is too much to count")

        monkeypatch.setattr(analytics, "_run", refuse)

        assert error_fields(get(api, path)) == fields


class TestFailure:
    @pytest.mark.parametrize("how", ["kill", "pause"])
    def test_of_mongodb_is_a_503_in_time(self, api, stack, how):
        getattr(stack, how)("mongodb")
        try:
            for path in PATHS:
                started = time.monotonic()
                response = get(api, path)
                assert time.monotonic() - started < 10  # 2 s on a machine that does nothing else
                assert response.status_code == 503
                assert response.json()["store"] == "mongodb"
                assert response["Retry-After"]
        finally:
            getattr(stack, "start" if how == "kill" else "resume")("mongodb")
            assert wait_until(lambda: get(api, "recent").status_code == 200, 30)
            assert wait_until(lambda: not mongodb_client.breaker.is_open, 30)
