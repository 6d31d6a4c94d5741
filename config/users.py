"""Rename a user: the profile and the events change together or not at all."""

from collections.abc import Callable
from typing import Any, Final

import pymongo
from django.conf import settings
from mongoengine.connection import get_connection

from activity import selectors as activity_selectors
from activity import services as activity
from cachelayer.invalidation import around
from profiles import cache_keys
from profiles import mongodb as profiles_in_mongodb
from profiles import services as profiles

# In a single transaction, whose changes MongoDB holds in its cache until the commit.
EVENTS_MAX: Final = 100_000
_TIMEOUT_SECONDS: Final = 55  # MongoDB ends a transaction after 60 s
COMMITTING: Final = "committing"  # the step before which nothing can have been renamed
RENAMED: Final = "renamed"  # the step from which on everything is


class CannotRename(Exception):
    """Nothing was renamed, for the reason that the text gives."""


def user_rename(*, old: str, new: str, on_step: Callable[[str], None]) -> int:
    """
    Give the profile of old, and all its events, the user id new; return how many events.

    One transaction of MongoDB: no reader ever sees the profile without its events. Notes keep
    their owner. Raises CannotRename, AlreadyExists, or what the drivers raise; the steps then say what was
    done. After RENAMED only the profile's copy in the other store is missing.
    """
    if settings.PROFILE_BACKEND != "mongo":
        raise CannotRename(
            "The profiles are in PostgreSQL, which shares no transaction with the events."
        )
    _refuse_while_events_wait(old)
    number = activity_selectors.event_count_of(user_id=old, most=EVENTS_MAX + 1)
    if number > EVENTS_MAX:
        raise CannotRename(f"{old} has more than {EVENTS_MAX} events: too many for a transaction.")
    if activity_selectors.event_count_of(user_id=new, most=1):
        raise CannotRename(
            f"{new} has events already; the renamed ones could not be separated again."
        )

    def rename(session: Any) -> int:
        if not profiles_in_mongodb.rename(old, new, session=session):
            raise CannotRename(f"There is no profile of {old}.")
        events = activity.events_rename(old=old, new=new, session=session)
        on_step(COMMITTING)
        return events

    with (
        around(*cache_keys.tags_of_deleted_profile(old), *cache_keys.tags_of_profile(new)),
        pymongo.timeout(_TIMEOUT_SECONDS),
        get_connection().start_session() as session,
    ):
        renamed: int = session.with_transaction(rename)
        on_step(RENAMED)
    for user_id in (old, new):
        profiles.mirror_update(user_id=user_id)
    return renamed


def _refuse_while_events_wait(old: str) -> None:
    try:
        waiting = activity.spool_state()["depth_events"]
    except OSError as exc:
        raise CannotRename(
            f"The spool, which may hold events of {old}, cannot be read: {exc}"
        ) from exc
    if waiting:
        raise CannotRename("Events in the spool would keep the old id. Try again soon.")
