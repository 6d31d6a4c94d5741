"""manage.py backup: save PostgreSQL and MongoDB into one folder."""

import sys
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import Progress

from config.backup import BackupRefused, manifest
from config.backup.backup import backup_make


class Command(BaseCommand):
    help = (
        "Back up both databases into a new folder while the site keeps running. Redis is a cache "
        "and is not backed up."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--to", type=Path, help="the new folder (default: backups/ and the time in UTC)"
        )

    def handle(self, *args: Any, to: Path | None, **options: Any) -> None:
        name = manifest.now().strftime("%Y%m%dT%H%M%SZ")
        folder = to or settings.BASE_DIR / "backups" / name
        terminal = self.stdout.isatty()
        try:
            with Progress(console=Console(file=sys.stderr), disable=not terminal) as progress:
                task = progress.add_task("backup", total=None)
                backup = backup_make(
                    to=folder,
                    on_progress=lambda step, done, total: progress.update(
                        task, description=step, completed=done, total=total or None
                    ),
                )
        except KeyboardInterrupt:
            self.stderr.write("Interrupted: no backup was written.")
            sys.exit(130)
        except BackupRefused as exc:
            raise CommandError(f"no backup was written: {exc}") from exc
        except (PyMongoError, DatabaseError, psycopg.Error) as exc:
            raise CommandError(f"no backup was written: {str(exc).splitlines()[0]}") from exc
        size = sum(file.size_bytes for file in backup.files.values())
        self.stdout.write(
            f"{folder}: {sum(backup.tables.values())} rows, {sum(backup.collections.values())} "
            f"documents, {size / 1e6:.1f} MB."
        )
        if backup.events_waiting:
            self.stdout.write(
                f"{backup.events_waiting} events still wait in the spool and are not in the backup."
            )
