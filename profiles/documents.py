"""The collection user_profiles: its shape and its indexes."""

import mongoengine as me

SCHEMA_VERSION = 1


class Notifications(me.EmbeddedDocument):
    """By which channels the user wants to be told."""

    meta = {"strict": False}

    email = me.BooleanField(default=True)
    push = me.BooleanField(default=False)


class Preferences(me.DynamicEmbeddedDocument):
    """What the user has chosen; keys of their own are kept as given."""

    theme = me.StringField(choices=("light", "dark", "system"), default="system")
    language = me.StringField(default="en")  # BCP 47
    notifications = me.EmbeddedDocumentField(Notifications, default=Notifications)


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

    user_id = me.StringField(required=True, max_length=128)
    email = me.StringField(required=True, max_length=254)
    preferences = me.EmbeddedDocumentField(Preferences, default=Preferences)
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
                "name": "email_unique",
                "fields": ["email"],
                "unique": True,
                "collation": {"locale": "en", "strength": 2},
            },
        ],
    }
