"""manage.py import_notes: store Markdown and text files as a user's notes."""

import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from rich.console import Console
from rich.progress import track

from config.web.user_ids import NEW_USER_ID_PATTERN
from notes import file_import, services
from notes.management.file_arguments import INTERRUPTED, path_argument, printable, refuse_user_id

# Must never change: the note's id is derived from it, the user and the file's path.
_NAMESPACE: Final = uuid.UUID("6f1d5a1e-3a0c-4d0b-9a57-5b6a8a5f2c11")
_SUMMARY: Final = ("created", "updated", "unchanged", "differs", "skipped", "other")


class Command(BaseCommand):
    help = (
        "Import the .md, .markdown and .txt files below PATH as notes. Running it "
        "again changes nothing. Hidden files are ignored. Exit status 1 if a file or a folder was "
        "skipped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=path_argument, help="a folder or a file")
        parser.add_argument("--user-id", required=True, help="the owner of the notes")
        parser.add_argument(
            "--update",
            action="store_true",
            help="replace notes that differ from their file (default: keep the note)",
        )

    def handle(self, *args: Any, path: Path, user_id: str, update: bool, **options: Any) -> None:
        refuse_user_id(user_id, NEW_USER_ID_PATTERN)
        try:
            path.stat()
        except FileNotFoundError as exc:
            raise CommandError(f"{printable(path)}: no such file or folder.") from exc
        except OSError as exc:
            raise CommandError(f"{printable(path)}: {exc.strerror}.") from exc
        if path.is_file() and not file_import.is_note_file(path):
            raise CommandError(
                f"{printable(path)}: neither a folder nor a .md, .markdown or .txt file."
            )
        self.outcomes: Counter[str] = Counter()
        self.imported: dict[uuid.UUID, Path] = {}
        try:
            self._import_all(path, user_id, update)
        except KeyboardInterrupt:
            self.stderr.write(f"Interrupted after {self._summary()}. Run it again to continue.")
            sys.exit(INTERRUPTED)
        except DatabaseError as exc:
            raise CommandError(
                f"PostgreSQL failed ({str(exc).splitlines()[0]}) after {self._summary()}. "
                "Every note is complete. Run it again to continue."
            ) from exc
        self.stdout.write(f"{self._summary().capitalize()}.")
        if self.outcomes["skipped"]:
            sys.exit(1)

    def _import_all(self, root: Path, user_id: str, update: bool) -> None:
        files = list(file_import.find_files(root, unreadable=self._skip_folder))
        place = root.resolve() if root.is_dir() else root.parent.resolve() / root.name
        console = Console(file=sys.stderr)
        for path in track(
            files, "importing", console=console, disable=not self.stdout.isatty(), transient=True
        ):
            outcome, reason = self._import_file(path, root, place, user_id, update)
            self.outcomes[outcome] += 1
            if reason:
                self.stderr.write(f"{outcome:<8} {printable(path)}: {reason}")

    def _import_file(
        self, path: Path, root: Path, place: Path, user_id: str, update: bool
    ) -> tuple[str, str]:
        """Return the outcome, and its reason where there is something to say."""
        if not file_import.is_note_file(path):
            return "other", ""
        try:
            note = file_import.read_note_file(path, root=root)
        except file_import.Unreadable as exc:
            return "skipped", str(exc)
        note_id = _id_of(note, place / path.relative_to(root), user_id)
        other = self.imported.setdefault(note_id, path)
        if other != path:
            return "skipped", f"is the same note as {printable(other)}"
        try:
            outcome = services.note_import(
                note_id=note_id,
                user_id=user_id,
                title=note.title,
                content=note.content,
                overwrite=update,
            )
        except services.NotOwner:
            return "skipped", "the note belongs to another user"
        reason = "the note was kept; --update replaces it" if outcome == "differs" else ""
        return outcome, reason

    def _skip_folder(self, exc: OSError) -> None:
        self.outcomes["skipped"] += 1
        self.stderr.write(f"skipped  {printable(exc.filename)}: {exc.strerror}")

    def _summary(self) -> str:
        counted = ", ".join(f"{self.outcomes[name]} {name}" for name in _SUMMARY[:-1])
        return f"{counted}, {self.outcomes['other']} other files"


def _id_of(note: file_import.FileNote, place: Path, user_id: str) -> uuid.UUID:
    """
    Return the id of the note that belongs to a file.

    An exported file names its note; imported for another user it becomes a new note. Any other file is
    identified by its absolute path, so that the README.md of two folders do not overwrite each other.
    """
    if note.origin is None:
        name = str(place).encode(errors="surrogateescape").hex()
    elif note.origin.user_id == user_id:
        return note.origin.note_id
    else:
        name = str(note.origin.note_id)
    return uuid.uuid5(_NAMESPACE, f"{user_id}\n{name}")
