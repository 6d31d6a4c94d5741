"""Builders of notes and events with defaults."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from bson import ObjectId
from django.utils import timezone

from activity.documents import ActivityEvent
from cachelayer.models import OutboxRow
from notes import services
from notes.models import Note

SEEDED_UNTIL = date(2026, 1, 1)  # made-up rows are the same on every day


def make_note(**changes: Any) -> UUID:
    """Create a note as the service does; return its id."""
    values = {"user_id": "abc", "title": "A title", "content": "Some content"} | changes
    note_id, _ = services.note_create(**values)
    return note_id


def make_notes(count: int, *, user_id: str = "abc", word: str = "plain") -> list[Note]:
    """Insert so many notes at once, a minute apart, the newest last; nothing is left to a relay."""
    start = timezone.now() - timedelta(minutes=count)
    notes = Note.objects.bulk_create(
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
    # Of the trigger; what is read afterwards would be invalidated by the next renewal of the lease.
    OutboxRow.objects.all().delete()
    return notes


def make_event(timestamp: datetime | None = None, **changes: Any) -> ObjectId:
    """Insert an event as MongoDB stores it; return its id."""
    values = {
        "user_id": "abc",
        "action": "note_viewed",
        "resource": "note",
        "resource_id": "3f0a6f6e-0000-4000-8000-000000000001",
        "details": {"status": 200},
        "timestamp": timestamp or timezone.now(),
        "ip_address": "192.0.2.1",
        "user_agent": "a browser",
        "request_id": "r-1",
    }
    inserted = ActivityEvent._get_collection().insert_one(values | changes)
    return inserted.inserted_id
