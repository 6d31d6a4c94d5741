"""The cache keys of notes: each namespace with its pattern, lifetimes, tags and invalidation."""

import hashlib
from collections.abc import Callable
from typing import Final
from uuid import UUID

from django.conf import settings

from cachelayer.http import Representation
from cachelayer.namespace import Key, Namespace

_ALL_NOTES = "notes:all"
_DEFAULT_PAGE = "page:1:limit:20"


def _tags_of_note_key(note_id: str) -> tuple[str, ...]:
    return (f"note:{note_id}",)


def _tags_of_list_key(member: str) -> tuple[str, ...]:
    if not member.startswith("user:"):
        return (_ALL_NOTES,)
    return (_user_tag(_unescaped(member.split(":")[1])),)


NOTES = Namespace(
    name="notes",
    pattern="notes:{id}",
    prefix="notes:",
    member="[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    example="notes:5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b",
    tags_of=_tags_of_note_key,
    schema=2,
    value_type=Representation,
    ttl_seconds=settings.CACHE_TTL_NOTE_SECONDS,
    absent_ttl_seconds=settings.CACHE_TTL_ABSENT_SECONDS,
    holds="one note, as it is sent, or the fact that there is none",
    invalidated_by="create, update and delete of that note",
    warms=True,
)
NOTE_LISTS = Namespace(
    name="notes:list",
    pattern="notes:list:...",
    prefix="notes:list:",
    member="(user:[^:]+(:(page:[0-9]+|cursor):limit:[0-9]+)?|(page:[0-9]+|cursor):limit:[0-9]+)(:[0-9a-f]{40})?",
    example="notes:list:user:abc:page:2:limit:20",
    tags_of=_tags_of_list_key,
    schema=2,
    value_type=Representation,
    ttl_seconds=settings.CACHE_TTL_LIST_SECONDS,
    absent_ttl_seconds=settings.CACHE_TTL_ABSENT_SECONDS,
    holds="one page of notes, as it is sent except for its links",
    invalidated_by="create, update and delete of a note of its user, or of any note if the list is over all users",
)


def note(note_id: UUID) -> Key[Representation]:
    """One note, ready to send; loaded by notes.selectors.note_read."""
    return NOTES.key(str(note_id))


def note_list(
    *, user_id: str | None, window: str, filters: str, origin: Callable[[], str]
) -> Key[Representation]:
    """
    One page of notes; loaded by notes.selectors.note_list_read.

    window says which part, as page:{page}:limit:{limit} or cursor:limit:{limit}; filters is the
    canonical text of every other parameter, empty for the default list; origin returns the
    query string that loads the page again.
    """
    parts = [] if user_id is None else ["user", _escaped(user_id)]
    if not parts or window != _DEFAULT_PAGE:  # notes:list:user:{userId} is a user's first page
        parts.append(window)
    if filters:
        # SHA-1 only shortens a name here; nothing depends on its security.
        parts.append(hashlib.sha1(filters.encode(), usedforsecurity=False).hexdigest())
    return NOTE_LISTS.key(":".join(parts), origin=origin)


def tags_of_note(*, note_id: UUID, user_id: str) -> tuple[str, ...]:
    """
    Return what a write of this note invalidates: itself, its user's lists, the lists over all.

    The triggers on the table spell the same (config/migrations/0001_notes_triggers.py).
    """
    return (*_tags_of_note_key(str(note_id)), _user_tag(user_id), _ALL_NOTES)


# The same in SQL, over the columns of a note.
TAGS_OF_ROW: Final = f"ARRAY['note:' || id, 'notes:user:' || user_id, '{_ALL_NOTES}']"


def _user_tag(user_id: str) -> str:
    return f"notes:user:{user_id}"


def _escaped(user_id: str) -> str:
    """Escape the colons of a user id: colons separate the parts of a key."""
    return user_id.replace("%", "%25").replace(":", "%3A")


def _unescaped(part: str) -> str:
    return part.replace("%3A", ":").replace("%25", "%")
