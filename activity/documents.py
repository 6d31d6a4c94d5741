"""The collection activity_logs: its shape and its indexes."""

from typing import Any, Final

import mongoengine as me
from django.conf import settings
from pymongo.collection import Collection

COLLECTION: Final = "activity_logs"
_SECONDS_A_DAY = 86_400


class ActivityEvent(me.Document):
    """One thing that a user did. Appended, never changed; gone after the retention time."""

    user_id = me.StringField(required=True, max_length=128)
    action = me.StringField(required=True)
    resource = me.StringField(required=True)
    resource_id = me.StringField()
    details = me.DictField()
    timestamp = me.DateTimeField(required=True)  # UTC
    ip_address = me.StringField()
    user_agent = me.StringField()
    request_id = me.StringField()

    meta = {
        "collection": COLLECTION,
        "strict": False,
        "auto_create_index": False,
        "index_cls": False,  # one kind of document in the collection, so no index on its class
        "indexes": [
            # One user's feed, newest first.
            {"name": "user_id_timestamp", "fields": ["user_id", "-timestamp"]},
            # One action of a user in the feed, where that action is rare.
            {"name": "action_timestamp", "fields": ["action", "-timestamp"]},
            # The newest events over all users; and MongoDB deletes what is past the retention.
            {
                "name": "timestamp",
                "fields": ["-timestamp"],
                "expireAfterSeconds": settings.ACTIVITY_RETENTION_DAYS * _SECONDS_A_DAY,
            },
        ],
    }


def text(value: Any) -> str | None:
    """Return the text of a field; None where it is of another type, written past the service."""
    return value if isinstance(value, str) else None


def driver_collection() -> Collection[Any]:
    """
    Return the collection as pymongo has it, for bulk writes and for cursors that are explained.

    mongoengine turns the driver's errors of a write into its own, which say less.
    """
    collection: Collection[Any] = me.get_db()[COLLECTION]
    return collection
