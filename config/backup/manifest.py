"""The contents of a backup: versions, counts, and the size and checksum of each file."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from config.backup import BackupRefused, OnProgress

NAME: Final = "manifest.json"
PRODUCT: Final = "trilith"
FORMAT: Final = 1
_BLOCK_BYTES: Final = 1 << 20


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the backup, by which damage is detected."""

    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The backup as a whole.

    tables and collections hold the numbers of rows and documents. migrations are the applied
    ones, as APP.NAME. events_waiting were still in the spool, and are not in the backup.
    """

    product: str
    format: int
    made_at: datetime
    postgres_version: str
    mongodb_version: str
    migrations: list[str]
    tables: dict[str, int]
    collections: dict[str, int]
    events_waiting: int
    files: dict[str, File]


def files_in(folder: Path) -> dict[str, Path]:
    """Return the files of a backup by name relative to its folder, without the manifest."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / NAME
    }


def checksums(folder: Path) -> dict[str, File]:
    """Return size and checksum of each file in the folder."""
    return {name: _checksum(path) for name, path in files_in(folder).items()}


def write(folder: Path, manifest: Manifest) -> None:
    path = folder / NAME
    path.touch(0o600)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def read(folder: Path, on_progress: OnProgress) -> Manifest:
    """Return the manifest of a complete and undamaged backup. Raises BackupRefused for any other."""
    manifest = _parse(folder)
    paths = files_in(folder)
    if set(paths) != set(manifest.files):
        differing = sorted(set(paths) ^ set(manifest.files))
        raise BackupRefused(
            f"{folder} is not a complete backup: {differing[0]} is missing or unexpected"
        )
    for number, (name, file) in enumerate(manifest.files.items()):
        on_progress("checksums", number, len(manifest.files))
        if _checksum(paths[name]) != file:
            raise BackupRefused(
                f"{folder / name} is damaged: its size or checksum is not that in {NAME}"
            )
    return manifest


def _parse(folder: Path) -> Manifest:
    path = folder / NAME
    if not path.is_file():
        raise BackupRefused(f"{folder} is not a backup: it has no {NAME}")
    try:
        content = msgspec.json.decode(path.read_bytes())
        product, form = content["product"], content["format"]
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError, RecursionError) as exc:
        raise BackupRefused(f"{path} cannot be read: {exc}") from exc
    if product != PRODUCT:
        raise BackupRefused(f"{folder} is a backup of {product}, not of {PRODUCT}")
    if form != FORMAT:
        raise BackupRefused(f"{folder} has format {form}, but this version reads format {FORMAT}")
    try:
        return msgspec.convert(content, Manifest)
    except msgspec.ValidationError as exc:
        raise BackupRefused(f"{path} cannot be read: {exc}") from exc


def _checksum(path: Path) -> File:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return File(path.stat().st_size, digest.hexdigest())
