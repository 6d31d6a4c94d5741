"""Notes with defaults in one place."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from notes import services
from notes.models import Note


def make_note(**changes: Any) -> UUID:
    """Create a note as the service does; return its id."""
    values = {"user_id": "abc", "title": "A title", "content": "Some content"} | changes
    note_id, _ = services.note_create(**values)
    return note_id


def make_notes(count: int, *, user_id: str = "abc", word: str = "plain") -> list[Note]:
    """Insert so many notes at once, a minute apart, the newest last."""
    start = timezone.now() - timedelta(minutes=count)
    return Note.objects.bulk_create(
        Note(
            user_id=user_id,
            title=f"{word} {number}",
            content="x",
            created_at=start + timedelta(minutes=number),
            updated_at=start,
            version=1,
        )
        for number in range(count)
    )
