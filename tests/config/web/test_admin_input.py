"""Hostile input on every page of the admin: a message of the admin's own, and nothing else."""

from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.test import Client

from notes.models import Note
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)
NOTES = "/admin/notes/note/"
HOSTILE = [
    *("\0", "a\0b", "x", "-1", "'\"<b>", "é" * 300, "9" * 400, "%00", "{}", "2026-13-01"),
    "00000000-0000-0000-0000-000000000000",
]
PARAMETERS = {
    NOTES: ("q", "user_id", "o", "p", "all", "id__exact", "title", "pk__in", "created_at__year"),
    "/admin/profiles/profilerow/": ("q", "after", "user_id"),
    "/admin/activity/event/": ("user", "action", "resource", "since", "until", "cursor"),
    "/admin/": ("q",),
    "/admin/tiles/": ("q",),
    "/admin/cachelayer/clearance/": ("key", "namespace", "namespace=notes&key_prefix", "cursor"),
    "/admin/config/store/": ("q",),
    "/admin/cachelayer/clearance/clear/": ("namespace",),
    "/admin/config/slowstatement/": ("q",),
    "/admin/auth/user/": ("q", "username", "groups__id__exact", "last_login__year", "o"),
    "/admin/auth/group/": ("q", "o", "id"),
}
PLACES = (
    *("notes/note/{}/change/", "notes/note/{}/history/", "notes/note/{}/delete/"),
    *("auth/user/{}/change/", "auth/user/{}/password/", "config/slowstatement/{}/explain/"),
    *("profiles/profilerow/{}/", "activity/event/{}/"),
)


class TestFilters:
    @pytest.mark.parametrize(
        ("page", "name"), [(page, name) for page, names in PARAMETERS.items() for name in names]
    )
    def test_whatever_they_hold_the_page_answers(self, superuser_client, page, name):
        for text in HOSTILE:
            response = superuser_client.get(f"{page}?{name}={quote(text)}", follow=True)
            assert response.status_code in (200, 404), text

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("user_id=%00", "Owner: must be 1 to 128 characters"),
            ("user_id=a%20b", "Owner: must be 1 to 128 characters"),
            ("q=%00", "Null characters are not allowed."),
            ("title=%00", "The list was not filtered: "),
            (f"created_at__year={'9' * 400}", "The list was not filtered: "),
        ],
    )
    def test_say_what_is_wrong(self, superuser_client, query, message):
        make_note()

        assert message in superuser_client.get(f"{NOTES}?{query}", follow=True).content.decode()


class TestActions:
    @pytest.mark.parametrize("text", [text for text in HOSTILE if text.count("-") != 4], ids=ascii)
    @pytest.mark.parametrize("action", ["drop_cached_copies", "delete_selected"])
    def test_on_a_malformed_id_do_nothing_and_say_so(self, superuser_client, action, text):
        note_id = make_note()

        body = {"action": action, "_selected_action": [str(note_id), text], "post": "yes"}
        response = superuser_client.post(NOTES, body, follow=True)

        assert "Nothing was done: " in response.content.decode()
        assert Note.objects.exists()

    @pytest.mark.parametrize("page", ["/admin/auth/user/", "/admin/auth/group/"])
    def test_on_accounts_too(self, superuser_client, page):
        body = {"action": "delete_selected", "_selected_action": ["\0"], "post": "yes"}

        assert (
            "Nothing was done: " in superuser_client.post(page, body, follow=True).content.decode()
        )
        assert User.objects.exists()

    @pytest.mark.parametrize("text", HOSTILE, ids=ascii)
    def test_that_there_are_not_do_nothing(self, superuser_client, text):
        note_id = make_note()

        for page in (NOTES, "/admin/cachelayer/clearance/clear/"):
            body = {"action": text, "namespace": text, "_selected_action": [str(note_id)]}
            assert superuser_client.post(page, body, follow=True).status_code == 200
        assert Note.objects.exists()


class TestPlaces:
    @pytest.mark.parametrize("place", PLACES)
    def test_of_what_there_is_not_are_a_message_or_a_404(self, superuser_client, place):
        for text in HOSTILE:
            path = "/admin/" + place.format(quote(text, safe=""))
            for response in (
                superuser_client.get(path, follow=True),
                superuser_client.post(path, follow=True),
            ):
                assert response.status_code in (200, 404), text


class TestForms:
    @pytest.mark.parametrize("text", HOSTILE, ids=ascii)
    def test_whatever_they_hold_are_answered(self, superuser_client, text):
        note_id = make_note()
        body = {"user_id": text, "title": text, "content": text, "seen_version": text}

        for path in ("add/", f"{note_id}/change/"):
            assert superuser_client.post(f"{NOTES}{path}", body).status_code in (200, 302)
        login = {"username": text, "password": text, "next": text}
        assert Client().post("/admin/login/", login).status_code == 200


class TestViewOnSite:
    def test_of_any_content_type_is_a_404_where_there_is_nothing_to_view(self, superuser_client):
        for content_type in ContentType.objects.all():
            for object_id in ("1", "-1", "abc"):
                place = f"/admin/r/{content_type.pk}/{object_id}/"
                assert superuser_client.get(place).status_code == 404, (content_type, object_id)
