"""A write and its outbox row in one statement, and what the triggers make of it."""

import pytest
from django.db import connection, transaction

from cachelayer import write
from cachelayer.models import OutboxRow
from notes import cache_keys, services
from notes.models import Note
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)

TITLE = write.announcing(
    "UPDATE notes SET title = %s WHERE id = %s RETURNING id, user_id", tags=cache_keys.TAGS_OF_ROW
)


class TestExecute:
    def test_returns_the_row_that_was_written_or_none(self):
        note_id = make_note(user_id="abc")

        assert write.execute(TITLE, ["New", note_id]) == [note_id, "abc"]
        assert write.execute(TITLE, ["New", "5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b"]) is None

    def test_its_tags_are_those_of_the_note(self):
        note_id = make_note(user_id="a:b-c")

        with transaction.atomic():
            write.execute(TITLE, ["New", note_id])
            (tags,) = OutboxRow.objects.values_list("tags", flat=True)

        assert set(tags) == set(cache_keys.tags_of_note(note_id=note_id, user_id="a:b-c"))

    def test_a_rollback_takes_the_row_back_and_unlinks_nothing(self, api):
        path = f"/api/v1/notes/{make_note()}"
        api.get(path)

        with transaction.atomic():
            write.execute(TITLE, ["New", path.rpartition("/")[2]])
            transaction.set_rollback(True)

        assert not OutboxRow.objects.exists()
        assert "hit" in api.get(path)["Cache-Status"]


class TestTriggers:
    @pytest.mark.parametrize(
        "call",
        [
            lambda pk: services.note_create(user_id="abc", title="x", content=""),
            lambda pk: services.note_update(note_id=pk, caller="abc", title="New"),
            lambda pk: services.note_delete(note_id=pk, caller="abc"),
        ],
        ids=["create", "update", "delete"],
    )
    def test_add_nothing_to_a_service_s_statement(self, call):
        note_id = make_note(user_id="abc")

        with transaction.atomic():
            call(note_id)
            number = OutboxRow.objects.count()

        assert number == 1

    def test_announce_the_same_write_made_by_another_statement_of_the_transaction(self):
        note_id = make_note()

        with transaction.atomic():
            write.execute(TITLE, ["New", note_id])
            Note.objects.filter(pk=note_id).update(user_id="eve")
            tags = OutboxRow.objects.order_by("id").values_list("tags", flat=True)
            announced = [set(row) for row in tags]

        assert len(announced) == 2
        assert "notes:user:eve" in announced[1]

    def test_are_conditional_on_what_the_module_says(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_get_triggerdef(oid) FROM pg_trigger"
                " WHERE tgrelid = 'notes'::regclass AND tgname <> 'notes_truncated' AND NOT tgisinternal"
            )
            definitions = [definition for (definition,) in cursor.fetchall()]

        # As PostgreSQL spells it: with the type of each constant, and in brackets.
        assert len(definitions) == 3
        assert all(
            "current_setting('cachelayer.announced'::text, true) IS DISTINCT FROM"
            " (statement_timestamp())::text" in definition
            for definition in definitions
        )
