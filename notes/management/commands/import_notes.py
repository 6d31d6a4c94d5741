"""manage.py import_notes: a folder of Markdown or text files becomes a user's notes."""

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

# Fixed for ever: with the user and the file's place it makes the note's id.
_NAMESPACE: Final = uuid.UUID("6f1d5a1e-3a0c-4d0b-9a57-5b6a8a5f2c11")
_SUMMARY: Final = ("created", "updated", "unchanged", "differs", "skipped", "other")


class Command(BaseCommand):
    help = (
        "Import the .md, .markdown and .txt files below PATH as notes. Run twice, it changes "
        "nothing. Hidden files are left out. Exit status 1 where a file or a folder had to be "
        "skipped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=path_argument, help="a folder, or one file")
        parser.add_argument("--user-id", required=True, help="whose notes they shall be")
        parser.add_argument(
            "--update",
            action="store_true",
            help="where file and note differ the file wins (else the note is kept)",
        )

    def handle(self, *args: Any, path: Path, user_id: str, update: bool, **options: Any) -> None:
        refuse_user_id(user_id, NEW_USER_ID_PATTERN)
        try:
            path.stat()
        except FileNotFoundError as exc:
            raise CommandError(f"{printable(path)}: there is no such file or folder.") from exc
        except OSError as exc:
            raise CommandError(f"{printable(path)}: {exc.strerror}.") from exc
        if path.is_file() and not file_import.is_note_file(path):
            raise CommandError(f"{printable(path)}: is no folder, and no .md, .markdown or .txt.")
        self.outcomes: Counter[str] = Counter()
        self.imported: dict[uuid.UUID, Path] = {}
        try:
            self._import_all(path, user_id, update)
        except KeyboardInterrupt:
            self.stderr.write(f"Interrupted after {self._summary()}. Run it again to go on.")
            sys.exit(INTERRUPTED)
        except DatabaseError as exc:
            raise CommandError(
                f"PostgreSQL failed ({str(exc).splitlines()[0]}) after {self._summary()}. "
                "Every note is whole; run it again to go on."
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
            outcome, reason = self._import_one(path, root, place, user_id, update)
            self.outcomes[outcome] += 1
            if reason:
                self.stderr.write(f"{outcome:<8} {printable(path)}: {reason}")

    def _import_one(
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
            return "skipped", "its note belongs to another user"
        reason = "the note is kept; --update replaces it" if outcome == "differs" else ""
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

    An exported file names its note; as another user's it is a note of its own. Any other file is
    known by its whole path, so that two folders with a README.md each do not overwrite one another.
    """
    if note.origin is None:
        name = str(place).encode(errors="surrogateescape").hex()
    elif note.origin.user_id == user_id:
        return note.origin.note_id
    else:
        name = str(note.origin.note_id)
    return uuid.uuid5(_NAMESPACE, f"{user_id}\n{name}")
