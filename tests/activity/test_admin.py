"""The Activity page of the admin: the chart, the events with their filters and pages, and who may look."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from activity import analytics
from activity.admin.filters import EVENTS_A_PAGE
from activity.time_window import midnight
from tests.builders import make_event

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/activity/event/"
START = midnight(timezone.now()) - timedelta(days=9)


def shown(response) -> list[str]:
    assert response.status_code == 200
    assert "errors" not in response.context, response.context["errors"]
    return [event["id"] for event in response.context["events"]]


def link(response, rel: str) -> str | None:
    match = re.search(rf'<a rel="{rel}" href="([^"]+)"', response.content.decode())
    return match and PAGE + unescape(match.group(1))


def make_events(count: int, **changes: object) -> list[str]:
    """So many events, three to a millisecond; their ids, newest first."""
    events = [
        (at, make_event(at, **changes))
        for at in (START + timedelta(milliseconds=number // 3) for number in range(count))
    ]
    return [str(event_id) for _, event_id in sorted(events, reverse=True)]


class TestList:
    @pytest.mark.parametrize(
        "filters",
        [
            {},
            {"user": "abc"},
            {"action": "note_viewed"},
            {"resource": "note"},
            {"user": "abc", "since": f"{START:%Y-%m-%dT%H:%M:%S}", "until": "2999-12-31"},
        ],
        ids=str,
    )
    def test_pages_show_every_event_once_there_and_back(self, superuser_client, filters):
        ids = make_events(2 * EVENTS_A_PAGE + 7)
        if filters:
            make_event(START, user_id="eve", action="cache_cleared", resource="cache")
        response, there, pages = superuser_client.get(PAGE, filters), [], []
        while True:
            there += shown(response)
            pages.append(shown(response))
            if (older := link(response, "next")) is None:
                break
            response = superuser_client.get(older)

        assert there == ids
        back = [shown(response)]
        while (newer := link(response, "prev")) is not None:
            assert shown(superuser_client.get(link(response, "first"))) == ids[:EVENTS_A_PAGE]
            response = superuser_client.get(newer)
            back.insert(0, shown(response))
        assert back == pages

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ({}, "ABCD"),
            ({"user": "abc"}, "AC"),
            ({"user": " abc "}, "AC"),
            ({"user": "nobody"}, ""),
            ({"action": "note_created"}, "B"),
            ({"resource": "profile"}, "CD"),
            ({"resource": "cache"}, ""),
            ({"user": "abc", "resource": "profile"}, "C"),
            ({"action": "profile_viewed", "resource": "profile"}, "CD"),
            ({"since": "{day} 00:00:02"}, "CD"),
            ({"since": "{day}T02:00:02+02:00"}, "CD"),
            ({"until": "{day}T00:00:02Z"}, "AB"),
            ({"since": "{day}", "until": "{day}T00:00:01.001"}, "AB"),
        ],
        ids=str,
    )
    def test_is_filtered(self, superuser_client, filters, expected):
        profile = {"action": "profile_viewed", "resource": "profile"}
        ids_by_letter = {
            "A": make_event(START),
            "B": make_event(START + timedelta(seconds=1), user_id="eve", action="note_created"),
            "C": make_event(START + timedelta(seconds=2), **profile),
            "D": make_event(START + timedelta(seconds=3), user_id="bob", **profile),
        }
        parameters = {name: text.format(day=START.date()) for name, text in filters.items()}

        ids = shown(superuser_client.get(PAGE, parameters))

        assert ids == [str(ids_by_letter[letter]) for letter in reversed(expected)]

    def test_a_field_keeps_what_was_asked_for(self, superuser_client):
        parameters = {"user": "abc", "action": "note_viewed", "since": "2026-01-31T23:59:58Z"}

        page = superuser_client.get(PAGE, parameters).content.decode()

        assert 'name="user" value="abc"' in page
        assert '<option value="note_viewed" selected>' in page
        assert 'name="since" value="2026-01-31T23:59:58"' in page

    def test_a_field_keeps_no_time_that_it_would_refuse(self, superuser_client):
        ids = make_events(EVENTS_A_PAGE + 1)
        parameters = {"user": "abc", "until": "2999-12-31T23:59:60Z"}

        response = superuser_client.get(PAGE, parameters)

        assert shown(response) == ids[:EVENTS_A_PAGE]
        assert shown(superuser_client.get(link(response, "next"))) == ids[EVENTS_A_PAGE:]
        assert response.context["form"]["until"].value() is None

    def test_shows_an_event_whole(self, superuser_client):
        event_id = make_event(
            datetime.now(UTC).replace(microsecond=7000), details={"status": 201, "a": {"b": "ü"}}
        )

        page = superuser_client.get(PAGE).content.decode()

        for text in ("abc", "note_viewed", "3f0a6f6e-", "192.0.2.1", "a browser", "r-1"):
            assert text in page, text
        assert ".007</td>" in page
        assert "&quot;b&quot;: &quot;ü&quot;" in page
        assert str(event_id) in page

    def test_shows_an_event_that_has_no_more_than_it_must(self, superuser_client):
        make_event(resource_id=None, details=None, ip_address=None, user_agent=None)

        page = superuser_client.get(PAGE).content.decode()

        assert "None" not in page[page.index("<tbody>") :]
        assert "no user agent" in page

    @pytest.mark.parametrize(
        "field", ["user_agent", "user_id", "resource_id", "action", "details", "ip_address"]
    )
    def test_what_an_event_says_is_text(self, superuser_client, field):
        evil = '"><script>alert(1)</script>'
        make_event(**{field: {evil: evil} if field == "details" else evil})

        page = superuser_client.get(PAGE).content.decode()

        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page

    def test_says_so_where_there_is_nothing(self, superuser_client):
        page = superuser_client.get(PAGE).content.decode()
        assert "There is no event yet." in page
        assert "No event in this time." in page
        assert "<polyline" not in page
        assert "No event matches." in superuser_client.get(PAGE, {"user": "abc"}).content.decode()

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"user": "a b"}, "user: Must be 1 to 128 characters"),
            ({"user": "a\0"}, "user: "),
            ({"user": "a\nb"}, "user: "),
            ({"user": "x" * 129}, "user: Must be 1 to 128 characters"),
            ({"user": '{"$gt": ""}'}, "user: Must be 1 to 128 characters"),
            ({"action": "x"}, "action: Select a valid choice. x is not one"),
            ({"action": "<script>"}, "&lt;script&gt; is not one"),
            ({"resource": "$where"}, "resource: Select a valid choice."),
            ({"since": "2026-13-01"}, "since: 2026-13-01 is not a time"),
            ({"until": "<b>"}, "until: &lt;b&gt; is not a time"),
            ({"until": "9999-12-31"}, "until: Must lie in 1970 to 2999."),
            ({"since": "0001-01-01T00:00:00+14:00"}, "since: "),
            ({"since": "2026-01-02", "until": "2026-01-02"}, "until: Must be after since."),
            (
                {"action": "note_viewed", "resource": "cache"},
                "resource: note_viewed is never about a cache.",
            ),
            ({"cursor": "x"}, "cursor: this cursor was not made by this service"),
        ],
        ids=str,
    )
    def test_names_what_is_wrong(self, superuser_client, parameters, message):
        make_event()

        response = superuser_client.get(PAGE, parameters)

        assert response.status_code == 200
        assert message in response.content.decode()
        assert "events" not in response.context

    def test_refuses_a_cursor_of_other_filters(self, superuser_client):
        make_events(EVENTS_A_PAGE + 1)
        older = link(superuser_client.get(PAGE), "next")

        page = superuser_client.get(f"{older}&user=eve").content.decode()

        assert "cursor: this cursor belongs to another user or to other filters." in page

    @pytest.mark.parametrize("name", ["user[$ne]", "user.x", "$where", "limit"])
    def test_what_is_no_field_asks_for_nothing(self, superuser_client, name):
        ids = make_events(3)

        assert shown(superuser_client.get(PAGE, {name: "1"})) == ids


class TestChart:
    def test_shows_events_and_users_of_each_of_the_last_30_days(self, superuser_client):
        today = midnight(timezone.now())
        for days, users in ((0, ["abc"]), (3, ["abc", "abc", "eve"]), (29, ["eve"]), (30, ["x"])):
            for user in users:
                make_event(today - timedelta(days=days), user_id=user)

        response = superuser_client.get(PAGE)

        counts = zip(
            response.context["events_by_day"], response.context["users_by_day"], strict=True
        )
        assert [
            (number, events, users) for number, (events, users) in enumerate(counts) if events
        ] == [
            (0, 1, 1),
            (26, 3, 2),
            (29, 1, 1),
        ]
        page = response.content.decode()
        assert page.count('class="marker"') == 2 * 31  # one is the legend's
        day = (today - timedelta(days=3)).date()
        assert f"<title>events: events 3, day (UTC) {day}</title>" in page
        assert f"<title>users: users 2, day (UTC) {day}</title>" in page
        row = f'<th scope="row">{day}</th><td class="number">3</td><td class="number">2</td>'
        assert row in page

    def test_is_made_only_where_nothing_is_asked_for(self, superuser_client):
        make_events(EVENTS_A_PAGE + 1)
        first = superuser_client.get(PAGE, {"user": "", "action": ""})

        assert "trend" in first.context
        for url in (link(first, "next"), f"{PAGE}?user=abc", f"{PAGE}?action=x"):
            response = superuser_client.get(url)
            assert "trend" not in response.context
            assert "the last 30 days as a chart</a>" in response.content.decode()

    def test_asks_nobody_outside(self, superuser_client):
        make_event()

        page = superuser_client.get(PAGE).content.decode()

        assert re.findall(r'(?:src|href|url\()=?["\']?(?:https?:)?//[^"\')]+', page) == []

    def test_too_many_users_leave_the_list_as_it_is(self, superuser_client, monkeypatch):
        ids = make_events(3)

        def too_much(**kwargs: object) -> None:
            raise analytics.TooMuchToCount

        monkeypatch.setattr(analytics, "trend", too_much)
        response = superuser_client.get(PAGE)

        assert shown(response) == ids
        assert "chart: There are too many users" in response.content.decode()


class TestMongodbAway:
    def test_is_told(self, superuser_client, mongodb_restored):
        make_event()
        mongodb_restored.kill("mongodb")

        response = superuser_client.get(PAGE)

        page = response.content.decode()
        assert response.status_code == 200
        assert "events: MongoDB does not answer." in page
        assert "chart: MongoDB does not answer." in page
        assert "events" not in response.context


class TestAccess:
    @pytest.mark.parametrize("user", [None, {}], ids=["nobody", "no staff"])
    def test_who_is_no_staff_is_sent_to_the_login(self, user):
        browser = Client()
        if user is not None:
            browser.force_login(User.objects.create_user("bob"))

        response = browser.get(PAGE)

        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]

    def test_staff_wants_the_permission_to_view(self):
        bob = User.objects.create_user("bob", is_staff=True)
        browser = Client()
        browser.force_login(bob)
        assert browser.get(PAGE).status_code == 403
        assert PAGE not in browser.get("/admin/").content.decode()

        bob.user_permissions.add(
            Permission.objects.get(codename="view_event", content_type__app_label="activity")
        )

        assert browser.get(PAGE).status_code == 200
        assert PAGE in browser.get("/admin/").content.decode()

    @pytest.mark.parametrize("path", ["add/", "1/change/", "1/delete/", "1/history/"])
    def test_nothing_can_be_changed(self, superuser_client, path):
        assert superuser_client.get(PAGE + path).status_code == 404
        assert superuser_client.post(PAGE + path).status_code == 404


class TestEvent:
    def test_has_no_permission_but_to_view(self):
        names = Permission.objects.filter(content_type__app_label="activity")

        assert list(names.values_list("codename", flat=True)) == ["view_event"]

    @pytest.mark.parametrize("words", [[], ["--all"]], ids=str)
    def test_a_dump_of_the_database_does_without_its_table(self, words):
        out = StringIO()

        call_command("dumpdata", "activity", *words, stdout=out)

        assert out.getvalue().strip() == "[]"
