"""Writes of notes, and their errors. Each write is one transaction and invalidates after its commit."""

from typing import Literal
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from cachelayer import keys
from cachelayer.http import Representation, if_match_allows
from cachelayer.invalidation import invalidate
from notes import records
from notes.models import Note


class NoteNotFound(Exception):
    """There is no note with this id."""


class NotOwner(Exception):
    """The note belongs to another user."""


class StaleNote(Exception):
    """The note is not the one that If-Match names: it changed since the caller read it."""


def note_create(
    *, user_id: str, title: str, content: str, note_id: UUID | None = None
) -> tuple[UUID, Representation]:
    """
    Store a new note of the user; return its id and what is sent of it.

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
    if_match: str | None = None,
) -> Representation:
    """
    Change the title, the content or both (None leaves it), and raise the version by 1.

    caller is the user who must own the note, None for an operator; if_match the value of the
    If-Match field. Raises NoteNotFound, NotOwner, StaleNote; then nothing was written.
    """
    with transaction.atomic():
        note = _locked(note_id, caller, if_match)
        _invalidate(note)
        if title is not None:
            note.title = title
        if content is not None:
            note.content = content
        note.version += 1
        note.updated_at = timezone.now()
        note.save(update_fields=["title", "content", "version", "updated_at"])
    return records.representation(records.record(note))


def note_delete(*, note_id: UUID, caller: str | None, if_match: str | None = None) -> None:
    """Delete the note. Arguments and errors are those of note_update."""
    with transaction.atomic():
        note = _locked(note_id, caller, if_match)
        _invalidate(note)
        note.delete()


def note_import(
    *, note_id: UUID, user_id: str, title: str, content: str, overwrite: bool
) -> Literal["created", "unchanged", "updated", "differs"]:
    """
    Store a note that came from a file, under the id that belongs to that file.

    A note that is there already is left alone, unless overwrite says that the file wins.
    """
    with transaction.atomic():
        note = Note.objects.select_for_update().filter(pk=note_id).first()
        if note is None:
            note_create(note_id=note_id, user_id=user_id, title=title, content=content)
            return "created"
        if (note.title, note.content) == (title, content):
            return "unchanged"
        if not overwrite:
            return "differs"
        note_update(note_id=note_id, caller=user_id, title=title, content=content)
        return "updated"


def _locked(note_id: UUID, caller: str | None, if_match: str | None) -> Note:
    note = Note.objects.select_for_update().filter(pk=note_id).first()
    if note is None:
        raise NoteNotFound(f"There is no note {note_id}.")
    if caller is not None and note.user_id != caller:
        raise NotOwner("The note belongs to another user.")
    if not if_match_allows(if_match, records.representation(records.record(note)).etag):
        raise StaleNote(
            "The note changed since you read it; read it again, then repeat the change."
        )
    return note


def _invalidate(note: Note) -> None:
    invalidate(*keys.tags_of_note(note_id=note.id, user_id=note.user_id))
