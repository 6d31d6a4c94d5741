"""
The aggregations, as MongoDB runs them: pure functions of validated values.

Each begins with a condition that an index serves. Those that count users match a user_id that is
not empty: every event has one, and the condition lets MongoDB answer from user_id_timestamp alone,
without reading a document.
"""

from typing import Any, Final

from activity.time_window import Window

Pipeline = list[dict[str, Any]]

DAILY_ROWS: Final = 30
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_WEEK_MS: Final = 7 * _DAY_MS
_ANYONE: Final = {"user_id": {"$gt": ""}}


def summary(*, user_id: str, window: Window) -> Pipeline:
    """Return {_id: action, count}, most frequent first, ties by action."""
    return [
        {"$match": {"user_id": user_id, **window.match}},
        {"$group": {"_id": "$action", "count": {"$sum": 1}}},
        {"$sort": {"count": -1, "_id": 1}},
    ]


def daily(*, user_id: str, window: Window) -> Pipeline:
    """Return {_id: {day, action}, count}: newest day first, then by count, then by action."""
    return [
        {"$match": {"user_id": user_id, **window.match}},
        {"$group": {"_id": {"day": _begin(_DAY_MS), "action": "$action"}, "count": {"$sum": 1}}},
        {"$sort": {"_id.day": -1, "count": -1, "_id.action": 1}},
        {"$limit": DAILY_ROWS},
    ]


def trend(*, window: Window) -> Pipeline:
    """Return {_id: day, count, users} for each day with an event, in no order."""
    return [
        {"$match": {**window.match, **_ANYONE}},
        {"$group": {"_id": {"day": _begin(_DAY_MS), "user": "$user_id"}, "count": {"$sum": 1}}},
        {"$group": {"_id": "$_id.day", "count": {"$sum": "$count"}, "users": {"$sum": 1}}},
    ]


def resources(*, window: Window, limit: int) -> Pipeline:
    """Return {_id: {resource, resource_id}, count, users}, most frequent first."""
    which = {"resource": "$resource", "resource_id": "$resource_id"}
    resource = {name: f"$_id.{name}" for name in which}
    return [
        {"$match": {**window.match, "resource_id": {"$gt": ""}}},
        {"$group": {"_id": {**which, "user": "$user_id"}, "count": {"$sum": 1}}},
        {"$group": {"_id": resource, "count": {"$sum": "$count"}, "users": {"$sum": 1}}},
        {"$sort": {"count": -1, "_id.resource": 1, "_id.resource_id": 1}},
        {"$limit": limit},
    ]


def hours(*, window: Window) -> Pipeline:
    """Return {_id: {weekday, hour}, count} for each hour of the week with an event, in no order."""
    hour = {"weekday": {"$isoDayOfWeek": "$_id"}, "hour": {"$hour": "$_id"}}
    return [
        {"$match": window.match},
        # Weekday and hour are computed once for each hour, not for each event.
        {"$group": {"_id": _begin(_HOUR_MS), "count": {"$sum": 1}}},
        {"$group": {"_id": hour, "count": {"$sum": "$count"}}},
    ]


def retention(*, window: Window) -> Pipeline:
    """Return {_id: {first, week}, users}: how many users first active in one week were active in another."""
    week = _begin(_WEEK_MS, first_ms=4 * _DAY_MS)  # 5 January 1970 was a Monday
    return [
        {"$match": {**window.match, **_ANYONE}},
        {"$group": {"_id": {"user": "$user_id", "week": week}}},
        {
            "$group": {
                "_id": "$_id.user",
                "first": {"$min": "$_id.week"},
                "weeks": {"$push": "$_id.week"},
            }
        },
        {"$unwind": "$weeks"},
        {"$group": {"_id": {"first": "$first", "week": "$weeks"}, "users": {"$sum": 1}}},
    ]


def _begin(length_ms: int, *, first_ms: int = 0) -> dict[str, Any]:
    """
    Return the expression of when the hour, day or week of an event began, in UTC.

    Arithmetic on milliseconds since 1970, which takes half as long as $dateTrunc does. Null where the
    timestamp is a list with a date in it, written past the service.
    """
    since_1970 = {"$convert": {"input": "$timestamp", "to": "long", "onError": None}}
    since_first = {"$subtract": [since_1970, first_ms]}
    return {"$subtract": ["$timestamp", {"$mod": [since_first, length_ms]}]}
