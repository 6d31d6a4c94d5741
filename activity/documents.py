"""The collection activity_logs: its shape and its indexes."""

import mongoengine as me
from django.conf import settings

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
        "collection": "activity_logs",
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
