"""Profiles in MongoDB."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final

import pymongo
from pymongo import ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.synchronous.cursor import Cursor

from cachelayer.invalidation import around
from profiles import documents, records
from profiles.documents import SCHEMA_VERSION, UserProfile, driver_collection
from profiles.emails import email_key
from profiles.limits import PREFERENCE_KEYS_MAX, PREFERENCE_LEVELS_MAX, PREFERENCES_BYTES_MAX
from profiles.preferences import Preferences, check_size, merged
from profiles.records import ProfileLine, ProfileRecord
from profiles.stores import AlreadyExists

_DUPLICATE_KEY = 11000
_BATCH = 1_000
_BATCH_SECONDS = 60  # more than any request is allowed to take
_LAST_CHARACTER = "\U0010ffff"  # after every other, and in no user_id
# What a line of a list is made of, in documents of any shape.
_LINE = (
    *("user_id", "email", "preferences.theme", "preferences.language", "version"),
    *("metadata.created_at", "metadata.updated_at", "created_at", "updated_at", "schema_version"),
)
_NO_ARRAY: Final = {"$not": {"$type": "array"}}  # which would match as its elements do
Expression = Any  # of MongoDB's aggregation language


class MongoProfiles:
    """Profiles in the collection user_profiles."""

    def writing(self, tags: Sequence[str]) -> AbstractContextManager[object]:
        return around(*tags)

    def get(self, user_id: str) -> ProfileRecord | None:
        document = _documents(of_user(user_id)).first()
        return None if document is None else documents.record(document)

    def get_many(self, user_ids: Sequence[str]) -> Mapping[str, ProfileRecord]:
        rows = _documents({"user_id": {"$in": list(user_ids), **_NO_ARRAY}})
        return {profile.user_id: profile for profile in map(documents.record, rows)}

    def create(self, profile: ProfileRecord) -> None:
        document = _document(profile)
        document.validate()
        with _duplicate_as_conflict():
            driver_collection().insert_one(document.to_mongo())

    def replace(
        self,
        user_id: str,
        *,
        email: str,
        preferences: Preferences,
        now: datetime,
        if_version: int | None,
    ) -> ProfileRecord | None:
        stage = {
            "email": {"$literal": email},
            "email_key": {"$literal": email_key(email)},
            "preferences": {"$literal": preferences},
            **_change_of(now),
        }
        with _duplicate_as_conflict():
            return _changed(of_user(user_id, if_version), [{"$set": stage}])

    def patch(
        self, user_id: str, *, patch: Preferences, now: datetime, if_version: int | None
    ) -> ProfileRecord | None:
        # One update in which the server itself merges: no read here that a write could overtake.
        result = merge_expression("$preferences", patch)
        condition = of_user(user_id, if_version)
        stage = {"preferences": result, **_change_of(now)}
        changed = _changed({**condition, "$expr": _fits(result)}, [{"$set": stage}])
        if changed is None:
            current = _documents(condition).only("preferences").first()
            if current is not None:
                check_size(merged(current.get("preferences"), patch))
        return changed

    def delete(self, user_id: str, *, if_version: int | None) -> bool:
        return driver_collection().delete_one(of_user(user_id, if_version)).deleted_count == 1

    def copy(self, profile: ProfileRecord) -> None:
        fields = _document(profile).to_mongo()
        try:
            self._copy(profile, fields)
        except AlreadyExists as exc:
            if exc.field == "email":
                del fields["email_key"]
                self._copy(profile, fields)
            raise

    def _copy(self, profile: ProfileRecord, fields: Mapping[str, Any]) -> None:
        not_newer = {"user_id": profile.user_id, "version": {"$lte": profile.version}}
        with _duplicate_as_conflict():
            if driver_collection().replace_one(not_newer, fields).matched_count:
                return
            # Where it is there in a newer version, this changes nothing.
            driver_collection().update_one(
                {"user_id": profile.user_id}, {"$setOnInsert": fields}, upsert=True
            )

    def rekey(self, profile: ProfileRecord) -> None:
        key = email_key(profile.email)
        other = of_user(profile.user_id) | {"email": profile.email, "email_key": {"$ne": key}}
        with _duplicate_as_conflict():
            driver_collection().update_one(other, {"$set": {"email_key": key}})

    def page(self, *, after: str, limit: int) -> Sequence[ProfileRecord]:
        rows = _documents({"user_id": {"$gt": after, **_NO_ARRAY}}).order_by("user_id").limit(limit)
        return [documents.record(row) for row in rows]

    def find(self, *, text: str, after: str, limit: int) -> Sequence[ProfileLine]:
        rows = list(by_beginning(text, after=after, limit=limit))
        if "@" in text:
            known = {row["user_id"] for row in rows}
            rows += [
                row
                for row in by_email(text)
                if isinstance(user_id := row.get("user_id"), str)
                and user_id > after
                and user_id not in known
            ]
            rows.sort(key=lambda row: row["user_id"])  # by code points, as MongoDB has them
        return [records.line(documents.record(row)) for row in rows[:limit]]

    def load(self, profiles: Sequence[ProfileRecord]) -> int:
        try:
            rows = [_document(profile).to_mongo() for profile in profiles]
            return len(driver_collection().insert_many(rows, ordered=False).inserted_ids)
        except BulkWriteError as exc:
            if any(error["code"] != _DUPLICATE_KEY for error in exc.details["writeErrors"]):
                raise
            return int(exc.details["nInserted"])

    def count(self) -> int:
        # Not mongoengine's count(): without a filter that is an estimate, wrong after a crash.
        return driver_collection().count_documents({})


class _duplicate_as_conflict(AbstractContextManager[None]):  # noqa: N801  # reads like a keyword
    """Turn the driver's duplicate key error into AlreadyExists with the name of the field."""

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, DuplicateKeyError):
            pattern = (exc.details or {}).get("keyPattern", {})
            raise AlreadyExists("user_id" if "user_id" in pattern else "email") from exc


def rename(old: str, new: str, *, session: ClientSession) -> bool:
    """Give the profile another user_id; return whether there is one. Raises AlreadyExists."""
    change = {"$set": {"user_id": new}, "$inc": {"version": 1}}
    with _duplicate_as_conflict():
        return (
            driver_collection().update_one(of_user(old), change, session=session).modified_count
            == 1
        )


def by_beginning(text: str, *, after: str, limit: int) -> Cursor[dict[str, Any]]:
    """Return the lines of the user_ids that begin with text and follow another, in order."""
    bounds: dict[str, Any] = {"$gt": after, **_NO_ARRAY}
    if text:
        bounds |= {"$gte": text, "$lt": text + _LAST_CHARACTER}
    return driver_collection().find({"user_id": bounds}, _LINE).sort("user_id").limit(limit)


def by_email(email: str) -> Cursor[dict[str, Any]]:
    """Return the line of an address, compared without case; by an index that is unique."""
    return driver_collection().find({"email_key": email_key(email)}, _LINE, limit=1)


def fill_email_keys() -> list[str]:
    """
    Give each document that has no email_key its own; return the users whose address another profile has.

    Of several documents with one address the oldest gets the key, and the others stay as they
    are. Raises PyMongoError; run again, it goes on.
    """
    duplicates: list[str] = []
    missing: dict[str, Any] = {"email_key": {"$exists": False}, "email": {"$type": "string"}}
    after: dict[str, Any] = {}
    while True:
        with pymongo.timeout(_BATCH_SECONDS):
            rows = _documents({**missing, **after}).only("user_id", "email").order_by("id")
            batch = list(rows.limit(_BATCH))
            if not batch:
                return duplicates
            duplicates += [str(document["user_id"]) for document in _without_key(batch)]
        after = {"_id": {"$gt": batch[-1]["_id"]}}


def _without_key(batch: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the keys of the documents; return those whose key another one has."""
    updates = [
        pymongo.UpdateOne(
            {"_id": document["_id"], "email": document["email"]},
            {"$set": {"email_key": email_key(document["email"])}},
        )
        for document in batch
    ]
    try:
        driver_collection().bulk_write(updates, ordered=False)
    except BulkWriteError as exc:
        errors = exc.details["writeErrors"]
        if any(error["code"] != _DUPLICATE_KEY for error in errors):
            raise
        return [batch[error["index"]] for error in errors]
    return []


def outdated(limit: int) -> list[dict[str, Any]]:
    """Return documents of older shapes, as they are."""
    older = {"schema_version": {"$not": {"$gte": SCHEMA_VERSION}}}  # missing is older, too
    return list(_documents(older).limit(limit))


def reshape(document: dict[str, Any]) -> bool:
    """Write the document back in the present shape, unless it changed meanwhile."""
    same = {"_id": document["_id"], "version": document.get("version")}
    new = {**documents.upgraded(document), "version": document.get("version", 1)}
    return driver_collection().replace_one(same, new).modified_count == 1


def _documents(condition: Mapping[str, Any]) -> Any:
    """Return mongoengine's query set of the documents that meet a condition of MongoDB, as they are."""
    return UserProfile.objects(__raw__=dict(condition)).as_pymongo()


def _document(profile: ProfileRecord) -> UserProfile:
    return UserProfile(
        user_id=profile.user_id,
        email=profile.email,
        email_key=email_key(profile.email),
        preferences=profile.preferences,
        metadata=documents.Metadata(
            created_at=profile.metadata.created_at,
            updated_at=profile.metadata.updated_at,
            last_login=profile.metadata.last_login,
        ),
        version=profile.version,
        schema_version=SCHEMA_VERSION,
    )


def of_user(user_id: str, if_version: int | None = None) -> dict[str, Any]:
    """Return the condition of a user's profile; if_version: only of that version."""
    condition: dict[str, Any] = {"user_id": {"$eq": user_id, **_NO_ARRAY}}
    if if_version is not None:
        condition["version"] = if_version
    return condition


def _changed(condition: dict[str, Any], change: Any) -> ProfileRecord | None:
    document = driver_collection().find_one_and_update(
        condition, change, return_document=ReturnDocument.AFTER
    )
    return None if document is None else documents.record(document)


def _change_of(now: datetime) -> dict[str, Expression]:
    """
    Return what every change sets besides: the time, and the next version.

    A field of another type, as a person may write it in the shell, counts as missing, here as
    when it is read (documents.record): it must not make the profile one that nobody can change.
    """
    is_object = {"$eq": [{"$type": "$metadata"}, "object"]}
    version = {"$convert": {"input": "$version", "to": "long", "onError": 1, "onNull": 1}}
    return {
        "metadata": {
            "$mergeObjects": [
                {"$cond": [is_object, "$metadata", {}]},
                {"updated_at": {"$literal": now}},
            ]
        },
        "version": {"$add": [version, 1]},
    }


def merge_expression(target: Expression, patch: Preferences) -> Expression:
    """
    Return the expression by which the server merges the patch into target (RFC 7396, section 2).

    Keys and values of the patch stand in it only as literals, so that none can be an operator.
    """
    # In one step, however many there are: a step for each would nest deeper than a command may (200 levels).
    removed = [key for key, value in patch.items() if value is None]
    result: Expression = _without("$$object", removed) if removed else "$$object"
    for key, value in patch.items():
        if value is None:
            continue
        name = {"$literal": key}
        below = {"$getField": {"field": name, "input": "$$object"}}
        merged_value = (
            merge_expression(below, value) if isinstance(value, dict) else {"$literal": value}
        )
        result = {"$setField": {"field": name, "input": result, "value": merged_value}}
    is_object = {"$eq": [{"$type": target}, "object"]}
    return {"$let": {"vars": {"object": {"$cond": [is_object, target, {}]}}, "in": result}}


def _without(target: Expression, keys: Sequence[str]) -> Expression:
    is_other = {"$not": [{"$in": ["$$pair.k", {"$literal": list(keys)}]}]}
    pairs = {"$filter": {"input": {"$objectToArray": target}, "as": "pair", "cond": is_other}}
    return {"$arrayToObject": pairs}


def _fits(preferences: Expression) -> Expression:
    """Return the expression that says whether preferences are within their bounds."""
    return {
        "$let": {
            "vars": {"all": preferences},
            "in": {
                "$and": [
                    {"$lte": [{"$bsonSize": "$$all"}, PREFERENCES_BYTES_MAX]},
                    {"$lte": [_key_count("$$all", PREFERENCE_LEVELS_MAX), PREFERENCE_KEYS_MAX]},
                ]
            },
        }
    }


def _key_count(value: Expression, levels: int) -> Expression:
    """Return the expression that counts the keys of a value, those of nested values included."""
    if levels == 0:
        return 0
    inner, kind = f"inner{levels}", {"$type": value}
    pairs = {"$map": {"input": {"$objectToArray": value}, "as": "pair", "in": "$$pair.v"}}
    branches = [
        {"case": {"$eq": [kind, "object"]}, "then": pairs},
        {"case": {"$eq": [kind, "array"]}, "then": value},
    ]
    below = {"$map": {"input": "$$within", "as": inner, "in": _key_count(f"$${inner}", levels - 1)}}
    own = {"$cond": [{"$eq": [kind, "object"]}, {"$size": "$$within"}, 0]}
    within = {"$switch": {"branches": branches, "default": []}}
    return {"$let": {"vars": {"within": within}, "in": {"$add": [own, {"$sum": below}]}}}
