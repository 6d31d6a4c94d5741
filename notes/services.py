"""Writes of notes, and their errors. Each is one statement, and invalidates after its commit."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID, uuid4

import msgspec
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from psycopg import sql

from cachelayer import idempotency, write
from cachelayer.http import UNCONDITIONAL, PreconditionFailed, Preconditions, Representation
from cachelayer.idempotency import IdempotentRequest
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
# Notes of one user, created at one time; titles and contents in the order of their ids.
_INSERT_ALL: Final = (
    f"INSERT INTO notes ({_COLUMNS})"  # noqa: S608
    " SELECT note.id, caller, note.title, note.content, created_at, created_at, 1"
    " FROM {creation}, unnest(row_ids, %s::text[], %s::text[]) AS note (id, title, content)"
    " RETURNING id, user_id"
)
_CREATE_ALL: Final = write.announcing_all(
    _INSERT_ALL.format(creation="(VALUES (%s, %s, %s)) AS creation (caller, row_ids, created_at)"),
    tags=cache_keys.TAGS_OF_ROW,
)
_CREATE_ALL_ONCE: Final = write.announcing_all(
    _INSERT_ALL.format(creation="claimed"),
    tags=cache_keys.TAGS_OF_ROW,
    after=idempotency.CLAIM,
)
# Locked in order, so that two that delete the same notes do not wait for each other in a circle.
_DELETE_ALL: Final = write.announcing_all(
    "DELETE FROM notes WHERE id IN (SELECT id FROM notes WHERE id = ANY(%s) AND user_id = %s"
    " ORDER BY id FOR UPDATE) RETURNING id, user_id",
    tags=cache_keys.TAGS_OF_ROW,
)


class NewNote(NamedTuple):
    """What a note is created with: as in note_create."""

    title: str
    content: str


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


def notes_create(
    *,
    user_id: str,
    notes: Sequence[NewNote],
    request: IdempotentRequest | None = None,
    require: Callable[[], None] | None = None,
) -> tuple[list[NoteRecord], bool]:
    """
    Store new notes of the user, all of them or none; return them, and whether they were stored earlier.

    With a request, its repetition within 24 hours stores nothing, and returns the notes as they were
    created, whatever became of them since. require, which may raise PreconditionFailed, is called before
    notes are stored; a repetition is returned all the same, since the first request may have changed what
    it compares. Raises idempotency.KeyReused, and KeyInUse.
    """
    earlier = None
    if require is not None:
        try:
            require()
        except PreconditionFailed:
            earlier = idempotency.find(request) if request else None
            if earlier is None:
                raise
    new = idempotency.Created([uuid4() for _ in notes], timezone.now())
    texts = [[note.title for note in notes], [note.content for note in notes]]
    if request is None:
        write.execute(_CREATE_ALL, [user_id, *new, *texts])
    elif earlier is None:
        claimed = write.execute(_CREATE_ALL_ONCE, [*idempotency.claim(request, new), *texts])
        if claimed is None:
            earlier = idempotency.find(request)
            if earlier is None:
                raise idempotency.KeyInUse
    note_ids, created_at = earlier or new
    created = [
        NoteRecord(note_id, user_id, *note, created_at, created_at, version=1)
        for note_id, note in zip(note_ids, notes, strict=True)
    ]
    return created, earlier is not None


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


def notes_delete(
    *, note_ids: Sequence[UUID], caller: str
) -> list[Literal["deleted", "not-found", "not-owner"]]:
    """Delete those of the notes that belong to the caller, in one transaction; return a result for each."""
    row = write.execute(_DELETE_ALL, [list(note_ids), caller])
    deleted = set(row[0]) if row else set()
    others: dict[UUID, str] = {}
    if len(deleted) < len(note_ids):
        rest = [note_id for note_id in note_ids if note_id not in deleted]
        others = dict(Note.objects.filter(pk__in=rest).values_list("pk", "user_id"))

    def result(note_id: UUID) -> Literal["deleted", "not-found", "not-owner"]:
        if note_id in deleted:
            return "deleted"
        # One of the caller's own has been created since, by an import: it was not there to be deleted.
        return "not-owner" if others.get(note_id, caller) != caller else "not-found"

    return [result(note_id) for note_id in note_ids]


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


def notes_load(*, rows: Sequence[Sequence[Any]]) -> int:
    """
    Store those of the rows, each in the order of records.FIELDS, whose id is not stored yet.

    Return how many were stored: all of the missing ones or, where this raises, none. Uses COPY; call
    notes_vacuum after the last load.
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


def notes_vacuum() -> None:
    """
    Run VACUUM (ANALYZE) on the table; call it after the last notes_load, outside of a transaction.

    It gives the planner statistics, enables index-only scans, and merges the pending list of the
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
