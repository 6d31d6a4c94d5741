"""MongoDB: documents as BSON, options and indexes of the collections as extended JSON."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import bson
import pymongo
from bson import json_util
from bson.raw_bson import RawBSONDocument
from django.conf import settings
from mongoengine import get_db
from pymongo.database import Database
from pymongo.errors import PyMongoError

from config.backup import BackupRefused, OnProgress

FOLDER: Final = "mongodb"
_ASIDE: Final = "restoring_"
# The position of the change stream, which is invalid on another server or at another time.
_EXCLUDED: Final = ("change_stream_tokens",)
_BATCH: Final = 1_000
Raw = Database[RawBSONDocument]


@contextmanager
def connected() -> Iterator[Raw]:
    """Yield the database with documents as raw BSON, without the timeouts of requests."""
    with pymongo.MongoClient[RawBSONDocument](
        settings.MONGODB_URI, document_class=RawBSONDocument, serverSelectionTimeoutMS=5000
    ) as client:
        yield client[get_db().name]


def dump(folder: Path, on_progress: OnProgress) -> dict[str, int]:
    """
    Dump every collection as of a single moment; return the numbers of documents.

    The moment is that of a snapshot session, which MongoDB keeps for 5 minutes
    (minSnapshotHistoryWindowInSeconds). Raises PyMongoError.
    """
    (folder / FOLDER).mkdir(mode=0o700)
    with connected() as database, database.client.start_session(snapshot=True) as session:
        documents = {}
        for options in _collections(database):
            name = options["name"]
            collection = database[name]
            indexes = [dict(index) for index in collection.list_indexes()]
            definition = {"options": options.get("options", {}), "indexes": indexes}
            _file(folder, f"{name}.json").write_text(json_util.dumps(definition, indent=1))
            total = collection.estimated_document_count()
            with _file(folder, f"{name}.bson").open("wb") as file:
                number = 0
                for document in collection.find({}, session=session, batch_size=_BATCH):
                    file.write(document.raw)
                    number += 1
                    if number % _BATCH == 0:
                        on_progress(name, number, total)
            documents[name] = number
    return documents


def version() -> str:
    with connected() as database:
        return str(database.client.server_info()["version"])


def filled() -> dict[str, int]:
    """Return the collections in use that are not empty, with their numbers of documents."""
    with connected() as database:
        return {
            info["name"]: database[info["name"]].count_documents({})
            for info in _collections(database)
            if database[info["name"]].find_one({}, {"_id": 1})
        }


@contextmanager
def restored_aside(
    folder: Path, expected: dict[str, int], on_progress: OnProgress
) -> Iterator[Callable[[], None]]:
    """
    Restore into collections of other names, and yield a function that swaps them in.

    If they are not swapped in, they are dropped. Raises BackupRefused if the numbers of documents
    are not as expected, and PyMongoError.
    """
    with connected() as database:
        _drop_aside(database)
        try:
            for name, number in expected.items():
                loaded = _load(database, folder, name, number, on_progress)
                if loaded != number:
                    raise BackupRefused(
                        f"the collection {name} has {loaded} documents, not {number}"
                    )
            yield lambda: _swap_in(database, set(expected))
        finally:
            _drop_aside(database)


def _collections(database: Raw) -> list[dict[str, Any]]:
    backed_up = [
        dict(info)
        for info in database.list_collections()
        if not info["name"].startswith(("system.", _ASIDE)) and info["name"] not in _EXCLUDED
    ]
    return sorted(backed_up, key=lambda info: str(info["name"]))


def _file(folder: Path, name: str) -> Path:
    path = folder / FOLDER / name
    path.touch(0o600)
    return path


def _load(database: Raw, folder: Path, name: str, total: int, on_progress: OnProgress) -> int:
    file = folder / FOLDER / f"{name}.json"
    try:
        definition = json_util.loads(file.read_text())
    except (ValueError, RecursionError) as exc:
        raise BackupRefused(f"{file} cannot be read: {exc}") from exc
    aside = database.create_collection(f"{_ASIDE}{name}", **definition["options"])
    batch: list[RawBSONDocument] = []
    with file.with_suffix(".bson").open("rb") as documents:
        number = 0
        for document in bson.decode_file_iter(documents, aside.codec_options):
            batch.append(document)
            if len(batch) == _BATCH:
                number += _insert(aside, batch)
                on_progress(name, number, total)
        number += _insert(aside, batch)
    specifications = [
        _specification(index) for index in definition["indexes"] if index["name"] != "_id_"
    ]
    if specifications:
        database.command("createIndexes", aside.name, indexes=specifications)
    return number


def _insert(aside: Any, batch: list[RawBSONDocument]) -> int:
    """Insert the batch unchanged and clear it; return its length."""
    number = len(batch)
    if batch:
        aside.insert_many(batch, ordered=False, bypass_document_validation=True)
        batch.clear()
    return number


def _specification(index: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in index.items() if name not in ("v", "ns")}


def _swap_in(database: Raw, names: set[str]) -> None:
    """Rename each collection over the one in use; drop all collections that are not in the backup."""
    for name in sorted(names):
        database[f"{_ASIDE}{name}"].rename(name, dropTarget=True)
    for info in _collections(database):
        if info["name"] not in names:
            database.drop_collection(info["name"])
    for name in _EXCLUDED:
        database.drop_collection(name)


def _drop_aside(database: Raw) -> None:
    for name in database.list_collection_names():
        if name.startswith(_ASIDE):
            database.drop_collection(name)


def refuse_unless_reachable() -> None:
    """Raise BackupRefused if MongoDB does not answer."""
    try:
        version()
    except PyMongoError as exc:
        raise BackupRefused(f"MongoDB does not answer: {str(exc).split(',')[0]}") from exc
