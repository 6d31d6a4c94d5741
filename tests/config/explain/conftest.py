"""A few thousand rows in each store, made by the seeding commands."""

import io
from datetime import UTC, datetime

import pytest
from django.core.management import call_command
from django.db import connection

from activity.documents import ActivityEvent
from cachelayer.models import OutboxRow
from notes.models import Note
from profiles.documents import UserProfile
from profiles.models import ProfileRow

NOTES, EVENTS, PROFILES = 4_000, 3_000, 300


@pytest.fixture(scope="module")
def _seeded(django_db_setup, django_db_blocker):
    """Commit the rows, so that the tests of a module share one seeding."""
    with django_db_blocker.unblock():
        fill(notes=NOTES, events=EVENTS, users=50)
    yield
    with django_db_blocker.unblock():
        empty()


def fill(*, notes: int, events: int, users: int) -> None:
    """Replace all rows with made-up ones, and update statistics and MongoDB indexes."""
    empty()
    for document in (ActivityEvent, UserProfile):
        document.ensure_indexes()
    out = io.StringIO()
    until = datetime.now(UTC).date()
    call_command("seed_notes", count=notes, users=users, stdout=out)
    call_command("seed_profiles", count=PROFILES, stdout=out)
    call_command("seed_activity", count=events, users=users, until=until, stdout=out)
    with connection.cursor() as cursor:
        # Full: what other tests have left in the table's file would make any index look good.
        cursor.execute("VACUUM (FULL, ANALYZE) notes, user_profiles")


def empty() -> None:
    """Empty the tables and collections."""
    for model in (Note, ProfileRow, OutboxRow):
        model.objects.all().delete()
    for document in (ActivityEvent, UserProfile):
        document._get_collection().delete_many({})
    OutboxRow.objects.all().delete()


@pytest.fixture
def seeded(_seeded, db) -> None:
    """Data to explain, in all three tables and collections."""
