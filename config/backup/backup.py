"""Making a backup: both stores, each as of one moment, in a folder that appears when it is whole."""

import shutil
from pathlib import Path

from activity import services as activity
from config.backup import BackupRefused, Tell, manifest, mongodb, postgres
from config.backup.manifest import Manifest


def backup_make(*, to: Path, tell: Tell) -> Manifest:
    """
    Write a backup into the new folder to; return its manifest.

    Events in the spool are shipped before; the site may go on. Interrupted or failed it leaves
    nothing behind. Raises BackupRefused, PyMongoError, or psycopg.Error.
    """
    if to.exists():
        raise BackupRefused(f"{to} is there already: name another folder")
    mongodb.refuse_silent()
    partial = to.parent / f".{to.name}.partial"
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        made = _write(partial, tell)
        partial.rename(to)
    except OSError as exc:
        raise BackupRefused(f"{exc.filename or to}: {exc.strerror}") from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


def _write(folder: Path, tell: Tell) -> Manifest:
    made_at = manifest.now()
    tell("events that wait", 0, 0)
    waiting = activity.spool_empty()
    tell("PostgreSQL", 0, 0)
    dumped = postgres.dump(folder)
    collections = mongodb.dump(folder, tell)
    tell("checksums", 0, 0)
    made = Manifest(
        product=manifest.PRODUCT,
        format=manifest.FORMAT,
        made_at=made_at,
        postgres_version=dumped.version,
        mongodb_version=mongodb.version(),
        migrations=dumped.migrations,
        tables=dumped.tables,
        collections=collections,
        events_waiting=waiting,
        files=manifest.described(folder),
    )
    manifest.write(folder, made)
    return made
