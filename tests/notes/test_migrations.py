"""The indexes are a migration of their own: reversed it drops exactly them, applied it creates them again."""

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from notes.models import Note
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)


def index_names() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'notes'")
        return {name for (name,) in cursor.fetchall()}


class TestIndexes:
    def test_one_step_back_drops_exactly_the_four_and_forward_makes_them_again(self):
        make_note()
        before = index_names()
        try:
            call_command("migrate", "notes", "0001", verbosity=0)
            without = index_names()
        finally:
            call_command("migrate", "notes", verbosity=0)

        assert before - without == {
            "idx_notes_user_id",
            "idx_notes_created_at",
            "idx_notes_title_search",
            "idx_notes_user_created",
        }
        assert index_names() == before
        assert Note.objects.count() == 1


class TestConstraints:
    @pytest.mark.parametrize(
        ("changes", "constraint"),
        [
            ("user_id = 'a b'", "notes_user_id_format"),
            ("user_id = ''", "notes_user_id_format"),
            ("title = ''", "notes_title_not_empty"),
            ("content = repeat('x', 100001)", "notes_content_length"),
            ("version = 0", "notes_version_from_1"),
        ],
    )
    def test_the_table_refuses_what_no_note_is(self, changes, constraint):
        make_note()

        with (
            pytest.raises(IntegrityError, match=constraint),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"UPDATE notes SET {changes}")

    def test_an_insert_in_psql_needs_only_user_and_title(self, api):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO notes (user_id, title) VALUES ('abc', 'By hand') RETURNING id"
            )
            [note_id] = cursor.fetchone()

        note = api.get(f"/api/v1/notes/{note_id}").json()
        assert (note["title"], note["content"], note["version"]) == ("By hand", "", 1)
