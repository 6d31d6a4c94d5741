"""What a backup holds: versions, counts, and the size and checksum of each file."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from config.backup import BackupRefused, Tell

NAME: Final = "manifest.json"
PRODUCT: Final = "trilith"
FORMAT: Final = 1
_BLOCK_BYTES: Final = 1 << 20


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the backup, so that a damaged one is recognised."""

    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The backup as a whole.

    tables and collections have their numbers of rows and documents. migrations are the names
    APP.NAME of those applied. events_waiting were in the spool, and are not in the backup.
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
    """Return the files of a backup by their names relative to its folder, but for the manifest."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / NAME
    }


def described(folder: Path) -> dict[str, File]:
    """Return size and checksum of each file in the folder."""
    return {name: _described(path) for name, path in files_in(folder).items()}


def write(folder: Path, manifest: Manifest) -> None:
    path = folder / NAME
    path.touch(0o600)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def read(folder: Path, tell: Tell) -> Manifest:
    """Return the manifest of a whole and undamaged backup. Raises BackupRefused for any other."""
    manifest = _parsed(folder)
    there = files_in(folder)
    if set(there) != set(manifest.files):
        odd = sorted(set(there) ^ set(manifest.files))
        raise BackupRefused(f"{folder} is no whole backup: {odd[0]} is missing, or one too many")
    for number, (name, file) in enumerate(manifest.files.items()):
        tell("checksums", number, len(manifest.files))
        if _described(there[name]) != file:
            raise BackupRefused(
                f"{folder / name} is damaged: size or checksum is another than {NAME} says"
            )
    return manifest


def _parsed(folder: Path) -> Manifest:
    path = folder / NAME
    if not path.is_file():
        raise BackupRefused(f"{folder} is no backup: there is no {NAME} in it")
    try:
        told = msgspec.json.decode(path.read_bytes())
        product, form = told["product"], told["format"]
    except (msgspec.DecodeError, TypeError, KeyError) as exc:
        raise BackupRefused(f"{path} cannot be read: {exc}") from exc
    if product != PRODUCT:
        raise BackupRefused(f"{folder} is a backup of {product}, not of {PRODUCT}")
    if form != FORMAT:
        raise BackupRefused(f"{folder} has the format {form}, and this version reads {FORMAT}")
    try:
        return msgspec.convert(told, Manifest)
    except msgspec.ValidationError as exc:
        raise BackupRefused(f"{path} cannot be read: {exc}") from exc


def _described(path: Path) -> File:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return File(path.stat().st_size, digest.hexdigest())
