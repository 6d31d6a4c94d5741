"""Notes in the admin: found, seen with their cached state, changed through the services."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from cachelayer import client, keys, store
from notes.models import Note
from tests.builders import make_note, make_notes

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/notes/note/"


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def shown(response) -> list[str]:
    return [note.title for note in response.context["cl"].result_list]


class TestList:
    def test_shows_whether_each_note_is_cached(self, operator, api):
        cached, plain = make_note(title="Cached"), make_note(title="Plain")
        api.get(f"/api/v1/notes/{cached}")

        page = operator.get(LIST).content.decode()

        assert " s left" in page
        assert "no (absent)" in page
        assert str(plain) in page

    @pytest.mark.parametrize(
        ("search", "titles"),
        [
            ("apple", ["Red apple"]),
            ("user:eve", ["Of eve"]),
            ("{id}", ["Of eve"]),
            ("nothing-like-it", []),
        ],
    )
    def test_is_searched_by_word_user_or_id(self, operator, search, titles):
        make_note(title="Red apple")
        note_id = make_note(title="Of eve", user_id="eve")

        assert shown(operator.get(LIST, {"q": search.format(id=note_id)})) == titles

    def test_is_filtered_by_owner(self, operator):
        make_note(title="Of abc")
        make_note(title="Of eve", user_id="eve")

        response = operator.get(LIST, {"user_id": "eve"})

        assert shown(response) == ["Of eve"]
        assert 'value="eve"' in response.content.decode()

    @pytest.mark.parametrize("rows", [1, 120])
    def test_costs_the_same_whatever_the_number_of_rows(self, operator, rows):
        make_notes(rows)

        with CaptureQueriesContext(connection) as captured:
            operator.get(LIST)

        of_notes = [q["sql"] for q in captured.captured_queries if '"notes"' in q["sql"]]
        assert len(of_notes) == 2
        assert "LIMIT 10000" in of_notes[0]  # no count beyond what anybody turns pages for

    def test_says_so_where_redis_does_not_answer(self, operator, stack):
        make_note()
        stack.kill("redis")
        try:
            assert "Redis does not answer" in operator.get(LIST).content.decode()
        finally:
            stack.start("redis")
            client.breaker.reset()


class TestChange:
    def test_goes_through_the_service_and_invalidates(self, operator, api):
        note_id = make_note(title="Before")
        api.get(f"/api/v1/notes/{note_id}")

        response = operator.post(f"{LIST}{note_id}/change/", {"title": "After", "content": "x"})

        assert response.status_code == 302
        note = api.get(f"/api/v1/notes/{note_id}").json()
        assert (note["title"], note["version"]) == ("After", 2)

    def test_an_added_note_is_a_note(self, operator, api):
        operator.post(f"{LIST}add/", {"user_id": "eve", "title": "New", "content": ""})

        note = Note.objects.get()
        assert (note.user_id, note.title, note.version) == ("eve", "New", 1)

    def test_the_pages_to_add_and_to_change_open(self, operator):
        note_id = make_note(title="Seen")

        assert operator.get(f"{LIST}add/").status_code == 200
        assert b"Seen" in operator.get(f"{LIST}{note_id}/change/").content

    def test_a_malformed_user_is_refused(self, operator):
        response = operator.post(f"{LIST}add/", {"user_id": "a b", "title": "x", "content": ""})

        assert "A-Z a-z 0-9" in response.content.decode()
        assert Note.objects.count() == 0

    def test_a_deleted_note_is_gone_for_readers_too(self, operator, api):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        operator.post(f"{LIST}{note_id}/delete/", {"post": "yes"})

        assert api.get(f"/api/v1/notes/{note_id}").status_code == 404

    def test_the_selected_are_deleted_and_dropped(self, operator, api):
        ids = [make_note(), make_note()]
        for note_id in ids:
            api.get(f"/api/v1/notes/{note_id}")
        chosen = {"_selected_action": [str(ids[0])]}

        operator.post(LIST, chosen | {"action": "drop_cached_copies"})
        assert [store.look(keys.note(one)).fresh for one in ids] == [False, True]

        operator.post(LIST, chosen | {"action": "delete_selected", "post": "yes"})
        assert list(Note.objects.values_list("pk", flat=True)) == [ids[1]]


class TestAccess:
    @pytest.mark.parametrize("path", [LIST, "/admin/"])
    def test_nobody_gets_in_without_an_account(self, path):
        response = Client().get(path)

        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]
