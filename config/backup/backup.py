"""Make a backup: both stores, each as of a single moment, in a folder that appears once complete."""

import shutil
from pathlib import Path

from activity import services as activity
from config.backup import (
    BackupRefused,
    OnProgress,
    file_errors_refused,
    manifest,
    mongodb,
    postgres,
)
from config.backup.manifest import Manifest


def backup_make(*, to: Path, on_progress: OnProgress) -> Manifest:
    """
    Write a backup into the new folder `to`; return its manifest.

    Events in the spool are shipped first; the site may keep running. If it is interrupted or
    fails, nothing is left behind. Raises BackupRefused, PyMongoError, or psycopg.Error.
    """
    partial = to.parent / f".{to.name}.partial"
    with file_errors_refused(to):
        if to.exists():
            raise BackupRefused(f"{to} already exists: name another folder")
        mongodb.refuse_unless_reachable()
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(mode=0o700)
            written = _write(partial, on_progress)
            partial.rename(to)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return written


def _write(folder: Path, on_progress: OnProgress) -> Manifest:
    made_at = manifest.now()
    on_progress("waiting events", 0, 0)
    waiting = activity.spool_empty()
    on_progress("PostgreSQL", 0, 0)
    dump = postgres.dump(folder)
    collections = mongodb.dump(folder, on_progress)
    on_progress("checksums", 0, 0)
    written = Manifest(
        product=manifest.PRODUCT,
        format=manifest.FORMAT,
        made_at=made_at,
        postgres_version=dump.version,
        mongodb_version=mongodb.version(),
        migrations=dump.migrations,
        tables=dump.tables,
        collections=collections,
        events_waiting=waiting,
        files=manifest.checksums(folder),
    )
    manifest.write(folder, written)
    return written
