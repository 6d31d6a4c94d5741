"""Writes of notes, and their errors. Each write is one transaction and invalidates after its commit."""

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID, uuid4

from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from psycopg import sql

from cachelayer.http import UNCONDITIONAL, Preconditions, Representation
from cachelayer.invalidation import invalidate
from notes import cache_keys, records
from notes.models import Note


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
    with transaction.atomic():
        note = Note(
            id=note_id or uuid4(),
            user_id=user_id,
            title=title,
            content=content,
            created_at=now,
            updated_at=now,
            version=1,
        )
        _invalidate(note)
        note.save(force_insert=True)
    return note.id, records.representation(records.record(note))


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
    with transaction.atomic():
        note = _locked(note_id, caller, preconditions)
        _invalidate(note)
        if title is not None:
            note.title = title
        if content is not None:
            note.content = content
        note.version += 1
        note.updated_at = timezone.now()
        note.save(update_fields=["title", "content", "version", "updated_at"])
    return records.representation(records.record(note))


def note_delete(
    *, note_id: UUID, caller: str | None, preconditions: Preconditions = UNCONDITIONAL
) -> None:
    """Delete the note. Arguments and errors are those of note_update."""
    with transaction.atomic():
        note = _locked(note_id, caller, preconditions)
        _invalidate(note)
        note.delete()


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


def _locked(note_id: UUID, caller: str | None, preconditions: Preconditions) -> Note:
    note = Note.objects.select_for_update().filter(pk=note_id).first()
    if note is None:
        raise NoteNotFound(f"There is no note {note_id}.")
    if caller is not None and note.user_id != caller:
        raise NotOwner("The note belongs to another user.")
    preconditions.require(records.representation(records.record(note)).etag)
    return note


def _invalidate(note: Note) -> None:
    invalidate(*cache_keys.tags_of_note(note_id=note.id, user_id=note.user_id))
