"""manage.py import_notes: a folder of Markdown or text files becomes a user's notes."""

import re
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from rich.console import Console
from rich.progress import track

from notes import markdown, services
from notes.limits import USER_ID_PATTERN

INTERRUPTED: Final = 130  # exit status, as a shell has it for SIGINT
# Fixed for ever: with the user and the file's place it makes the note's id.
_NAMESPACE: Final = uuid.UUID("6f1d5a1e-3a0c-4d0b-9a57-5b6a8a5f2c11")
_SUMMARY: Final = ("created", "updated", "unchanged", "differs", "skipped", "other")


class Command(BaseCommand):
    help = (
        "Import the .md, .markdown and .txt files below PATH as notes. Run twice, it changes "
        "nothing. Hidden files are left out. Exit status 1 where a file had to be skipped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="a folder, or one file")
        parser.add_argument("--user-id", required=True, help="whose notes they shall be")
        parser.add_argument(
            "--update",
            action="store_true",
            help="where file and note differ the file wins (else the note is kept)",
        )

    def handle(self, *args: Any, path: Path, user_id: str, update: bool, **options: Any) -> None:
        if not path.exists():
            raise CommandError(f"{path}: there is no such file or folder.")
        if not re.fullmatch(USER_ID_PATTERN, user_id):
            raise CommandError(f"--user-id {user_id}: 1 to 128 characters of A-Z a-z 0-9 . _ @ : -")
        outcomes: Counter[str] = Counter()
        try:
            self._import_all(path, user_id, update, outcomes)
        except KeyboardInterrupt:
            self.stderr.write(f"Interrupted after {_summary(outcomes)}. Run it again to go on.")
            sys.exit(INTERRUPTED)
        except DatabaseError as exc:
            raise CommandError(
                f"PostgreSQL failed ({str(exc).splitlines()[0]}) after {_summary(outcomes)}. "
                "Every note is whole; run it again to go on."
            ) from exc
        self.stdout.write(f"{_summary(outcomes).capitalize()}.")
        if outcomes["skipped"]:
            sys.exit(1)

    def _import_all(self, root: Path, user_id: str, update: bool, outcomes: Counter[str]) -> None:
        files = list(markdown.find_files(root))
        console = Console(file=sys.stderr)
        for path in track(
            files, "importing", console=console, disable=not self.stdout.isatty(), transient=True
        ):
            outcome = self._import_one(path, root, user_id, update)
            outcomes[outcome] += 1

    def _import_one(self, path: Path, root: Path, user_id: str, update: bool) -> str:
        if not markdown.is_note_file(path):
            return "other"
        try:
            note = markdown.read_note_file(path, root=root)
        except markdown.Unreadable as exc:
            self.stderr.write(f"skipped  {_printable(path)}: {exc}")
            return "skipped"
        outcome = services.note_import(
            note_id=_id_of(path, user_id),
            user_id=user_id,
            title=note.title,
            content=note.content,
            overwrite=update,
        )
        if outcome == "differs":
            self.stderr.write(
                f"differs  {_printable(path)}: the note is kept; --update replaces it"
            )
        return outcome


def _id_of(path: Path, user_id: str) -> uuid.UUID:
    """
    Return the id of the note that belongs to a file.

    By its whole path, so that two folders with a README.md each do not overwrite one another.
    """
    place = str(path.parent.resolve() / path.name).encode(errors="surrogateescape").hex()
    return uuid.uuid5(_NAMESPACE, f"{user_id}\n{place}")


def _printable(path: Path) -> str:
    return str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")


def _summary(outcomes: Counter[str]) -> str:
    counted = ", ".join(f"{outcomes[name]} {name}" for name in _SUMMARY[:-1])
    return f"{counted}, {outcomes['other']} other files"
