"""Restoring a backup: checked, loaded beside what is in use, and put in its place at the end."""

from pathlib import Path
from typing import Final

from django.db.migrations.loader import MigrationLoader

from cachelayer import restored
from config.backup import BackupRefused, Tell, manifest, mongodb, postgres
from config.backup.manifest import Manifest

PUTTING_IN_PLACE: Final = "putting in place"  # what is told before anything in use is touched


def backup_check(*, folder: Path, tell: Tell) -> Manifest:
    """Return the manifest of a backup that is whole and of this version or an older one. Raises BackupRefused."""
    found = manifest.read(folder, tell)
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}
    unknown = [name for name in found.migrations if name not in known]
    if unknown:
        raise BackupRefused(
            f"{folder} is of a newer version: it has the migration {unknown[0]}, which is not known here"
        )
    return found


def backup_restore(*, folder: Path, force: bool, tell: Tell) -> Manifest:
    """
    Put the backup in the place of what the two databases hold; return its manifest.

    force: also where that is anything. Until both are loaded and counted nothing in use is
    touched. The restored database itself says that nothing cached may be served, so no copy
    outlives it, whatever happens afterwards. Raises BackupRefused, PyMongoError, psycopg.Error.
    """
    found = backup_check(folder=folder, tell=tell)
    mongodb.refuse_silent()
    postgres.refuse_while_in_use()
    held = {**postgres.filled(), **mongodb.filled()}
    if held and not force:
        told = ", ".join(f"{name} {number}" for name, number in sorted(held.items()))
        raise BackupRefused(f"the databases are not empty ({told}): --force replaces all of it")
    tell("PostgreSQL", 0, 0)
    with (
        postgres.restored_aside(folder, found.tables, restored.forget) as put_tables,
        mongodb.restored_aside(folder, found.collections, tell) as put_collections,
    ):
        tell(PUTTING_IN_PLACE, 0, 0)
        put_tables()
        put_collections()
    return found
