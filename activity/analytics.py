"""Counts over many events: aggregated by MongoDB, completed here with the days and hours without events."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import pymongo
from mongoengine.connection import get_connection
from pymongo.errors import OperationFailure

from activity import pipelines
from activity.documents import ActivityEvent, text
from activity.pipelines import Pipeline
from activity.time_window import Window, last_days, monday

LONGEST_SECONDS: Final = 10
RETENTION_WEEKS: Final = 8
_WEEK: Final = timedelta(weeks=1)
_TOO_MUCH_MEMORY: Final = (146, 292)  # ExceededMemoryLimit, and the same where the disk would do


class TooMuchToCount(Exception):
    """The window holds more users or resources than MongoDB counts in its memory."""


def summary(*, user_id: str, window: Window) -> list[dict[str, Any]]:
    """Return {action, count} of a user, most frequent first, ties by action."""
    rows = _run(pipelines.summary(user_id=user_id, window=window))
    return [{"action": text(row["_id"]), "count": row["count"]} for row in rows]


def daily(*, user_id: str, window: Window) -> list[dict[str, Any]]:
    """Return the first DAILY_ROWS of {date, action, count}: newest day first, then by count."""
    return [
        {
            "date": row["_id"]["day"].date().isoformat(),
            "action": text(row["_id"].get("action")),
            "count": row["count"],
        }
        for row in _run(pipelines.daily(user_id=user_id, window=window))
        if row["_id"]["day"] is not None  # the timestamp is a list
    ]


def trend(*, days: int, now: datetime) -> list[dict[str, Any]]:
    """
    Return {date, total_activities, unique_users} of each of so many days, oldest first.

    The last day is that of now, in UTC. Raises TooMuchToCount.
    """
    window = last_days(days, now=now)
    by_day = {row["_id"]: row for row in _run(pipelines.trend(window=window))}
    nothing = {"count": 0, "users": 0}
    return [
        {
            "date": day.date().isoformat(),
            "total_activities": by_day.get(day, nothing)["count"],
            "unique_users": by_day.get(day, nothing)["users"],
        }
        for day in _steps(window.since, window.until, timedelta(days=1))
    ]


def resources(*, window: Window, limit: int) -> list[dict[str, Any]]:
    """
    Return {resource, resource_id, count, unique_users} of the most used resources.

    Ties by resource, then by its id. Events about no single resource, such as a list, are left out.
    Raises TooMuchToCount.
    """
    return [
        {
            "resource": text(row["_id"].get("resource")),
            "resource_id": text(row["_id"].get("resource_id")),
            "count": row["count"],
            "unique_users": row["users"],
        }
        for row in _run(pipelines.resources(window=window, limit=limit))
    ]


def hours(*, window: Window) -> list[dict[str, Any]]:
    """Return {weekday, hour, count} of the 168 hours of the week in UTC, from Monday (1), 0 h."""
    counts = {
        (row["_id"]["weekday"], row["_id"]["hour"]): row["count"]
        for row in _run(pipelines.hours(window=window))
    }
    return [
        {"weekday": weekday, "hour": hour, "count": counts.get((weekday, hour), 0)}
        for weekday, hour in itertools.product(range(1, 8), range(24))
    ]


def retention(*, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """
    Return {week, users, returned} of each week in which the window lies, oldest first.

    week is its Monday; users counts those who were active in it and in no earlier week of the window;
    returned counts those of them who were active 1, 2, ... weeks later, as far as the window goes,
    at most RETENTION_WEEKS. Raises TooMuchToCount.
    """
    users = {
        (row["_id"]["first"], row["_id"]["week"]): row["users"]
        for row in _run(pipelines.retention(window=Window(since=since, until=until)))
    }
    weeks = list(_steps(monday(since), until, _WEEK))
    return [
        {
            "week": week.date().isoformat(),
            "users": users.get((week, week), 0),
            "returned": [
                users.get((week, later), 0) for later in weeks[number : number + RETENTION_WEEKS]
            ],
        }
        for number, week in enumerate(weeks, 1)
    ]


def _run(pipeline: Pipeline) -> list[dict[str, Any]]:
    """
    Return the result of a pipeline, run in memory only and within LONGEST_SECONDS.

    A ping goes first, so that a server that does not answer is noticed as soon as in any other
    request. Raises what the driver raises, and TooMuchToCount.
    """
    get_connection().admin.command("ping")
    try:
        with pymongo.timeout(LONGEST_SECONDS):
            return list(ActivityEvent.objects.aggregate(pipeline, allowDiskUse=False))
    except OperationFailure as exc:
        if exc.code in _TOO_MUCH_MEMORY:
            raise TooMuchToCount("there is too much to count; ask for a shorter time") from exc
        raise


def _steps(first: datetime | None, end: datetime | None, step: timedelta) -> Iterator[datetime]:
    """Yield first, then one step after the other, before end."""
    if first is None or end is None:
        raise AssertionError("only what has bounds has steps")
    while first < end:
        yield first
        first += step
