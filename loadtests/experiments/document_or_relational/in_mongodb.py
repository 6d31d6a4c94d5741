"""The documents in MongoDB."""

from collections.abc import Sequence
from typing import Any, Final

import pymongo
from pymongo.write_concern import WriteConcern

from loadtests.experiments.document_or_relational.documents import DEEP, Document
from loadtests.experiments.document_or_relational.stores import (
    SCRATCH,
    SCRATCH_NOTES,
    Durability,
    FilterPlan,
    SizeOnDisk,
)

_DEEP: Final = ".".join(DEEP)
_KIND: Final = "dotted path"
_DURABLE: Final = WriteConcern("majority", j=True)
_RELAXED: Final = WriteConcern(1, j=False)


class InMongoDB:
    """A collection beside the service's own, with w:majority and j:true, or w:1 and j:false."""

    name = "MongoDB"
    index_kinds = (_KIND,)

    def __init__(self, url: str) -> None:
        self._client: pymongo.MongoClient[Document] = pymongo.MongoClient(url)
        self._database = self._client.get_default_database()
        self._scratch = self._database.get_collection(SCRATCH, write_concern=_DURABLE)
        self._notes = self._database.get_collection(SCRATCH_NOTES, write_concern=_DURABLE)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def wait_for_disk(self, wait: bool) -> None:
        self._scratch = self._scratch.with_options(write_concern=_DURABLE if wait else _RELAXED)

    def durability(self) -> Durability:
        options = self._client.admin.command("getCmdLineOpts")["parsed"].get("storage", {})
        journal = options.get("journal", {}).get("enabled", True)
        majority = self._client.admin.command("replSetGetConfig")["config"]
        settings = (
            ("writeConcern of each write", "w: majority, j: true"),
            ("storage.journal.enabled", str(journal).lower()),
            (
                "writeConcernMajorityJournalDefault",
                str(majority["writeConcernMajorityJournalDefault"]).lower(),
            ),
            ("members of the set", str(len(majority["members"]))),
        )
        return Durability(settings, holds=journal and bool(_DURABLE.document["j"]))

    def written_bytes(self) -> int:
        return int(self._log()["log bytes written"])

    def syncs(self) -> int:
        return int(self._log()["log sync operations"])

    def _log(self) -> dict[str, Any]:
        log: dict[str, Any] = self._client.admin.command("serverStatus")["wiredTiger"]["log"]
        return log

    def fill(self, sample: Sequence[Document]) -> None:
        self._scratch.drop()
        self._scratch.insert_many([_with_id(document) for document in sample])

    def drop(self) -> None:
        self._scratch.drop()
        self._notes.drop()

    def read(self, user_id: str) -> Document:
        document = self._scratch.find_one({"_id": user_id})
        if document is None:
            raise LookupError(user_id)
        return document

    def insert(self, document: Document) -> None:
        self._scratch.insert_one(_with_id(document))

    def update_nested(self, user_id: str, value: int) -> None:
        self._scratch.update_one({"_id": user_id}, {"$set": {_DEEP: value}})

    def replace(self, user_id: str, document: Document) -> None:
        self._scratch.replace_one({"_id": user_id}, {**document, "user_id": user_id})

    def index_nested(self, kind: str) -> None:
        self._scratch.create_index([(_DEEP, 1)], name="nested")

    def unindex_nested(self, kind: str) -> None:
        self._scratch.drop_index("nested")

    def filter_nested(self, value: int, kind: str) -> int:
        return len(list(self._scratch.find({_DEEP: value}, {"user_id": 1})))

    def explain_nested(self, value: int, kind: str) -> FilterPlan:
        query = {"find": SCRATCH, "filter": {_DEEP: value}, "projection": {"user_id": 1}}
        explained = self._database.command("explain", query, verbosity="executionStats")
        stats = explained["executionStats"]
        sizes = self._database.command("collStats", SCRATCH)["indexSizes"]
        return FilterPlan(
            kind if "nested" in sizes else "none",
            stats["nReturned"],
            stats["totalDocsExamined"],
            sizes.get("nested", 0),
        )

    def add_field(self, name: str) -> int:
        change = {"$set": {f"preferences.{name}": "UTC"}}
        return self._scratch.update_many({}, change).matched_count

    def count_with_default(self, name: str) -> int:
        shown = {"$ifNull": [f"$preferences.{name}", "UTC"]}
        return self._scratch.count_documents({"$expr": {"$eq": [shown, "UTC"]}})

    def size(self) -> SizeOnDisk:
        self._client.admin.command("fsync")  # sizes are those of the last checkpoint
        stats = self._database.command("collStats", SCRATCH)
        return SizeOnDisk(stats["storageSize"], stats["totalIndexSize"])

    def copy_notes(self, notes: Sequence[Document]) -> None:
        """Put copies of the service's notes beside its profiles, with an index for the join."""
        self._notes.drop()
        self._notes.insert_many(notes)
        self._notes.create_index([("user_id", 1)])

    def count_notes(self) -> dict[str, int]:
        counted = self._database["user_profiles"].aggregate(
            [
                {"$project": {"_id": 0, "user_id": 1}},
                {
                    "$lookup": {
                        "from": SCRATCH_NOTES,
                        "localField": "user_id",
                        "foreignField": "user_id",
                        "pipeline": [{"$count": "notes"}],
                        "as": "counted",
                    }
                },
            ]
        )
        return {row["user_id"]: sum(c["notes"] for c in row["counted"]) for row in counted}

    def summarize_notes(self) -> dict[str, tuple[int, int]]:
        grouped = self._database["user_profiles"].aggregate(
            [
                {"$match": {"preferences.theme": "dark"}},
                {
                    "$lookup": {
                        "from": SCRATCH_NOTES,
                        "localField": "user_id",
                        "foreignField": "user_id",
                        "pipeline": [{"$project": {"_id": 0, "user_id": 1}}],
                        "as": "note",
                    }
                },
                {"$unwind": "$note"},
                {
                    "$group": {
                        "_id": "$preferences.language",
                        "notes": {"$sum": 1},
                        "users": {"$addToSet": "$user_id"},
                    }
                },
            ]
        )
        return {row["_id"]: (row["notes"], len(row["users"])) for row in grouped}

    def accepts_dangling_note(self) -> bool:
        stored = self._notes.insert_one({"user_id": "nobody", "title": "of a profile not there"})
        return self._notes.delete_one({"_id": stored.inserted_id}).deleted_count == 1


def _with_id(document: Document) -> Document:
    return {"_id": document["user_id"], **document}
