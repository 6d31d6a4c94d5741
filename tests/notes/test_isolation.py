"""What two transactions on the same note see of each other, and what keeps a write from being lost."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection
from psycopg import IsolationLevel, errors

from notes import services
from notes.models import Note
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)
READ_COMMITTED = IsolationLevel.READ_COMMITTED
REPEATABLE_READ = IsolationLevel.REPEATABLE_READ
SERIALIZABLE = IsolationLevel.SERIALIZABLE


@contextmanager
def sessions(level: IsolationLevel) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    """Two sessions, as two people in psql have them."""
    parameters = {k: v for k, v in connection.get_connection_params().items() if k != "pool"}
    parameters = {k: parameters[k] for k in ("dbname", "host", "port", "user", "password")}
    with psycopg.connect(**parameters) as first, psycopg.connect(**parameters) as second:
        first.isolation_level = second.isolation_level = level
        yield first, second


@pytest.fixture
def note(transactional_db) -> Note:
    return Note.objects.get(pk=make_note(title="0"))


def title(session: psycopg.Connection, note: Note) -> str:
    return session.execute("SELECT title FROM notes WHERE id = %s", [note.pk]).fetchone()[0]


def write(session: psycopg.Connection, note: Note, value: object) -> None:
    session.execute("UPDATE notes SET title = %s WHERE id = %s", [str(value), note.pk])


def both_add_one(first: psycopg.Connection, second: psycopg.Connection, note: Note) -> None:
    """Both read, both increment what they read, both write: the work of a naive service."""
    values = int(title(first, note)), int(title(second, note))
    write(first, note, values[0] + 1)
    first.commit()
    write(second, note, values[1] + 1)
    second.commit()


class TestReadCommitted:
    def test_reads_another_value_the_second_time(self, note):
        with sessions(READ_COMMITTED) as (reader, writer):
            before = title(reader, note)
            write(writer, note, 1)
            writer.commit()

            assert (before, title(reader, note)) == ("0", "1")

    def test_loses_an_update_that_was_computed_from_what_was_read(self, note):
        with sessions(READ_COMMITTED) as (first, second):
            both_add_one(first, second, note)

        note.refresh_from_db()
        assert note.title == "1"  # of two additions


class TestRepeatableRead:
    def test_reads_the_same_value_to_its_end(self, note):
        with sessions(REPEATABLE_READ) as (reader, writer):
            before = title(reader, note)
            write(writer, note, 1)
            writer.commit()

            assert (before, title(reader, note)) == ("0", "0")

    def test_refuses_an_update_of_what_changed_meanwhile(self, note):
        with (
            sessions(REPEATABLE_READ) as (first, second),
            pytest.raises(errors.SerializationFailure, match="concurrent update"),
        ):
            both_add_one(first, second, note)

        note.refresh_from_db()
        assert note.title == "1"  # the other session gets an error, and may retry

    def test_lets_two_notes_be_written_that_each_rest_on_the_other(self, note):
        assert written_on_the_others_word(REPEATABLE_READ, note) == ["gone", "gone"]


class TestSerializable:
    def test_refuses_one_of_two_writes_that_rest_on_each_other(self, note):
        with pytest.raises(errors.SerializationFailure):
            written_on_the_others_word(SERIALIZABLE, note)


def written_on_the_others_word(level: IsolationLevel, note: Note) -> list[str]:
    """Write skew: each may go as long as the other stays, and both go. Return the titles."""
    other = Note.objects.get(pk=make_note(title="0"))
    with sessions(level) as (first, second):
        if title(first, other) == "0":
            write(first, note, "gone")
        if title(second, note) == "0":
            write(second, other, "gone")
        first.commit()
        second.commit()
    return list(Note.objects.values_list("title", flat=True))


class TestTheServicesWays:
    def test_a_lock_makes_the_second_one_wait_and_read_what_the_first_wrote(self, note):
        with sessions(READ_COMMITTED) as (first, second):
            first.execute("SELECT 1 FROM notes WHERE id = %s FOR UPDATE", [note.pk])
            with pytest.raises(errors.LockNotAvailable):
                second.execute("SELECT 1 FROM notes WHERE id = %s FOR UPDATE NOWAIT", [note.pk])
            second.rollback()
            write(first, note, 1)
            first.commit()
            second.execute("SELECT 1 FROM notes WHERE id = %s FOR UPDATE NOWAIT", [note.pk])

            assert title(second, note) == "1"

    def test_if_match_refuses_the_second_of_two_who_read_the_same(self, note, api):
        path = f"/api/v1/notes/{note.pk}"
        etag = api.get(path)["ETag"]
        answers = [
            api.patch(path, {"title": new_title}, "application/json", headers={"If-Match": etag})
            for new_title in ("first", "second")
        ]

        assert [answer.status_code for answer in answers] == [200, 412]
        assert api.get(path).json()["title"] == "first"

    def test_an_update_of_another_field_loses_nothing(self, note):
        services.note_update(note_id=note.pk, caller=None, title="new")
        services.note_update(note_id=note.pk, caller=None, content="more")

        note.refresh_from_db()
        assert (note.title, note.content, note.version) == ("new", "more", 3)
