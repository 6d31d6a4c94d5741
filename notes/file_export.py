"""A note as a file, which import_notes restores byte for byte."""

import hashlib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal
from uuid import UUID, uuid4

import yaml
from django.utils.text import slugify

from notes.file_import import FileNote, Unreadable, read_note_file
from notes.records import NoteRecord

_SLUG_MAX_BYTES: Final = 100  # with the id and the suffix well below the 255 of a file name
_FILE_NAME = re.compile(r"(?:.*-)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.md", re.DOTALL)


class NotOverwritten(Exception):
    """A file at the note's path would be lost; the message says why it is not overwritten."""


def exported_files(folder: Path) -> dict[UUID, Path]:
    """Return the files of the folder by the note id at the end of their names. Raises OSError."""
    with os.scandir(folder) as listing:
        names = sorted(entry.name for entry in listing)
    matches = [match for name in names if (match := _FILE_NAME.fullmatch(name))]
    return {UUID(match.group(1)): folder / match.group(0) for match in matches}


def export_note(
    note: NoteRecord, *, folder: Path, present: Mapping[UUID, Path]
) -> Literal["created", "updated", "unchanged"]:
    """
    Write the note's file into the folder, whole or not at all; present is of exported_files.

    A file of the same note that nobody edited is replaced, and renamed where the title changed.
    Raises NotOverwritten, then nothing was written, and OSError.
    """
    path = folder / file_name(note)
    previous = present.get(note.id, path)
    existing = {candidate for candidate in (previous, path) if os.path.lexists(candidate)}
    if any(_is_current(candidate, note, folder) for candidate in existing):
        return "unchanged"
    _write(path, file_text(note.id, note.user_id, note.title, note.content))
    if previous != path:
        previous.unlink(missing_ok=True)
    return "updated" if existing else "created"


def file_name(note: NoteRecord) -> str:
    """
    Return the name of the note's file: words of the title for the reader, and its id.

    The id tells equal titles apart, and keeps the name from being hidden or reserved by a system.
    """
    slug = slugify(note.title, allow_unicode=True).encode()[:_SLUG_MAX_BYTES]
    words = slug.decode(errors="ignore").strip("-_")
    return f"{words}-{note.id}.md" if words else f"{note.id}.md"


def file_text(note_id: UUID, user_id: str, title: str, content: str) -> str:
    """Return front matter that names the note, and its content as it is."""
    checksum = hashlib.sha256(f"{title}\0{content}".encode()).hexdigest()
    quoted = yaml.safe_dump(title, default_style='"', allow_unicode=True, width=math.inf)
    return (
        f'---\ntrilith_note: {note_id}\ntrilith_user: "{user_id}"\n'
        f"trilith_checksum: {checksum}\ntitle: {quoted}---\n{content}"
    )


def _is_current(path: Path, note: NoteRecord, folder: Path) -> bool:
    """Return whether the file equals the note. Raises NotOverwritten if the file is not an export of it."""
    try:
        file = read_note_file(path, root=folder)
    except Unreadable as exc:
        raise NotOverwritten(f"{exc}, and is in the way; move it away") from exc
    origin = file.origin
    if path.is_symlink() or origin is None or origin.note_id != note.id:
        raise NotOverwritten("was not exported from this note, and is in the way; move it away")
    if (origin.user_id, file.title, file.content) == (note.user_id, note.title, note.content):
        return True
    if not _is_as_written(path, file):
        raise NotOverwritten("was edited since its export; import it with --update or move it away")
    return False


def _is_as_written(path: Path, file: FileNote) -> bool:
    if file.origin is None:
        return False
    text = file_text(file.origin.note_id, file.origin.user_id, file.title, file.content)
    return path.read_bytes() == text.encode()


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{uuid4().hex}.tmp")  # hidden, so that no import sees it
    try:
        with draft.open("xb") as file:
            file.write(text.encode())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
