"""Notes in the admin: search, cached state, and changes through the services."""

import re
from html.parser import HTMLParser

import pytest
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from cachelayer import client, protocol
from config.web.user_ids import RESERVED_USER_IDS
from notes import cache_keys
from notes.admin import NoteAdmin
from notes.limits import CONTENT_MAX_CHARACTERS
from notes.models import Note
from tests.builders import make_note, make_notes

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/notes/note/"


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


class _Fields(HTMLParser):
    """The fields of a form with the values that a browser would show, as HTML has them read."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._textarea = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        named = dict(attrs)
        if tag == "textarea":
            self._textarea = named["name"]
            self.fields[self._textarea] = ""
        elif tag == "input" and named.get("type") in ("text", "hidden"):
            # A line alone has no ends of lines (HTML, 4.10.5.1.2).
            self.fields[named["name"]] = re.sub("[\r\n]", "", named.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.fields[self._textarea] += data


def fields_of(response) -> dict[str, str]:
    """Return what a browser sends where nobody has edited anything: lines end in CR LF."""
    form = _Fields()
    page = response.content.decode().replace("\r\n", "\n").replace("\r", "\n")
    form.feed(page[page.index("<form") : page.rindex("</form>")])
    form.close()
    # The first newline of a textarea belongs to its tag.
    content = form.fields.get("content", "").removeprefix("\n").replace("\n", "\r\n")
    return {name: form.fields[name] for name in ("title", "seen_version")} | {"content": content}


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

    @pytest.mark.parametrize(
        "content",
        [
            "a\r\nb\r\n",
            "a\nb",
            "a\rb\r",
            "a\r\nb\nc\rd\n\r\n",
            "\n\nbegins and ends with space \t \n",
            "\n" * CONTENT_MAX_CHARACTERS,
            ("line\n" * CONTENT_MAX_CHARACTERS)[:CONTENT_MAX_CHARACTERS],
            "\x01\x0b\x0c\x85\u2028\ufeff<b>&amp;&lt;</textarea>\U0001f600",
            " ",
            "",
        ],
        ids=lambda text: ascii(text[:20]),
    )
    def test_a_content_that_was_not_edited_stays_byte_for_byte(self, operator, content):
        note_id = make_note(title="Before", content=content)

        form = fields_of(operator.get(f"{LIST}{note_id}/change/"))
        response = operator.post(f"{LIST}{note_id}/change/", form | {"title": "After"})

        assert response.status_code == 302, response.content
        note = Note.objects.get()
        assert (note.title, note.version) == ("After", 2)
        assert note.content == content

    @pytest.mark.parametrize("title", ["two\nlines", " spaces ", "a\r\nb", "\u00a0x"])
    def test_nor_does_a_title(self, operator, title):
        note_id = make_note(title=title)

        form = fields_of(operator.get(f"{LIST}{note_id}/change/"))
        operator.post(f"{LIST}{note_id}/change/", form | {"content": "edited\r\nhere\r\n"})

        note = Note.objects.get()
        assert (note.title, note.content, note.version) == (title, "edited\nhere\n", 2)

    def test_saving_without_an_edit_writes_nothing(self, operator):
        note_id = make_note(content="a\nb\n")
        before = Note.objects.get()

        operator.post(
            f"{LIST}{note_id}/change/", fields_of(operator.get(f"{LIST}{note_id}/change/"))
        )

        assert vars(Note.objects.get()) | {"_state": None} == vars(before) | {"_state": None}

    def test_one_field_alone_is_written_and_named_in_the_history(self, operator):
        note_id = make_note(title="Before", content="a\nb\n")

        form = fields_of(operator.get(f"{LIST}{note_id}/change/"))
        with CaptureQueriesContext(connection):
            operator.post(f"{LIST}{note_id}/change/", form | {"title": " After "})

        assert Note.objects.get().title == "After"
        assert LogEntry.objects.get().get_change_message() == "Changed title."

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            ({"title": " "}, "This field is required."),
            ({"title": "x" * 201}, "at most 200 characters"),
            ({"content": "x" * (CONTENT_MAX_CHARACTERS + 1)}, "at most 100000 characters"),
            ({"content": "a\0b"}, "Null characters are not allowed."),
            ({"seen_version": "x"}, "Enter a whole number."),
        ],
        ids=lambda edit: str(edit)[:20],
    )
    def test_names_what_is_wrong_and_writes_nothing(self, operator, edit, message):
        note_id = make_note()

        form = fields_of(operator.get(f"{LIST}{note_id}/change/"))
        response = operator.post(f"{LIST}{note_id}/change/", form | edit)

        assert message in response.content.decode()
        assert Note.objects.get().version == 1

    def test_what_somebody_else_changed_meanwhile_is_not_written_over(self, operator, api):
        note_id = make_note(title="Before", content="old")
        form = fields_of(operator.get(f"{LIST}{note_id}/change/"))
        api.patch(
            f"/api/v1/notes/{note_id}", {"content": "theirs"}, content_type="application/json"
        )

        response = operator.post(f"{LIST}{note_id}/change/", form | {"content": "mine <b>"})

        page = response.content.decode()
        assert "somebody changed this note while you did" in page
        assert "mine &lt;b&gt;" in page
        note = Note.objects.get()
        assert (note.title, note.content, note.version) == ("Before", "theirs", 2)
        again = operator.post(f"{LIST}{note_id}/change/", fields_of(response))
        assert "somebody changed this note while you did" in again.content.decode()

    def test_no_write_comes_between_what_was_compared_and_what_is_written(self, operator):
        note_id = make_note()
        form = fields_of(operator.get(f"{LIST}{note_id}/change/"))

        with CaptureQueriesContext(connection) as captured:
            operator.post(f"{LIST}{note_id}/change/", form | {"title": "After"})

        statements = [query["sql"] for query in captured if '"notes"' in query["sql"]]
        locked = next(n for n, sql in enumerate(statements) if "FOR UPDATE" in sql)
        assert locked <= 1
        assert statements[locked].startswith("SELECT")
        assert not any(sql.startswith("UPDATE") for sql in statements[:locked])

    def test_a_note_deleted_meanwhile_is_a_message(self, operator):
        note_id = make_note()
        form = fields_of(operator.get(f"{LIST}{note_id}/change/"))
        Note.objects.all().delete()

        response = operator.post(f"{LIST}{note_id}/change/", form | {"title": "x"}, follow=True)

        assert "Perhaps it was deleted?" in response.content.decode()

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

    @pytest.mark.parametrize("user_id", RESERVED_USER_IDS)
    def test_a_user_that_nobody_can_be_is_refused(self, operator, user_id):
        response = operator.post(f"{LIST}add/", {"user_id": user_id, "title": "x", "content": ""})

        assert "This user id is reserved." in response.content.decode()
        assert not Note.objects.exists()

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
        assert [protocol.look(cache_keys.note(note_id)).fresh for note_id in ids] == [False, True]

        operator.post(LIST, chosen | {"action": "delete_selected", "post": "yes"})
        assert list(Note.objects.values_list("pk", flat=True)) == [ids[1]]


class TestActions:
    """On all rows, as the link below the list's actions chooses."""

    @pytest.fixture
    def cached(self, api) -> list:
        ids = [note.pk for note in make_notes(3)]
        for note_id in ids:
            api.get(f"/api/v1/notes/{note_id}")
        return ids

    def fresh(self, ids: list) -> list[bool]:
        return [protocol.look(cache_keys.note(note_id)).fresh for note_id in ids]

    def drop(self, user: Client, ids: list, *, on_all: bool):
        body = {"action": "drop_cached_copies", "_selected_action": [str(ids[0])]}
        return user.post(
            LIST, body | {"index": "0", "select_across": str(int(on_all))}, follow=True
        )

    @pytest.mark.parametrize("on_all", [False, True])
    def test_who_may_only_view_drops_nothing(self, cached, on_all):
        user = User.objects.create_user("viewer", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_note"))
        viewer = Client()
        viewer.force_login(user)

        page = self.drop(viewer, cached, on_all=on_all).content.decode()

        assert self.fresh(cached) == [True] * 3
        assert "drop_cached_copies" not in page

    def test_on_all_of_those_that_were_counted(self, operator, cached, monkeypatch):
        monkeypatch.setattr(NoteAdmin, "list_per_page", 2)

        page = operator.get(LIST).content.decode()
        assert "across all pages" in page
        assert "Select all 3 notes" in page
        page = self.drop(operator, cached, on_all=True).content.decode()

        assert "Cached copies of 3 notes dropped." in page
        assert self.fresh(cached) == [False] * 3

    @pytest.mark.parametrize("action", ["drop_cached_copies", "delete_selected"])
    def test_not_on_all_where_there_are_more_than_were_counted(
        self, operator, cached, monkeypatch, action
    ):
        monkeypatch.setattr(NoteAdmin, "list_per_page", 1)
        monkeypatch.setattr("notes.admin.COUNT_BOUND", 2)
        body = {"action": action, "_selected_action": [str(cached[0])], "select_across": "1"}

        page = operator.get(LIST).content.decode()
        answers = [
            operator.post(LIST, body | more, follow=True).content.decode()
            for more in ({"index": "0"}, {"post": "yes"})
        ]

        assert "across all pages" not in page
        assert "0 of 1 selected" in page
        assert all("Nothing was done: there are 2 notes or more" in answer for answer in answers)
        assert self.fresh(cached) == [True] * 3
        assert Note.objects.count() == 3

    def test_the_selected_of_more_than_were_counted(self, operator, cached, monkeypatch):
        monkeypatch.setattr("notes.admin.COUNT_BOUND", 2)

        self.drop(operator, cached, on_all=False)

        assert self.fresh(cached) == [False, True, True]


class TestDeleteQueryset:
    def test_passes_over_what_is_gone_by_then(self, rf):
        note_id = make_note()
        twice = Note.objects.filter(pk=note_id).union(Note.objects.filter(pk=note_id), all=True)
        assert len(twice) == 2

        NoteAdmin(Note, site).delete_queryset(rf.post(LIST), twice)

        assert not Note.objects.exists()


class TestAccess:
    @pytest.mark.parametrize("path", [LIST, "/admin/"])
    def test_nobody_gets_in_without_an_account(self, path):
        response = Client().get(path)

        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]
