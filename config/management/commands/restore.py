"""manage.py restore: replace the contents of both databases by a backup."""

import sys
from pathlib import Path
from typing import Any

import psycopg
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import Progress

from cachelayer import outbox
from config.backup import BackupRefused, OnProgress
from config.backup.restore import PUTTING_IN_PLACE, backup_check, backup_restore


class Command(BaseCommand):
    help = "Restore a backup. Stop the site first; databases that are not empty need --force."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="a folder written by manage.py backup")
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--force", action="store_true", help="replace the contents of the databases"
        )
        what.add_argument(
            "--check", action="store_true", help="only check whether it could be restored"
        )

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        terminal = self.stdout.isatty()
        steps: list[str] = []

        def on_progress(step: str, done: int, total: int) -> None:
            steps.append(step)
            progress.update(task, description=step, completed=done, total=total or None)

        try:
            with Progress(console=Console(file=sys.stderr), disable=not terminal) as progress:
                task = progress.add_task("restore", total=None)
                self._run(folder, on_progress, **options)
        except KeyboardInterrupt:
            self.stderr.write(f"Interrupted: {_remedy(steps)}.")
            sys.exit(130)
        except BackupRefused as exc:
            raise CommandError(f"nothing was restored: {exc}") from exc
        except CommandError as exc:  # of a command that it calls
            raise CommandError(f"{exc}: {_remedy(steps)}") from exc
        except (PyMongoError, DatabaseError, psycopg.Error) as exc:
            raise CommandError(f"{str(exc).splitlines()[0]}: {_remedy(steps)}") from exc

    def _run(
        self, folder: Path, on_progress: OnProgress, *, force: bool, check: bool, **options: Any
    ) -> None:
        if check:
            manifest = backup_check(folder=folder, on_progress=on_progress)
            self.stdout.write(f"{folder} is whole: written at {manifest.made_at.isoformat()}.")
            return
        manifest = backup_restore(folder=folder, force=force, on_progress=on_progress)
        # What a newer version adds to the schema, and the copies of profiles that the two stores
        # have of each other, which were dumped one after the other.
        call_command("migrate", verbosity=0, interactive=False)
        call_command("mongo_indexes", ensure=True, stdout=self.stderr, verbosity=0)
        call_command("copy_profiles", stdout=self.stderr, stderr=self.stderr)
        if not outbox.deliver_restored():
            self.stdout.write(
                "Redis does not answer: the site will not serve anything that Redis has cached, but "
                "start Redis empty, since it may hold sessions newer than the backup."
            )
        self.stdout.write(
            f"{sum(manifest.tables.values())} rows and {sum(manifest.collections.values())} documents "
            f"are as of {manifest.made_at.isoformat()}."
        )


def _remedy(steps: list[str]) -> str:
    if PUTTING_IN_PLACE in steps:
        return "the databases were being replaced, so run it again with --force"
    return "nothing was restored, and the databases are as they were"
