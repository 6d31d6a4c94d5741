"""The Cache page of the admin: what it shows, and who may clear."""

import json

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from cachelayer import client, key_listing, popularity, protocol
from cachelayer.http import represent
from cachelayer.models import Clearance
from cachelayer.namespace import root_of_names
from config.admin.comparison import DIFFERENCES_MAX, PERMISSIONS, differences
from notes import cache_keys
from tests.builders import make_note
from tests.cachelayer.test_cache_command import edit_unseen
from tests.cachelayer.test_checks import NAMESPACES

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/cachelayer/clearance/"
CLEAR = f"{PAGE}clear/"


class TestPage:
    def test_shows_rates_memory_breaker_outbox_and_hot_keys(self, api, superuser_client):
        note_id = make_note()
        for _ in range(3):
            api.get(f"/api/v1/notes/{note_id}")
        popularity.flush()

        page = superuser_client.get(PAGE).content.decode()

        for shown in ("hit rate", "polyline", "closed", "outbox", f"notes:{note_id}", "of 256.0"):
            assert shown in page, shown

    @pytest.mark.parametrize(
        ("edit", "shown"), [(False, "the same"), (True, "not the same: a write under way")]
    )
    def test_looks_a_key_up_beside_what_the_database_says(self, api, superuser_client, edit, shown):
        note_id = make_note(title="A title")
        api.get(f"/api/v1/notes/{note_id}")
        if edit:
            edit_unseen(title="Behind its back")

        assert shown in superuser_client.get(PAGE, {"key": f"notes:{note_id}"}).content.decode()

    def test_shows_the_members_that_differ(self, api, superuser_client):
        note_id = make_note(title="A title", content="Some <content>")
        api.get(f"/api/v1/notes/{note_id}")
        edit_unseen(title="Behind its back")

        page = superuser_client.get(PAGE, {"key": f"notes:{note_id}"})

        members = page.context["comparison"]["differences"]
        assert ("title", '"A title"', '"Behind its back"') in members
        assert {name for name, *_ in members} == {"title", "ETag"}
        assert "<pre>&quot;Behind its back&quot;</pre>" in page.content.decode()

    def test_names_the_store_that_does_not_answer(
        self, superuser_client, profile, mongodb_restored
    ):
        own = Client(headers={"X-User-Id": profile})
        assert own.get(f"/api/v1/profiles/{profile}").status_code == 200
        mongodb_restored.kill("mongodb")

        page = superuser_client.get(PAGE, {"key": f"user:profile:{profile}"}).content.decode()

        assert "MongoDB does not answer" in page
        assert "abc@example.org" in page  # the cached value

    @pytest.mark.parametrize("with_permission", [True, False])
    def test_values_are_for_those_who_may_view_their_rows(self, profile, with_permission):
        Client(headers={"X-User-Id": profile}).get(f"/api/v1/profiles/{profile}")
        viewer = User.objects.create_user("bob", is_staff=True)
        codenames = ["view_clearance", "view_note", *["view_profilerow"] * with_permission]
        viewer.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        browser = Client()
        browser.force_login(viewer)

        page = browser.get(PAGE, {"key": f"user:profile:{profile}"}).content.decode()

        assert ("abc@example.org" in page) == with_permission
        withheld = "only with the permission profiles.view_profilerow"
        assert (withheld in page) != with_permission

    def test_each_namespace_has_the_permission_of_its_rows(self):
        assert set(PERMISSIONS) == {namespace.name for namespace in NAMESPACES}
        for permission in PERMISSIONS.values():
            assert Permission.objects.filter(codename=permission.partition(".")[2]).exists()

    def test_looks_a_list_up(self, api, superuser_client):
        make_note()
        api.get("/api/v1/notes?userId=abc")

        page = superuser_client.get(PAGE, {"key": "notes:list:user:abc"}).content.decode()

        assert "the same" in page

    def test_what_is_no_key_is_told(self, superuser_client):
        assert (
            "is no key of this cache" in superuser_client.get(PAGE, {"key": "x"}).content.decode()
        )

    def test_answers_without_redis(self, superuser_client, stack):
        stack.kill("redis")
        try:
            page = superuser_client.get(PAGE, {"key": cache_keys.NOTES.example})
        finally:
            stack.start("redis")
            client.breaker.reset()

        assert page.status_code == 200
        assert "Redis does not answer" in page.content.decode()

    def test_is_for_those_who_may_view_it(self):
        browser = Client()
        browser.force_login(User.objects.create_user("bob", is_staff=True))

        assert browser.get(PAGE).status_code == 403


class TestKeys:
    def test_lists_those_of_a_namespace_that_begin_so_each_with_a_link(self, api, superuser_client):
        for user_id in ("abc", "abd", "b"):
            api.get(f"/api/v1/notes?userId={user_id}")

        page = superuser_client.get(PAGE, {"namespace": "notes:list", "key_prefix": "user:ab"})

        rows = page.context["listing"].rows
        assert [row.name for row in rows] == ["notes:list:user:abc", "notes:list:user:abd"]
        text = page.content.decode()
        assert 'href="?key=notes%3Alist%3Auser%3Aabc#key"' in text
        assert "<option selected>notes:list</option>" in text
        assert "More exist" not in text

    @pytest.mark.parametrize(
        ("key_prefix", "shown"),
        [
            ("", "No key of notes is cached."),
            ("5b", "No cached key of notes begins so."),
            ("*", "No cached key of notes begins so."),
        ],
    )
    def test_says_that_there_is_none(self, superuser_client, key_prefix, shown):
        page = superuser_client.get(PAGE, {"namespace": "notes", "key_prefix": key_prefix})

        assert shown in page.content.decode()

    def test_says_that_more_exist(self, api, superuser_client, monkeypatch):
        monkeypatch.setattr(key_listing, "KEYS_MAX", 1)
        for user_id in ("abc", "abd"):
            api.get(f"/api/v1/notes?userId={user_id}")

        page = superuser_client.get(PAGE, {"namespace": "notes:list"})

        assert "More exist: these are 1 of them." in page.content.decode()

    def test_a_search_that_ended_early_has_a_link_to_the_rest(
        self, superuser_client, monkeypatch, redis_client
    ):
        monkeypatch.setattr(key_listing, "_SCAN_COUNT", 10)
        monkeypatch.setattr(key_listing, "SCANNED_MAX", 10)
        others = [f"{root_of_names()}some:{number}" for number in range(200)]
        redis_client.mset(dict.fromkeys(others, "x"))
        page, pages = superuser_client.get(PAGE, {"namespace": "notes"}), 1

        while continued := page.context["continued"]:
            assert "No such key among those that were looked at" in page.content.decode()
            page, pages = superuser_client.get(f"{PAGE}?{continued}"), pages + 1

        redis_client.delete(*others)
        assert pages > 1
        assert "No further key begins so." in page.content.decode()

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ({"namespace": "x"}, "namespace: Select a valid choice. x is not one"),
            ({"namespace": ""}, "namespace: This field is required."),
            ({"namespace": "notes", "key_prefix": "x" * 301}, "key_prefix: Ensure this value has"),
            ({"namespace": "notes", "key_prefix": "\0"}, "key_prefix: Null characters are not"),
            ({"namespace": "notes", "cursor": "-1"}, "cursor: Ensure this value is greater"),
            ({"namespace": "notes", "cursor": 2**64}, "cursor: Ensure this value is less"),
            ({"namespace": "notes", "cursor": "x"}, "cursor: Enter a whole number."),
        ],
    )
    def test_names_what_is_wrong(self, superuser_client, query, message):
        assert message in superuser_client.get(PAGE, query).content.decode()

    def test_says_that_redis_does_not_answer(self, superuser_client, monkeypatch):
        monkeypatch.setattr(client.breaker, "is_open", True)

        page = superuser_client.get(PAGE, {"namespace": "notes"}).content.decode()

        assert "keys: Redis does not answer." in page


class TestDifferences:
    def test_are_named_by_their_path(self):
        cached = represent(b'{"results":[{"title":"a","tags":[1]},{"title":"b"}],"total":2')
        stored = represent(b'{"results":[{"title":"c","tags":[1,2]}],"total":2')

        members = differences(cached, stored)

        assert [row for row in members if row[0] != "ETag"] == [
            ("results[0].title", '"a"', '"c"'),
            ("results[0].tags[1]", "does not exist", "2"),
            ("results[1]", '{"title": "b"}', "does not exist"),
        ]

    def test_are_none_of_equal_values(self):
        assert differences(represent(b'{"a":1}'), represent(b'{"a":1}')) == []
        assert differences(None, None) == []

    def test_include_that_there_is_no_such_thing(self):
        [(path, cached, stored)] = differences(None, represent(b'{"a":1}'))

        assert (path, cached) == ("value", "does not exist")
        assert '"a": 1' in stored

    def test_are_bounded_in_number_and_length(self):
        cached = represent(json.dumps({str(number): "x" * 1000 for number in range(50)}).encode())
        stored = represent(json.dumps({str(number): "y" * 1000 for number in range(50)}).encode())

        members = differences(cached, stored)

        assert len(members) == DIFFERENCES_MAX
        assert all(len(text) < 300 for _, *texts in members for text in texts)

    @pytest.mark.parametrize("body", [b"\xff", b"[1]", b"{", b'{"a":'])
    def test_are_shown_of_what_is_no_json_object(self, body):
        assert {path for path, *_ in differences(represent(body), represent(b"x"))} == {
            "ETag",
            "body",
        }


class TestClear:
    def test_says_what_it_will_cost_and_clears_nothing_yet(self, api, superuser_client):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        page = superuser_client.get(CLEAR).content.decode()

        assert "<td>notes</td><td>1</td>" in page
        assert protocol.look(cache_keys.note(note_id)).fresh

    def test_clears_and_keeps_who_did_it(self, api, superuser_client):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        page = superuser_client.post(CLEAR, {"namespace": "notes"}, follow=True).content.decode()

        assert not protocol.look(cache_keys.note(note_id)).fresh
        assert "Cleared: notes." in page
        assert Clearance.objects.get().cleared_by == "ann"

    def test_an_unknown_namespace_is_told(self, superuser_client):
        page = superuser_client.post(CLEAR, {"namespace": "x"}, follow=True).content.decode()

        assert "There is no namespace x." in page

    def test_who_may_only_look_may_not_clear(self):
        viewer = User.objects.create_user("bob", is_staff=True)
        viewer.user_permissions.add(Permission.objects.get(codename="view_clearance"))
        browser = Client()
        browser.force_login(viewer)

        assert browser.get(PAGE).status_code == 200
        assert browser.post(CLEAR).status_code == 403
