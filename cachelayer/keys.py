"""Every key family of this project, spelled once: its pattern, lifetimes, tags, and who invalidates it."""

import hashlib
from uuid import UUID

from django.conf import settings

from cachelayer.http import Representation
from cachelayer.namespaces import Key, Namespace
from cachelayer.pages import StoredPage

NOTES = Namespace(
    name="notes",
    pattern="notes:{id}",
    schema=1,
    value_type=Representation,
    ttl_seconds=settings.CACHE_TTL_NOTE_SECONDS,
    absent_ttl_seconds=settings.CACHE_TTL_ABSENT_SECONDS,
    holds="one note, as it is sent; or that there is none",
    invalidated_by="create, update and delete of that note",
)
NOTE_LISTS = Namespace(
    name="notes:list",
    pattern="notes:list:...",
    schema=1,
    value_type=StoredPage,
    ttl_seconds=settings.CACHE_TTL_LIST_SECONDS,
    absent_ttl_seconds=settings.CACHE_TTL_ABSENT_SECONDS,
    holds="one page of notes, as it is sent but for the links",
    invalidated_by="create, update and delete of a note of its user, or of any note where it is over all users",
)
NAMESPACES = (NOTES, NOTE_LISTS)

_ALL_NOTES = "notes:all"
_DEFAULT_PAGE = ":page:1:limit:20"


def note(note_id: UUID) -> Key[Representation]:
    """One note, ready to send; loaded by notes.selectors.note_get."""
    return NOTES.key(f"notes:{note_id}", tags=[_note_tag(note_id)])


def note_list(*, user_id: str | None, window: str, filters: str) -> Key[StoredPage]:
    """
    One page of notes; loaded by notes.selectors.note_list.

    window says which part, as page:{page}:limit:{limit} or cursor:limit:{limit}; filters is the
    canonical text of every other parameter, empty for the default list.
    """
    scope = f":user:{_escaped(user_id)}" if user_id is not None else ""
    part = f":{window}"
    if scope and part == _DEFAULT_PAGE:
        part = ""  # notes:list:user:{userId} is a user's first page
    # SHA-1 shortens a name here and protects nothing.
    suffix = (
        f":{hashlib.sha1(filters.encode(), usedforsecurity=False).hexdigest()}" if filters else ""
    )
    tag = _ALL_NOTES if user_id is None else _user_tag(user_id)
    return NOTE_LISTS.key(f"notes:list{scope}{part}{suffix}", tags=[tag])


def tags_of_note(*, note_id: UUID, user_id: str) -> tuple[str, ...]:
    """Return what a write of this note invalidates: itself, its user's lists, the lists over all."""
    return (_note_tag(note_id), _user_tag(user_id), _ALL_NOTES)


def _note_tag(note_id: UUID) -> str:
    return f"note:{note_id}"


def _user_tag(user_id: str) -> str:
    return f"notes:user:{user_id}"


def _escaped(user_id: str) -> str:
    """Escape the colons of a user id: colons part the names of keys."""
    return user_id.replace("%", "%25").replace(":", "%3A")
