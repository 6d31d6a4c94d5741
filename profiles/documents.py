"""The collection user_profiles: its shape, its indexes, and how older shapes are read."""

from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import mongoengine as me
from bson import ObjectId
from prometheus_client import Counter
from pymongo.collection import Collection

from config.web.user_ids import USER_ID_PATTERN
from profiles import preferences
from profiles.emails import EmailRejected, check_email
from profiles.preferences import PreferencesRejected
from profiles.records import Metadata as MetadataRecord
from profiles.records import ProfileRecord

# 1: created_at, updated_at and last_login beside user_id. 2: in metadata.
SCHEMA_VERSION = 2
COLLECTION: Final = "user_profiles"
MALFORMED_FIELDS = Counter(
    "profiles_malformed_fields", "Fields read from MongoDB that are of another type", ["field"]
)
T = TypeVar("T")


class MalformedProfile(ValueError):
    """A document without a valid user_id."""


def _validate_email(email: str) -> None:
    try:
        check_email(email)
    except EmailRejected as exc:
        raise me.ValidationError(str(exc)) from exc


class PreferencesField(me.DictField):
    """theme, language, notifications, and further keys, stored unchanged."""

    def validate(self, value: Any) -> None:
        super().validate(value)
        try:
            preferences.check(value)
        except PreferencesRejected as exc:
            self.error(str(exc))


class Metadata(me.EmbeddedDocument):
    """When the profile was created, changed, and last used; UTC."""

    meta = {"strict": False}

    created_at = me.DateTimeField(required=True)
    updated_at = me.DateTimeField(required=True)
    last_login = me.DateTimeField()


class UserProfile(me.Document):
    """
    One user's profile, embedded whole: it is read and cached as a whole.

    strict is off, so that a document written by an older or newer version still loads.
    """

    user_id = me.StringField(required=True, regex=USER_ID_PATTERN)
    email = me.StringField(required=True, validation=_validate_email)
    # profiles.emails.email_key; missing where another profile has it, see manage.py mongo_indexes.
    email_key = me.StringField()
    preferences = PreferencesField()
    metadata = me.EmbeddedDocumentField(Metadata, required=True)
    version = me.IntField(default=1, min_value=1)
    schema_version = me.IntField(default=SCHEMA_VERSION)

    meta = {
        "collection": COLLECTION,
        "strict": False,
        "auto_create_index": False,
        "indexes": [
            # GET /profiles/{user_id}; one profile for each user.
            {"name": "user_id_unique", "fields": ["user_id"], "unique": True},
            # One profile for each address, compared without case.
            {
                "name": "email_key_unique",
                "fields": ["email_key"],
                "unique": True,
                "partialFilterExpression": {"email_key": {"$exists": True}},
            },
        ],
    }


def record(document: dict[str, Any]) -> ProfileRecord:
    """
    Return the record of a document of any shape, whatever it lacks.

    A field of another type than the schema's, written past the service, counts as missing, and is
    counted. Raises MalformedProfile if that is the user_id.
    """
    shaped = upgraded(document)
    user_id = _field(shaped, "user_id", str)
    if user_id is None:
        raise MalformedProfile(f"The user_id of document {shaped.get('_id')!r} is no string.")
    metadata = _field(shaped, "metadata", dict) or {}
    created_at = _field(metadata, "created_at", datetime) or _created_at(shaped.get("_id"))
    return ProfileRecord(
        user_id=user_id,
        email=_field(shaped, "email", str) or "",
        preferences=preferences.canonical(_field(shaped, "preferences", dict) or {}),
        metadata=MetadataRecord(
            created_at=created_at,
            updated_at=_field(metadata, "updated_at", datetime) or created_at,
            last_login=_field(metadata, "last_login", datetime),
        ),
        version=_whole_number(shaped, "version", default=1),
    )


def _field(document: dict[str, Any], name: str, kind: type[T]) -> T | None:
    value = document.get(name)
    if value is None or isinstance(value, kind):
        return value
    MALFORMED_FIELDS.labels(name).inc()
    return None


def _whole_number(document: dict[str, Any], name: str, *, default: int) -> int:
    value = document.get(name)
    if isinstance(value, float) and value.is_integer():
        return int(value)  # as the MongoDB shell writes numbers
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if value is not None:
        MALFORMED_FIELDS.labels(name).inc()
    return default


def _created_at(document_id: Any) -> datetime:
    """Return when the document was created, according to its id."""
    if isinstance(document_id, ObjectId):
        return document_id.generation_time.astimezone(UTC)
    return datetime.fromtimestamp(0, UTC)


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """
    Return the document in the present shape, without changing the argument.

    A change of shape adds a step here, by which old documents are read from then on, and raises
    SCHEMA_VERSION; manage.py reshape_profiles then writes them back.
    """
    if _whole_number(document, "schema_version", default=1) < 2:
        times = ("created_at", "updated_at", "last_login")
        rest = {key: value for key, value in document.items() if key not in times}
        moved = {key: document[key] for key in times if document.get(key) is not None}
        metadata = _field(document, "metadata", dict) or {}
        return {**rest, "metadata": {**moved, **metadata}, "schema_version": 2}
    return document


def driver_collection() -> Collection[Any]:
    """
    Return the collection as pymongo has it, for writes and for cursors that are explained.

    mongoengine turns the driver's errors of a write into its own, which say less.
    """
    collection: Collection[Any] = me.get_db()[COLLECTION]
    return collection
