"""Which requests are recorded, as which action on which resource; the one list of both."""

from collections.abc import Set
from typing import Final, NamedTuple

RESOURCE_OF: Final = {
    "note_created": "note",
    "note_viewed": "note",
    "note_updated": "note",
    "note_deleted": "note",
    "notes_listed": "note",
    "profile_created": "profile",
    "profile_viewed": "profile",
    "profile_updated": "profile",
    "preferences_updated": "profile",
    "profile_deleted": "profile",
    "cache_cleared": "cache",
}
ACTIONS: Final = frozenset(RESOURCE_OF)
RESOURCES: Final = frozenset(RESOURCE_OF.values())


class RecordedRequest(NamedTuple):
    """The action of a request, the path argument that holds the id of the resource, and whether its query is known."""

    action: str
    argument: str | None
    knows_query: bool = True  # else the view lets any query string pass

    @property
    def resource(self) -> str:
        """The kind of thing that the action is about."""
        return RESOURCE_OF[self.action]


# By route name and method. A create takes the id of its resource from the Location of its response; a
# request in bulk is an event for each resource that its view has named.
RECORDED: Final = {
    ("notes", "GET"): RecordedRequest("notes_listed", None),
    ("notes", "POST"): RecordedRequest("note_created", None),
    ("notes-bulk-create", "POST"): RecordedRequest("note_created", None),
    ("notes-bulk-delete", "POST"): RecordedRequest("note_deleted", None),
    ("note", "GET"): RecordedRequest("note_viewed", "note_id"),
    ("note", "PUT"): RecordedRequest("note_updated", "note_id"),
    ("note", "PATCH"): RecordedRequest("note_updated", "note_id"),
    ("note", "DELETE"): RecordedRequest("note_deleted", "note_id"),
    ("home", "GET"): RecordedRequest("notes_listed", None),  # and the pages of notes
    ("page-new", "POST"): RecordedRequest("note_created", None, knows_query=False),
    ("page", "GET"): RecordedRequest("note_viewed", "note_id", knows_query=False),
    ("page-edit", "POST"): RecordedRequest("note_updated", "note_id", knows_query=False),
    ("page-delete", "POST"): RecordedRequest("note_deleted", "note_id", knows_query=False),
    ("profiles", "POST"): RecordedRequest("profile_created", None),
    ("profile", "GET"): RecordedRequest("profile_viewed", "user_id"),
    ("profile-mongo", "GET"): RecordedRequest("profile_viewed", "user_id"),
    ("profile-postgres", "GET"): RecordedRequest("profile_viewed", "user_id"),
    ("profile", "PUT"): RecordedRequest("profile_updated", "user_id"),
    ("profile", "DELETE"): RecordedRequest("profile_deleted", "user_id"),
    ("preferences", "PATCH"): RecordedRequest("preferences_updated", "user_id"),
    ("cache-clear", "POST"): RecordedRequest("cache_cleared", None),
    ("cache-clear", "DELETE"): RecordedRequest("cache_cleared", None),
}


def actions_of(resource: str) -> Set[str]:
    """Return the actions that are about this resource."""
    return {action for action, about in RESOURCE_OF.items() if about == resource}
