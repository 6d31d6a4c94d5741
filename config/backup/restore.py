"""Restore a backup: check it, load it beside the databases in use, then swap it in."""

from pathlib import Path
from typing import Final

from django.db.migrations.loader import MigrationLoader

from cachelayer import outbox, trust
from config.backup import (
    BackupRefused,
    OnProgress,
    file_errors_refused,
    manifest,
    mongodb,
    postgres,
)
from config.backup.manifest import Manifest

PUTTING_IN_PLACE: Final = (
    "putting in place"  # the step before which nothing in use has been touched
)


def backup_check(*, folder: Path, on_progress: OnProgress) -> Manifest:
    """Return the manifest of a complete backup of this version or an older one. Raises BackupRefused."""
    with file_errors_refused(folder):
        checked = manifest.read(folder, on_progress)
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}
    unknown = [name for name in checked.migrations if name not in known]
    if unknown:
        raise BackupRefused(
            f"{folder} is of a newer version: its migration {unknown[0]} is unknown here"
        )
    return checked


def backup_restore(*, folder: Path, force: bool, on_progress: OnProgress) -> Manifest:
    """
    Replace the contents of the two databases with the backup; return its manifest.

    force: even if they are not empty. Until both are loaded and counted, nothing in use is
    touched. The restored database itself records that nothing cached may be served, so no cached
    copy survives, whatever happens afterwards. Raises BackupRefused, PyMongoError, psycopg.Error.
    """
    checked = backup_check(folder=folder, on_progress=on_progress)
    trust.lease.stop()  # of the database that is replaced; the next use starts anew
    mongodb.refuse_unless_reachable()
    postgres.refuse_while_in_use()
    contents = {**postgres.filled(), **mongodb.filled()}
    if contents and not force:
        counts = ", ".join(f"{name} {number}" for name, number in sorted(contents.items()))
        raise BackupRefused(f"the databases are not empty ({counts}): --force replaces everything")
    on_progress("PostgreSQL", 0, 0)
    with (
        file_errors_refused(folder),
        postgres.restored_aside(
            folder, checked.tables, outbox.invalidate_restored
        ) as swap_in_tables,
        mongodb.restored_aside(folder, checked.collections, on_progress) as swap_in_collections,
    ):
        on_progress(PUTTING_IN_PLACE, 0, 0)
        swap_in_tables()
        swap_in_collections()
    return checked
