"""manage.py export_notes: write a user's notes as Markdown files into a folder."""

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from rich.console import Console
from rich.progress import track

from config.postgres import replica
from notes import file_export, selectors
from notes.management.file_arguments import INTERRUPTED, path_argument, printable, refuse_user_id

_SUMMARY: Final = ("created", "updated", "unchanged", "skipped")


class Command(BaseCommand):
    help = (
        "Export a user's notes into the folder PATH, one file for each note; import_notes restores "
        "the same notes from them. Run again, it replaces only the files that it wrote. Exit "
        "status 1 if a note was skipped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "path", type=path_argument, help="a folder; created if it does not exist"
        )
        parser.add_argument("--user-id", required=True, help="the owner of the notes")

    def handle(self, *args: Any, path: Path, user_id: str, **options: Any) -> None:
        refuse_user_id(user_id)
        self.outcomes: Counter[str] = Counter()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._export_all(path, user_id)
        except KeyboardInterrupt:
            self.stderr.write(f"Interrupted after {self._summary()}. Run it again to continue.")
            sys.exit(INTERRUPTED)
        except FileExistsError as exc:
            raise CommandError(f"{printable(path)}: not a folder.") from exc
        except OSError as exc:
            raise CommandError(
                f"{printable(exc.filename or path)}: {exc.strerror}, after {self._summary()}. "
                "Every file is complete. Run it again to continue."
            ) from exc
        except DatabaseError as exc:
            raise CommandError(
                f"PostgreSQL failed ({str(exc).splitlines()[0]}) after {self._summary()}. "
                "Every file is complete. Run it again to continue."
            ) from exc
        self.stdout.write(f"{self._summary().capitalize()}.")
        if self.outcomes["skipped"]:
            sys.exit(1)

    def _export_all(self, folder: Path, user_id: str) -> None:
        present = file_export.exported_files(folder)
        for note in track(
            selectors.notes_of_user(user_id=user_id, run=replica.run),
            "exporting",
            total=replica.run(partial(_count, user_id)),
            console=Console(file=sys.stderr),
            disable=not self.stdout.isatty(),
            transient=True,
        ):
            try:
                outcome: str = file_export.export_note(note, folder=folder, present=present)
            except file_export.NotOverwritten as exc:
                outcome = "skipped"
                path = present.get(note.id, folder / file_export.file_name(note))
                self.stderr.write(f"skipped  {printable(path)}: {exc}")
            self.outcomes[outcome] += 1

    def _summary(self) -> str:
        return ", ".join(f"{self.outcomes[name]} {name}" for name in _SUMMARY)


def _count(user_id: str, using: str) -> int:
    return selectors.note_count(user_id=user_id, using=using)
