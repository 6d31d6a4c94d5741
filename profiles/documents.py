"""The collection user_profiles: its shape, its indexes, and how older shapes are read."""

from datetime import UTC
from typing import Any

import mongoengine as me

from profiles import preferences
from profiles.emails import EmailRejected, check_email
from profiles.limits import USER_ID_PATTERN
from profiles.preferences import PreferencesRejected
from profiles.records import Metadata as MetadataRecord
from profiles.records import ProfileRecord

# 1: created_at, updated_at and last_login beside user_id. 2: in metadata.
SCHEMA_VERSION = 2


def _validate_email(email: str) -> None:
    try:
        check_email(email)
    except EmailRejected as exc:
        raise me.ValidationError(str(exc)) from exc


class PreferencesField(me.DictField):
    """theme, language, notifications, and further keys as given."""

    def validate(self, value: Any) -> None:
        super().validate(value)
        try:
            preferences.check(value)
        except PreferencesRejected as exc:
            self.error(str(exc))


class Metadata(me.EmbeddedDocument):
    """When the profile came to be, changed, and was last used; UTC."""

    meta = {"strict": False}

    created_at = me.DateTimeField(required=True)
    updated_at = me.DateTimeField(required=True)
    last_login = me.DateTimeField()


class UserProfile(me.Document):
    """
    One user's profile, embedded whole: it is read and cached as one.

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
        "collection": "user_profiles",
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
    """Return the record of a document of any shape, whatever it lacks."""
    told = upgraded(document)
    metadata = told.get("metadata") or {}
    created_at = metadata.get("created_at") or told["_id"].generation_time.astimezone(UTC)
    return ProfileRecord(
        user_id=told["user_id"],
        email=told.get("email", ""),
        preferences=preferences.canonical(told.get("preferences") or {}),
        metadata=MetadataRecord(
            created_at=created_at,
            updated_at=metadata.get("updated_at") or created_at,
            last_login=metadata.get("last_login"),
        ),
        version=told.get("version", 1),
    )


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """
    Return the document in the present shape; the one given is left alone.

    A change of shape adds a step here, by which old documents are read from then on, and raises
    SCHEMA_VERSION; manage.py reshape_profiles then writes them back at leisure.
    """
    if document.get("schema_version", 1) < 2:
        times = ("created_at", "updated_at", "last_login")
        rest = {key: value for key, value in document.items() if key not in times}
        moved = {key: document[key] for key in times if document.get(key) is not None}
        return {**rest, "metadata": {**moved, **document.get("metadata", {})}, "schema_version": 2}
    return document
