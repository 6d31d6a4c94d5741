"""Which requests are recorded, and as what."""

from collections.abc import Set
from typing import Final, NamedTuple


class Recorded(NamedTuple):
    """What a request is called, and the argument of its path that says on what it acted."""

    action: str
    resource: str
    argument: str | None


# By the name of the route and the method. A create finds its resource in its answer's Location.
RECORDED: Final = {
    ("notes", "GET"): Recorded("notes_listed", "note", None),
    ("notes", "POST"): Recorded("note_created", "note", None),
    ("note", "GET"): Recorded("note_viewed", "note", "note_id"),
    ("note", "PUT"): Recorded("note_updated", "note", "note_id"),
    ("note", "PATCH"): Recorded("note_updated", "note", "note_id"),
    ("note", "DELETE"): Recorded("note_deleted", "note", "note_id"),
    ("profiles", "POST"): Recorded("profile_created", "profile", None),
    ("profile", "GET"): Recorded("profile_viewed", "profile", "user_id"),
    ("profile-mongo", "GET"): Recorded("profile_viewed", "profile", "user_id"),
    ("profile-postgres", "GET"): Recorded("profile_viewed", "profile", "user_id"),
    ("profile", "PUT"): Recorded("profile_updated", "profile", "user_id"),
    ("profile", "DELETE"): Recorded("profile_deleted", "profile", "user_id"),
    ("preferences", "PATCH"): Recorded("preferences_updated", "profile", "user_id"),
    ("cache-clear", "POST"): Recorded("cache_cleared", "cache", None),
    ("cache-clear", "DELETE"): Recorded("cache_cleared", "cache", None),
}


def actions_of(resource: str) -> Set[str]:
    """Return the actions that are about such a resource."""
    return {one.action for one in RECORDED.values() if one.resource == resource}
