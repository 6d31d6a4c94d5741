"""Reads of profiles, through the cache or straight from one of the stores."""

from collections.abc import Sequence
from typing import NamedTuple

from cachelayer.http import Representation
from cachelayer.read import CachedRead
from profiles import backends, cache_keys, records
from profiles.records import ProfileLine
from profiles.stores import StoreName


def profile_read(*, user_id: str) -> CachedRead[Representation]:
    """
    Return how the profile is read, ready to send; its value is None where there is none.

    The read raises what the driver raises where the store does not answer and no copy is at hand.
    """
    return CachedRead(cache_keys.profile(user_id), lambda: _load(user_id))


def profile_get_from(*, store: StoreName, user_id: str) -> Representation | None:
    """Return the profile as this store has it now, past the cache."""
    found = backends.BACKENDS[store].get(user_id)
    return None if found is None else records.representation(found)


class Lines(NamedTuple):
    """Part of a list of profiles; next_after is where the next part begins, None at the end."""

    lines: Sequence[ProfileLine]
    next_after: str | None


def profiles_find(*, text: str, after: str, limit: int) -> Lines:
    """Return at most limit profiles of the store, found as ProfileStore.find says."""
    found = backends.primary().find(text=text, after=after, limit=limit + 1)
    lines = found[:limit]
    return Lines(lines, lines[-1].user_id if len(found) > limit else None)


def profiles_exist() -> bool:
    """
    Return whether there is any profile.

    Looked for, not counted: MongoDB's own count is wrong for a while after a crash.
    """
    return bool(backends.primary().find(text="", after="", limit=1))


def profile_get_stored(*, user_id: str) -> Representation | None:
    """Return the profile as the store that serves has it now, past the cache."""
    return _load(user_id)


def profile_get_copied(*, user_id: str) -> Representation | None:
    """Return the other store's copy of the profile."""
    found = backends.mirror().get(user_id)
    return None if found is None else records.representation(found)


def load_profiles(user_ids: Sequence[str]) -> list[Representation | None]:
    """Return the profiles in the order of the ids, from their store, with one request."""
    found = backends.primary().get_many(user_ids)
    return [
        records.representation(found[user_id]) if user_id in found else None for user_id in user_ids
    ]


def _load(user_id: str) -> Representation | None:
    found = backends.primary().get(user_id)
    return None if found is None else records.representation(found)
