"""Reads of profiles, through the cache or straight from one of the stores."""

from collections.abc import Sequence
from typing import NamedTuple

from cachelayer.http import Representation
from cachelayer.read import CachedRead
from profiles import backends, cache_keys, records
from profiles.records import ProfileLine, ProfileRecord
from profiles.stores import StoreName


def profile_read(*, user_id: str) -> CachedRead[Representation]:
    """
    Return how the profile is read, ready to send; its value is None where there is none.

    The read raises what the driver raises where the store does not answer and there is no cached copy.
    """
    return CachedRead(cache_keys.profile(user_id), lambda: _load(user_id))


def profile_get_from(*, store: StoreName, user_id: str) -> Representation | None:
    """Return the profile as this store has it now, bypassing the cache."""
    return _representation(backends.BACKENDS[store].get(user_id))


class Lines(NamedTuple):
    """Part of a list of profiles; the next part begins after next_after, None at the end."""

    lines: Sequence[ProfileLine]
    next_after: str | None


def profiles_find(*, text: str, after: str, limit: int) -> Lines:
    """Return at most limit profiles of the primary store that match; see ProfileStore.find."""
    matches = backends.primary().find(text=text, after=after, limit=limit + 1)
    lines = matches[:limit]
    return Lines(lines, lines[-1].user_id if len(matches) > limit else None)


def profiles_exist() -> bool:
    """
    Return whether there is any profile.

    By a search, not a count: MongoDB's count is wrong for a while after a crash.
    """
    return bool(backends.primary().find(text="", after="", limit=1))


def profile_get_stored(*, user_id: str) -> Representation | None:
    """Return the profile as the primary store has it now, bypassing the cache."""
    return _load(user_id)


def profile_get_copied(*, user_id: str) -> Representation | None:
    """Return the other store's copy of the profile."""
    return _representation(backends.mirror().get(user_id))


def load_profiles(user_ids: Sequence[str]) -> list[Representation | None]:
    """Return the profiles in the order of the ids, from their store, with one request."""
    profiles = backends.primary().get_many(user_ids)
    return [_representation(profiles.get(user_id)) for user_id in user_ids]


def _load(user_id: str) -> Representation | None:
    return _representation(backends.primary().get(user_id))


def _representation(profile: ProfileRecord | None) -> Representation | None:
    return None if profile is None else records.representation(profile)
