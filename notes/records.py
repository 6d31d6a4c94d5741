"""A note as plain values, and as the JSON that is sent."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from cachelayer.http import Representation, represent

_json = msgspec.json.Encoder()


class _Owned(msgspec.Struct):
    user_id: str


_owned = msgspec.json.Decoder(_Owned)


class NoteRecord(msgspec.Struct, frozen=True):
    """A note: the API's fields, in the API's order. Times are in UTC."""

    id: UUID
    user_id: str
    title: str
    content: str
    created_at: datetime
    updated_at: datetime
    version: int


FIELDS: Final = NoteRecord.__struct_fields__


def record(row: Any) -> NoteRecord:
    """Return the record of a model instance."""
    return NoteRecord(*(getattr(row, field) for field in FIELDS))


def representation(note: NoteRecord) -> Representation:
    """Return the note's JSON and its ETag."""
    return represent(_json.encode(note))


def owner(note: Representation) -> str:
    """Return the user of a note whose body was read."""
    return _owned.decode(note.body).user_id


def page_head(notes: Iterable[NoteRecord], **figures: int) -> bytes:
    """Return the JSON of a page without its links and its closing brace."""
    return _json.encode({"results": list(notes), **figures})[:-1]


def moment(text: str) -> datetime:
    """Return the time that isoformat wrote, in UTC. Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)
