"""The Cache page of the admin: what it shows, and who may clear."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from cachelayer import client, popularity, protocol
from cachelayer.models import Clearance
from notes import cache_keys
from tests.builders import make_note
from tests.cachelayer.test_cache_command import edit_unseen

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/cachelayer/clearance/"
CLEAR = f"{PAGE}clear/"


@pytest.fixture
def operator() -> Client:
    browser = Client()
    browser.force_login(User.objects.create_superuser("ann"))
    return browser


class TestPage:
    def test_shows_rates_memory_breaker_outbox_and_hot_keys(self, api, operator):
        note_id = make_note()
        for _ in range(3):
            api.get(f"/api/v1/notes/{note_id}")
        popularity.flush()

        page = operator.get(PAGE).content.decode()

        for shown in ("hit rate", "polyline", "closed", "outbox", f"notes:{note_id}", "of 256.0"):
            assert shown in page, shown

    @pytest.mark.parametrize(
        ("edit", "shown"), [(False, "the same"), (True, "something else: a write under way")]
    )
    def test_looks_a_key_up_beside_what_the_database_says(self, api, operator, edit, shown):
        note_id = make_note(title="A title")
        api.get(f"/api/v1/notes/{note_id}")
        if edit:
            edit_unseen(title="Behind its back")

        assert shown in operator.get(PAGE, {"key": f"notes:{note_id}"}).content.decode()

    def test_looks_a_list_up(self, api, operator):
        make_note()
        api.get("/api/v1/notes?userId=abc")

        page = operator.get(PAGE, {"key": "notes:list:user:abc"}).content.decode()

        assert "the same" in page

    def test_what_is_no_key_is_told(self, operator):
        assert "is no key of this cache" in operator.get(PAGE, {"key": "x"}).content.decode()

    def test_answers_without_redis(self, operator, stack):
        stack.kill("redis")
        try:
            page = operator.get(PAGE, {"key": cache_keys.NOTES.example})
        finally:
            stack.start("redis")
            client.breaker.reset()

        assert page.status_code == 200
        assert "Redis does not answer" in page.content.decode()

    def test_is_for_those_who_may_view_it(self):
        browser = Client()
        browser.force_login(User.objects.create_user("bob", is_staff=True))

        assert browser.get(PAGE).status_code == 403


class TestClear:
    def test_says_what_it_will_cost_and_clears_nothing_yet(self, api, operator):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        page = operator.get(CLEAR).content.decode()

        assert "<td>notes</td><td>1</td>" in page
        assert protocol.look(cache_keys.note(note_id)).fresh

    def test_clears_and_keeps_who_did_it(self, api, operator):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        page = operator.post(CLEAR, {"namespace": "notes"}, follow=True).content.decode()

        assert not protocol.look(cache_keys.note(note_id)).fresh
        assert "Cleared: notes." in page
        assert Clearance.objects.get().cleared_by == "ann"

    def test_an_unknown_namespace_is_told(self, operator):
        page = operator.post(CLEAR, {"namespace": "x"}, follow=True).content.decode()

        assert "There is no namespace x." in page

    def test_who_may_only_look_may_not_clear(self):
        viewer = User.objects.create_user("bob", is_staff=True)
        viewer.user_permissions.add(Permission.objects.get(codename="view_clearance"))
        browser = Client()
        browser.force_login(viewer)

        assert browser.get(PAGE).status_code == 200
        assert browser.post(CLEAR).status_code == 403
