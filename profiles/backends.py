"""Which of the two stores serves profiles, and which one mirrors it."""

from django.conf import settings

from profiles.mongodb import MongoProfiles
from profiles.postgres import PostgresProfiles
from profiles.stores import ProfileStore

BACKENDS: dict[str, ProfileStore] = {"mongo": MongoProfiles(), "postgres": PostgresProfiles()}


def primary() -> ProfileStore:
    """Return the store that settings.PROFILE_BACKEND names."""
    return BACKENDS[settings.PROFILE_BACKEND]


def mirror() -> ProfileStore:
    """Return the other store, which has a copy of each profile."""
    return BACKENDS["postgres" if settings.PROFILE_BACKEND == "mongo" else "mongo"]
