"""The query strings of the activity endpoints: parsed, bounded, and nothing unknown let through."""

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from django.http import QueryDict

from activity.actions import ACTIONS, RESOURCES
from activity.paging import DEFAULT_LIMIT, MAX_LIMIT, CursorRejected, FeedQuery, position_of
from activity.time_window import YEARS, Moment, Window, parse_moment
from config.web.query import Parameters
from config.web.user_ids import USER_ID_PATTERN, USER_ID_RULE

DEFAULT_DAYS: Final = 7
MAX_DAYS: Final = 365
INSIGHT_DAYS: Final = 30
INSIGHT_MAX_DAYS: Final = 366
_WINDOW: Final = ("since", "until")
_FEED: Final = ("action", "resource", *_WINDOW, "limit", "cursor")


def parse_limit(given: QueryDict) -> int:
    """Return how many of the newest events are asked for. Raises ValidationError."""
    parameters = Parameters(given, known=("limit",))
    limit = _limit(parameters)
    parameters.end()
    return limit


def parse_days(given: QueryDict) -> int:
    """Return over how many days a trend is asked for. Raises ValidationError."""
    parameters = Parameters(given, known=("days",))
    days = parameters.integer("days", default=DEFAULT_DAYS, most=MAX_DAYS)
    parameters.end()
    return days


def parse_feed(user_id: str, given: QueryDict) -> FeedQuery:
    """Return which page of which feed is asked for. Raises ValidationError that names each mistake."""
    parameters = Parameters(given, known=_FEED)
    _check_user(parameters, user_id)
    wanted = FeedQuery(
        user_id=user_id,
        action=_one_of(parameters, "action", ACTIONS),
        resource=_one_of(parameters, "resource", RESOURCES),
        window=_window(parameters),
        limit=_limit(parameters),
    )
    if parameters.are_good:
        try:
            position = position_of(given.get("cursor", ""), query=wanted)
            wanted = replace(wanted, position=position)
        except CursorRejected as exc:
            parameters.refuse("cursor", str(exc))
    parameters.end()
    return wanted


def parse_user_window(user_id: str, given: QueryDict) -> Window:
    """Return the part of a user's time that is asked for, by default all. Raises ValidationError."""
    parameters = Parameters(given, known=_WINDOW)
    _check_user(parameters, user_id)
    window = _window(parameters)
    parameters.end()
    return window


def parse_insight(
    given: QueryDict, *, now: datetime, takes_limit: bool = False
) -> tuple[datetime, datetime, int]:
    """
    Return since, until and limit of a count over all users; by default the INSIGHT_DAYS before now.

    Raises ValidationError that names each mistake.
    """
    known = (*_WINDOW, "limit") if takes_limit else _WINDOW
    parameters = Parameters(given, known=known)
    limit = _limit(parameters) if takes_limit else DEFAULT_LIMIT
    asked = _window(parameters, until=now)
    parameters.end()
    until = asked.until or now
    since = asked.since or until - timedelta(days=INSIGHT_DAYS)
    if until - since > timedelta(days=INSIGHT_MAX_DAYS):
        for name in _WINDOW:
            parameters.refuse(
                name, f"Must be at most {INSIGHT_MAX_DAYS} days apart.", "out_of_range"
            )
    parameters.end()
    return since, until, limit


def _limit(parameters: Parameters) -> int:
    return parameters.integer("limit", default=DEFAULT_LIMIT, most=MAX_LIMIT)


def _check_user(parameters: Parameters, user_id: str) -> None:
    if not re.fullmatch(USER_ID_PATTERN, user_id):
        parameters.refuse("user_id", f"Must be {USER_ID_RULE}")


def _one_of(parameters: Parameters, name: str, choices: Iterable[str]) -> str | None:
    text = parameters.text(name)
    if text is None or text in choices:
        return text
    parameters.refuse(name, f"Must be one of {', '.join(sorted(choices))}.", "invalid_choice")
    return None


def _window(parameters: Parameters, *, until: datetime | None = None) -> Window:
    """Return the window; until stands in for one that is not given, when the two are compared."""
    start, end = _moment(parameters, "since"), _moment(parameters, "until")
    window = Window(
        since=None if start is None else start.bound(), until=None if end is None else end.bound()
    )
    if start is not None and end is not None:
        is_empty = end <= start  # as they were written, which tells more than the milliseconds
    else:
        is_empty = window.since is not None and until is not None and until <= window.since
    if is_empty:
        for name in _WINDOW:
            parameters.refuse(name, "since must be before until.", "out_of_range")
    return window


def _moment(parameters: Parameters, name: str) -> Moment | None:
    """Return a time, or the beginning in UTC of a day; None where it was not given, or is none."""
    text = parameters.text(name)
    if text is None:
        return None
    moment = parse_moment(text)
    if moment is None:
        parameters.refuse(
            name, "Must be a date (2026-01-31) or a time with its offset (2026-01-31T23:59:59Z)."
        )
    elif moment.second.year not in YEARS:
        parameters.refuse(name, f"Must lie in {YEARS[0]} to {YEARS[-1]}.", "out_of_range")
        return None
    return moment
