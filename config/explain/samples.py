"""Parameters for the catalogue: users, words and depths that occur in the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import pymongo
from django.db import connection
from django.db.models import Count

from activity.documents import ActivityEvent, driver_collection
from activity.paging import FeedQuery
from activity.time_window import ALL_TIME, Window, last_days
from notes.models import Note
from notes.paging import DEFAULT_LIMIT, Position
from profiles.models import ProfileRow

PAGE: Final = 500
_TITLES: Final = 5_000  # the titles that words are sampled from
_DAYS: Final = 30
_COUNTING_SECONDS: Final = 120  # of millions of events
_TEXT: Final = {"$gte": ""}  # not what was written past the service


class NoSampleData(Exception):
    """A table or collection is empty, so no plan would mean anything."""


@dataclass(frozen=True, kw_only=True)
class NotesSample:
    """
    From the notes: the user who has most, a user with the median number, a common and a rare word.

    page is 500, or the last page of the heavy user's list. at is the position of a cursor at the
    same depth, and at_of_all that in the list of all users.
    """

    rows: int
    note_id: UUID
    heavy_user: str
    usual_user: str
    common_word: str
    rare_word: str
    page: int
    at: Position | None
    at_of_all: Position | None


@dataclass(frozen=True, kw_only=True)
class EventsSample:
    """From the events: the user who has most, that user's rarest action, and the last 30 days."""

    rows: int
    heavy_user: str
    rare_action: str
    window: Window
    middle: datetime


def sample_notes() -> NotesSample:
    """Return parameters for the queries of notes. Raises NoSampleData."""
    owners = list(
        Note.objects.values("user_id").annotate(notes=Count("pk")).order_by("-notes", "user_id")
    )
    if not owners:
        raise NoSampleData("there are no notes; create some with manage.py seed_notes")
    heavy, usual = owners[0], owners[len(owners) // 2]
    rows = sum(owner["notes"] for owner in owners)
    common_word, rare_word = _words()
    page = deepest_page(heavy["notes"])
    return NotesSample(
        rows=rows,
        note_id=Note.objects.values_list("pk", flat=True)[0],
        heavy_user=heavy["user_id"],
        usual_user=usual["user_id"],
        common_word=common_word,
        rare_word=rare_word,
        page=page,
        at=note_position(heavy["user_id"], (page - 1) * DEFAULT_LIMIT),
        at_of_all=note_position(None, (deepest_page(rows) - 1) * DEFAULT_LIMIT),
    )


def deepest_page(rows: int, *, most: int = PAGE) -> int:
    """Return the number of the last page of default length, at most `most`."""
    return min(most, max(1, rows // DEFAULT_LIMIT))


def note_position(user_id: str | None, depth: int) -> Position | None:
    """Return a cursor position after `depth` notes of a user's list, or of the list of all."""
    if depth == 0:
        return None
    rows = Note.objects.order_by("-created_at", "-id")
    if user_id is not None:
        rows = rows.filter(user_id=user_id)
    note = rows.only("created_at")[depth - 1]
    return Position(value=note.created_at.isoformat(), note_id=str(note.pk), side="after")


def _words() -> tuple[str, str]:
    """Return a common and a rare word of the titles, as text search splits them."""
    titles = f"SELECT to_tsvector(''english'', title) FROM notes LIMIT {_TITLES}"  # noqa: S608  # a constant
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT word FROM ts_stat('{titles}') WHERE word ~ '^[a-z]{{3,}}$'"  # noqa: S608
            " ORDER BY ndoc DESC, word"
        )
        words = [word for (word,) in cursor.fetchall()]
    return (words[0], words[-1]) if words else ("nothing", "nothing")


def sample_profile_user() -> str:
    """Return a user who has a profile. Raises NoSampleData."""
    user_id = ProfileRow.objects.values_list("pk", flat=True).first()
    if user_id is None:
        raise NoSampleData("there are no profiles; create some with manage.py seed_profiles")
    return user_id


def sample_events() -> EventsSample:
    """Return parameters for the queries of events. Raises NoSampleData."""
    newest = _by_time(FeedQuery().match).first()
    if newest is None:
        raise NoSampleData("there are no events; create some with manage.py seed_activity")
    in_time = ALL_TIME.match  # by the index alone; what follows looks at each event
    with pymongo.timeout(_COUNTING_SECONDS):
        heavy = _counted("user_id", {**in_time, "user_id": _TEXT})[0]
        rows = driver_collection().count_documents(in_time)
        return EventsSample(
            rows=rows,
            heavy_user=heavy,
            rare_action=_counted("action", {**in_time, "user_id": heavy, "action": _TEXT})[-1],
            window=last_days(_DAYS, now=newest["timestamp"]),
            middle=_by_time(in_time)[rows // 2]["timestamp"],
        )


def _by_time(match: dict[str, Any]) -> Any:
    events = ActivityEvent.objects(__raw__=match).only("timestamp").order_by("-timestamp")
    return events.as_pymongo()


def _counted(field: str, match: dict[str, Any]) -> Sequence[str]:
    """Return the values of a field, the most frequent first."""
    grouped = ActivityEvent.objects.aggregate(
        [
            {"$match": match},
            {"$group": {"_id": f"${field}", "count": {"$sum": 1}}},
            {"$sort": {"count": -1, "_id": 1}},
        ]
    )
    return [row["_id"] for row in grouped]
