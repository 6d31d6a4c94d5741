"""What an event may say, for the collection and for every way in."""

from typing import Final

ACTIONS: Final = frozenset(
    {
        "note_created",
        "note_viewed",
        "note_updated",
        "note_deleted",
        "notes_listed",
        "profile_created",
        "profile_viewed",
        "profile_updated",
        "preferences_updated",
        "profile_deleted",
        "cache_cleared",
    }
)
RESOURCES: Final = frozenset({"note", "profile", "cache"})
