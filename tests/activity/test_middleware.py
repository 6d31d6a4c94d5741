"""Which requests leave an event, what stands in it, and that none is the worse for it."""

import json
import re
from urllib.parse import urlencode

import bson
import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from activity import metrics, services, spool
from activity.actions import ACTIONS, RECORDED
from activity.middleware import UNRECORDED, client_address
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_profiles(transactional_db) -> None:
    UserProfile._get_collection().delete_many({})
    ProfileRow.objects.all().delete()


def events() -> list[dict]:
    recorded = []
    for path in spool.segments(services.own_spool().folder):
        with spool.opened(path, adopt=False) as segment:
            recorded += [bson.decode(record.document) for record in segment.records()]
    return recorded


def last() -> dict:
    return events()[-1]


def send(api: Client, method: str, path: str, body: object = None, **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.generic(
        method, f"/api/v1/{path}", json.dumps(body), "application/json", headers=named
    )


class TestUnrecorded:
    def test_a_request_that_the_server_marks_leaves_no_event(self, api):
        note = make_note()
        api.get(f"/api/v1/notes/{note}")
        before = len(events())

        api.get(f"/api/v1/notes/{note}", **{UNRECORDED: True})
        assert len(events()) == before

        api.get(f"/api/v1/notes/{note}", headers={UNRECORDED: "1"})
        assert len(events()) == before + 1


class TestActions:
    def test_each_step_of_a_note_s_life(self, api):
        created = send(api, "POST", "notes", {"title": "x"}).json()["id"]
        send(api, "GET", f"notes/{created}")
        send(api, "GET", f"notes/{created}")  # a hit, which DRF never sees
        send(api, "PATCH", f"notes/{created}", {"title": "y"})
        send(api, "PUT", f"notes/{created.upper()}", {"title": "z", "content": ""})
        send(api, "DELETE", f"notes/{created}")

        assert [(event["action"], event["resource_id"]) for event in events()] == [
            ("note_created", created),
            ("note_viewed", created),
            ("note_viewed", created),
            ("note_updated", created),
            ("note_updated", created),
            ("note_deleted", created),
        ]
        assert {event["user_id"] for event in events()} == {"abc"}
        assert {event["resource"] for event in events()} == {"note"}

    def test_each_step_of_a_profile_s_life(self, api):
        send(api, "POST", "profiles", {"user_id": "abc", "email": "abc@example.org"})
        send(api, "GET", "profiles/abc")
        send(api, "GET", "profiles/mongo/abc")
        send(api, "PUT", "profiles/abc", {"email": "abc@example.org", "preferences": {}})
        send(api, "PATCH", "profiles/abc/preferences", {"theme": "dark"})
        send(api, "DELETE", "profiles/abc")

        assert [event["action"] for event in events()] == [
            *("profile_created", "profile_viewed", "profile_viewed", "profile_updated"),
            *("preferences_updated", "profile_deleted"),
        ]
        assert {event["resource_id"] for event in events()} == {"abc"}

    def test_a_clear_of_the_cache(self, api, settings):
        settings.ADMIN_TOKEN = "a token of staff"

        send(
            api,
            "POST",
            "admin/cache/clear?namespace=notes",
            Authorization="Bearer a token of staff",
        )

        assert (last()["action"], last()["user_id"]) == ("cache_cleared", "admin-token")
        assert last()["resource_id"] == "notes"

    def test_a_list_with_what_was_asked_for(self, api):
        send(api, "GET", "notes?userId=abc&q=plain&limit=3&cache=false")

        assert last()["action"] == "notes_listed"
        assert last()["details"] == {
            "status": 200,
            "query": {"userId": "abc", "q": "plain", "limit": "3"},
        }

    @pytest.mark.parametrize("query", ["%00=1", "$where=1&a.b=2&=3", f"{'x' * 50_000}=1"])
    def test_nothing_of_a_query_that_the_view_lets_pass(self, api, query):
        note = make_note(user_id="abc")
        before = metrics.FAILED._value.get()
        headers = {"X-User-Id": "abc"}
        for path in (
            f"/notes/{note}",
            "/notes/new",
            f"/notes/{note}/edit",
            f"/notes/{note}/delete",
        ):
            method = "GET" if path == f"/notes/{note}" else "POST"
            form = {"title": "New", "etag": api.get(f"/api/v1/notes/{note}")["ETag"]}
            recorded = len(events())
            Client(headers=headers).generic(
                method,
                f"{path}?{query}",
                urlencode(form),
                "application/x-www-form-urlencoded",
            )
            assert len(events()) == recorded + 1, path
            assert set(last()["details"]) == {"status"}

        assert metrics.FAILED._value.get() == before

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "notes/5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b"),
            ("GET", "notes?page=0"),
            ("POST", "notes"),
            ("DELETE", "profiles/xyz"),
            ("GET", "metrics/cache"),
            ("POST", "admin/cache/clear"),
        ],
    )
    def test_what_failed_or_is_no_resource_leaves_none(self, api, method, path):
        send(api, method, path)

        assert events() == []

    def test_nor_does_an_answer_that_the_client_has(self, api):
        note = make_note()
        etag = send(api, "GET", f"notes/{note}")["ETag"]

        assert send(api, "GET", f"notes/{note}", If_None_Match=etag).status_code == 304

        assert len(events()) == 1

    def test_each_step_of_a_note_s_life_on_the_pages(self):
        browser = Client()
        browser.post("/user", {"user_id": "abc"})
        created = browser.post("/notes/new", {"title": "x", "content": ""})["Location"]
        etag = browser.get(f"/api/v1{created}", headers={"X-User-Id": "abc"})["ETag"]
        assert browser.get(created).status_code == 200
        browser.get("/?q=x&userId=&cache=false")
        assert browser.post(f"{created}/edit", {"title": "x", "etag": etag}).status_code == 302
        browser.post(f"{created}/edit", {"title": "y", "content": "", "etag": etag})
        assert browser.post(f"{created}/edit", {"title": "z", "etag": etag}).status_code == 412
        etag = browser.get(f"/api/v1{created}", headers={"X-User-Id": "abc"})["ETag"]
        browser.post(f"{created}/delete", {"etag": etag})

        assert [(event["action"], event["user_id"]) for event in events()] == [
            ("note_created", "abc"),
            ("note_viewed", "abc"),  # by the API
            ("note_viewed", "abc"),
            ("notes_listed", "abc"),
            ("note_updated", "abc"),
            ("note_viewed", "abc"),
            ("note_deleted", "abc"),
        ]
        assert {event["resource_id"] for event in events()} == {created.rpartition("/")[2], None}

    def test_every_write_of_the_api_is_recorded(self):
        def routes(patterns, prefix=""):
            for pattern in patterns:
                path = prefix + str(pattern.pattern)
                if isinstance(pattern, URLResolver):
                    yield from routes(pattern.url_patterns, path)
                elif isinstance(pattern, URLPattern) and path.startswith("api/v1/"):
                    yield pattern

        for route in routes(get_resolver().url_patterns):
            view = route.callback.view_class
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                if hasattr(view, method.lower()):
                    assert (route.name, method) in RECORDED

    def test_each_action_is_one_that_can_be_asked_for(self):
        assert {recorded.action for recorded in RECORDED.values()} == set(ACTIONS)


class TestEvent:
    def test_has_what_the_contract_says(self, api):
        note = make_note()

        response = send(api, "GET", f"notes/{note}", User_Agent="curl/8", X_Request_ID="r-1")

        event = last()
        assert set(event) == {
            *("_id", "user_id", "action", "resource", "resource_id", "details"),
            *("timestamp", "ip_address", "user_agent", "request_id"),
        }
        assert event["request_id"] == "r-1" == response["X-Request-ID"]
        assert event["user_agent"] == "curl/8"
        assert event["ip_address"] == "127.0.0.0"

    def test_cuts_what_is_too_long(self, api):
        send(api, "GET", f"notes?q={'x' * 200}", User_Agent="u" * 9_000)

        assert len(last()["user_agent"]) == 512

    def test_no_user_named_is_the_demo_user(self):
        Client().get(f"/api/v1/notes/{make_note()}")

        assert last()["user_id"] == "demo"


class TestAddress:
    @pytest.mark.parametrize(
        ("address", "shown"),
        [
            ("203.0.113.77", "203.0.113.0"),
            ("2001:db8:1:2:3::4", "2001:db8:1::"),
            ("::ffff:203.0.113.77", "203.0.113.0"),
            ("not an address", None),
            ("", None),
        ],
    )
    def test_is_shortened_to_its_network(self, address, shown):
        assert services.shown_address(address) == shown

    def test_is_kept_whole_where_that_is_set(self, settings):
        settings.ACTIVITY_FULL_IP = True
        assert services.shown_address("203.0.113.77") == "203.0.113.77"

    @pytest.mark.parametrize(
        ("proxies", "forwarded", "believed"),
        [
            (0, "198.51.100.1", "127.0.0.1"),
            (1, "198.51.100.9, 198.51.100.1", "198.51.100.1"),
            (2, "6.6.6.6, 198.51.100.9, 198.51.100.1", "198.51.100.9"),
            (3, "198.51.100.1", "198.51.100.1"),
            (1, "", "127.0.0.1"),
            (1, " , ", ""),
            (1, "198.51.100.9,", ""),
            (1, "198.51.100.9, 198.51.100.1:51234", "198.51.100.1"),
            (1, "[2001:db8::1]:443", "2001:db8::1"),
            (1, "[2001:db8::1]", "2001:db8::1"),
            (1, "2001:db8::1", "2001:db8::1"),
        ],
    )
    def test_only_as_many_proxies_are_believed_as_there_are(
        self, settings, proxies, forwarded, believed
    ):
        settings.TRUSTED_PROXIES = proxies

        assert (
            client_address({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": forwarded})
            == believed
        )


class TestFailure:
    def test_of_the_disk_changes_no_answer_and_is_counted(self, api, monkeypatch):
        note = make_note()
        expected = send(api, "GET", f"notes/{note}")
        before = metrics.FAILED._value.get()

        def full(self, elements):
            raise OSError("the disk is full")

        monkeypatch.setattr(spool.Spool, "append_elements", full)
        response = send(api, "GET", f"notes/{note}")

        assert (response.status_code, response.content) == (200, expected.content)
        assert metrics.FAILED._value.get() == before + 1

    def test_of_the_view_is_told_as_it_is(self, api):
        assert send(api, "GET", "notes/x").status_code == 404
        assert events() == []
        assert re.search("note-not-found", send(api, "GET", "notes/x").content.decode())
