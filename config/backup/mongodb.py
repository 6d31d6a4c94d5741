"""MongoDB: its documents as BSON, its collections' options and indexes as extended JSON."""

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

from config.backup import BackupRefused, Tell

FOLDER: Final = "mongodb"
_ASIDE: Final = "restoring_"
# Where the change stream is: that of another time or server leads nowhere.
_LEFT_OUT: Final = ("change_stream_tokens",)
_BATCH: Final = 1_000
Raw = Database[RawBSONDocument]


@contextmanager
def connected() -> Iterator[Raw]:
    """Yield the database, its documents as bytes, without the deadlines of requests."""
    with pymongo.MongoClient[RawBSONDocument](
        settings.MONGODB_URI, document_class=RawBSONDocument, serverSelectionTimeoutMS=5000
    ) as client:
        yield client[get_db().name]


def dump(folder: Path, tell: Tell) -> dict[str, int]:
    """
    Write every collection, all of them as of one moment; return the numbers of documents.

    The moment is that of a snapshot session, which MongoDB keeps for 5 minutes
    (minSnapshotHistoryWindowInSeconds). Raises PyMongoError.
    """
    (folder / FOLDER).mkdir(mode=0o700)
    with connected() as database, database.client.start_session(snapshot=True) as session:
        found = {}
        for options in _collections(database):
            name = options["name"]
            collection = database[name]
            indexes = [dict(index) for index in collection.list_indexes()]
            told = {"options": options.get("options", {}), "indexes": indexes}
            _file(folder, f"{name}.json").write_text(json_util.dumps(told, indent=1))
            total = collection.estimated_document_count()
            with _file(folder, f"{name}.bson").open("wb") as file:
                number = 0
                for document in collection.find({}, session=session, batch_size=_BATCH):
                    file.write(document.raw)
                    number += 1
                    if number % _BATCH == 0:
                        tell(name, number, total)
            found[name] = number
    return found


def version() -> str:
    with connected() as database:
        return str(database.client.server_info()["version"])


def filled() -> dict[str, int]:
    """Return the collections in use that hold anything."""
    with connected() as database:
        return {
            one["name"]: database[one["name"]].count_documents({})
            for one in _collections(database)
            if database[one["name"]].find_one({}, {"_id": 1})
        }


@contextmanager
def restored_aside(
    folder: Path, expected: dict[str, int], tell: Tell
) -> Iterator[Callable[[], None]]:
    """
    Restore into collections of other names, and yield what puts them in the place of those in use.

    Where that was not done they are dropped. Raises BackupRefused where the documents are not as
    many as expected, PyMongoError.
    """
    with connected() as database:
        _drop_aside(database)
        try:
            for name, number in expected.items():
                found = _load(database, folder, name, number, tell)
                if found != number:
                    raise BackupRefused(
                        f"the collection {name} has {found} documents, not {number}"
                    )
            yield lambda: _put_in_place(database, set(expected))
        finally:
            _drop_aside(database)


def _collections(database: Raw) -> list[dict[str, Any]]:
    found = [dict(one) for one in database.list_collections()]
    kept = [
        one
        for one in found
        if not one["name"].startswith(("system.", _ASIDE)) and one["name"] not in _LEFT_OUT
    ]
    return sorted(kept, key=lambda one: str(one["name"]))


def _file(folder: Path, name: str) -> Path:
    path = folder / FOLDER / name
    path.touch(0o600)
    return path


def _load(database: Raw, folder: Path, name: str, total: int, tell: Tell) -> int:
    told = json_util.loads((folder / FOLDER / f"{name}.json").read_text())
    aside = database.create_collection(f"{_ASIDE}{name}", **told["options"])
    batch: list[RawBSONDocument] = []
    with (folder / FOLDER / f"{name}.bson").open("rb") as file:
        number = 0
        for document in bson.decode_file_iter(file, aside.codec_options):
            batch.append(document)
            if len(batch) == _BATCH:
                number += _insert(aside, batch)
                tell(name, number, total)
        number += _insert(aside, batch)
    specifications = [_specification(one) for one in told["indexes"] if one["name"] != "_id_"]
    if specifications:
        database.command("createIndexes", aside.name, indexes=specifications)
    return number


def _insert(aside: Any, batch: list[RawBSONDocument]) -> int:
    """Insert the batch as it is, and empty it; return how many."""
    number = len(batch)
    if batch:
        aside.insert_many(batch, ordered=False, bypass_document_validation=True)
        batch.clear()
    return number


def _specification(index: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in index.items() if name not in ("v", "ns")}


def _put_in_place(database: Raw, names: set[str]) -> None:
    """Give each collection its name, in place of the one that has it; drop what is none of them."""
    for name in sorted(names):
        database[f"{_ASIDE}{name}"].rename(name, dropTarget=True)
    for one in _collections(database):
        if one["name"] not in names:
            database.drop_collection(one["name"])
    for name in _LEFT_OUT:
        database.drop_collection(name)


def _drop_aside(database: Raw) -> None:
    for name in database.list_collection_names():
        if name.startswith(_ASIDE):
            database.drop_collection(name)


def refuse_silent() -> None:
    """Raise BackupRefused where MongoDB does not answer."""
    try:
        version()
    except PyMongoError as exc:
        raise BackupRefused(f"MongoDB does not answer: {str(exc).split(',')[0]}") from exc
