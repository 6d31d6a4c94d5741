"""The cache keys of profiles: the namespace with its pattern, lifetimes, tags and invalidation."""

from django.conf import settings

from cachelayer.http import Representation
from cachelayer.namespace import Key, Namespace
from config.web.user_ids import USER_ID_PATTERN


def _tags_of_profile_key(user_id: str) -> tuple[str, ...]:
    return (f"profile:{user_id}",)


PROFILES = Namespace(
    name="user:profile",
    pattern="user:profile:{userId}",
    prefix="user:profile:",
    member=USER_ID_PATTERN.strip("^$"),
    example="user:profile:abc",
    tags_of=_tags_of_profile_key,
    schema=1,
    value_type=Representation,
    ttl_seconds=settings.CACHE_TTL_PROFILE_SECONDS,
    absent_ttl_seconds=settings.CACHE_TTL_ABSENT_SECONDS,
    holds="one profile, as it is sent, e-mail included, or the fact that there is none",
    invalidated_by="create, update and delete of that profile",
    personal_data=True,
    warms=True,
)


def profile(user_id: str) -> Key[Representation]:
    """One user's profile, ready to send; loaded by profiles.selectors.profile_read."""
    return PROFILES.key(user_id)


def tags_of_profile(user_id: str) -> tuple[str, ...]:
    """Return what a write of this profile invalidates."""
    return _tags_of_profile_key(user_id)


def tags_of_deleted_profile(user_id: str) -> tuple[str, ...]:
    """Return the same, and what takes its copy, with its e-mail, out of Redis at once."""
    return (*_tags_of_profile_key(user_id), profile(user_id).purge)
