"""Writes of notes, and their errors. Each is one statement, and invalidates after its commit."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal
from uuid import UUID, uuid4

import msgspec
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from psycopg import sql

from cachelayer import write
from cachelayer.http import UNCONDITIONAL, Preconditions, Representation
from cachelayer.invalidation import invalidate
from notes import cache_keys, records
from notes.models import Note
from notes.records import NoteRecord

_COLUMNS: Final = ", ".join(records.FIELDS)
# None as caller is an operator; None as title or content leaves it. The constants hold no input.
_INSERT: Final = write.announcing(
    f"INSERT INTO notes ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id, user_id",  # noqa: S608
    tags=cache_keys.TAGS_OF_ROW,
)
_UPDATE: Final = write.announcing(
    "UPDATE notes SET title = coalesce(%s, title), content = coalesce(%s, content), updated_at = %s,"  # noqa: S608
    f" version = version + 1 WHERE id = %s AND user_id = coalesce(%s, user_id) RETURNING {_COLUMNS}",
    tags=cache_keys.TAGS_OF_ROW,
)
_DELETE: Final = write.announcing(
    "DELETE FROM notes WHERE id = %s AND user_id = coalesce(%s, user_id) RETURNING id, user_id",
    tags=cache_keys.TAGS_OF_ROW,
)


class NoteNotFound(Exception):
    """There is no note with this id."""


class NotOwner(Exception):
    """The note belongs to another user."""


def note_create(
    *, user_id: str, title: str, content: str, note_id: UUID | None = None
) -> tuple[UUID, Representation]:
    """
    Store a new note of the user; return its id and its representation.

    title: 1 to 200 characters, trimmed; content: at most 100 000 characters. The database
    refuses anything else with IntegrityError.
    """
    now = timezone.now()
    note = NoteRecord(note_id or uuid4(), user_id, title, content, now, now, version=1)
    write.execute(_INSERT, msgspec.structs.astuple(note))
    return note.id, records.representation(note)


def note_update(
    *,
    note_id: UUID,
    caller: str | None,
    title: str | None = None,
    content: str | None = None,
    preconditions: Preconditions = UNCONDITIONAL,
) -> Representation:
    """
    Change the title, the content or both (None leaves it), and raise the version by 1.

    caller is the user who must own the note, None for an operator. Raises NoteNotFound, NotOwner,
    PreconditionFailed; then nothing was written.
    """
    with _held_to(note_id, caller, preconditions):
        row = write.execute(_UPDATE, [title, content, timezone.now(), note_id, caller])
        if row is None:
            raise _refusal(note_id, caller)
    return records.representation(NoteRecord(*row))


def note_delete(
    *, note_id: UUID, caller: str | None, preconditions: Preconditions = UNCONDITIONAL
) -> None:
    """Delete the note. Arguments and errors are those of note_update."""
    with _held_to(note_id, caller, preconditions):
        if write.execute(_DELETE, [note_id, caller]) is None:
            raise _refusal(note_id, caller)


def note_import(
    *, note_id: UUID, user_id: str, title: str, content: str, overwrite: bool
) -> Literal["created", "unchanged", "updated", "differs"]:
    """
    Store a note that came from a file, under the id that belongs to that file.

    An existing note is not changed, unless overwrite is true. Raises NotOwner where the note belongs
    to another user.
    """
    with transaction.atomic():
        note = Note.objects.select_for_update().filter(pk=note_id).first()
        if note is None:
            try:
                with transaction.atomic():
                    note_create(note_id=note_id, user_id=user_id, title=title, content=content)
            except IntegrityError:  # another import may have stored it since
                note = Note.objects.select_for_update().filter(pk=note_id).first()
                if note is None:
                    raise
            else:
                return "created"
        if note.user_id != user_id:
            raise NotOwner("The note belongs to another user.")
        if (note.title, note.content) == (title, content):
            return "unchanged"
        if not overwrite:
            return "differs"
        note_update(note_id=note_id, caller=user_id, title=title, content=content)
        return "updated"


def note_load(*, rows: Sequence[Sequence[Any]]) -> int:
    """
    Store those of the rows, each in the order of records.FIELDS, whose id is not stored yet.

    Return how many were stored: all of the missing ones or, where this raises, none. Uses COPY; call
    notes_loaded after the last load.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # One array instead of ten thousand parameters, each of which would cost as much as a row.
        cursor.execute("SELECT id FROM notes WHERE id = ANY(%s)", [[row[0] for row in rows]])
        present = {note_id for (note_id,) in cursor.fetchall()}
        missing = [row for row in rows if row[0] not in present]
        if missing:
            invalidate(cache_keys.NOTES.tag, cache_keys.NOTE_LISTS.tag)
            table = sql.Identifier(Note._meta.db_table)
            columns = sql.SQL(", ").join(map(sql.Identifier, records.FIELDS))
            with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(table, columns)) as copy:
                for row in missing:
                    copy.write_row(row)
    return len(missing)


def notes_loaded() -> None:
    """
    Vacuum after a large load; call it outside of transactions.

    VACUUM gives the planner statistics, enables index-only scans, and merges the pending list of the
    search index.
    """
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) notes")


def notes_delete_all() -> int:
    """Delete every note; return how many there were."""
    with transaction.atomic(), connection.cursor() as cursor:
        count = Note.objects.count()
        invalidate(cache_keys.NOTES.tag, cache_keys.NOTE_LISTS.tag)
        cursor.execute("TRUNCATE notes")
    return count


@contextlib.contextmanager
def _held_to(note_id: UUID, caller: str | None, preconditions: Preconditions) -> Iterator[None]:
    """
    Run a write in a transaction that has compared the preconditions and holds the note.

    A write without preconditions is a single statement, which needs neither.
    """
    if preconditions == UNCONDITIONAL:
        yield
        return
    with transaction.atomic():
        note = Note.objects.select_for_update().filter(pk=note_id).first()
        if note is None or caller not in (None, note.user_id):
            raise _refusal(note_id, caller)
        preconditions.require(records.representation(records.record(note)).etag)
        yield


def _refusal(note_id: UUID, caller: str | None) -> NoteNotFound | NotOwner:
    """Return why the caller could not write this note."""
    owner = Note.objects.filter(pk=note_id).values_list("user_id", flat=True).first()
    if owner is None or caller in (None, owner):
        return NoteNotFound(f"There is no note {note_id}.")
    return NotOwner("The note belongs to another user.")
