"""The query strings of the activity endpoints: parsed, bounded, unknown parameters refused."""

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from django.http import QueryDict

from activity.actions import ACTIONS, RESOURCES
from activity.paging import DEFAULT_LIMIT, MAX_LIMIT, FeedQuery, position_of
from activity.time_window import YEARS, Moment, Window, parse_moment
from config.web.paging import CursorRejected
from config.web.query import Parameters
from config.web.user_ids import USER_ID_PATTERN, USER_ID_RULE

DEFAULT_DAYS: Final = 7
MAX_DAYS: Final = 365
INSIGHT_DAYS: Final = 30
INSIGHT_MAX_DAYS: Final = 366
_WINDOW: Final = ("since", "until")
_FEED: Final = ("action", "resource", *_WINDOW, "limit", "cursor")


def parse_limit(query: QueryDict) -> int:
    """Return how many of the newest events to list. Raises ValidationError."""
    parameters = Parameters(query, known=("limit",))
    limit = _limit(parameters)
    parameters.end()
    return limit


def parse_days(query: QueryDict) -> int:
    """Return the number of days of a trend. Raises ValidationError."""
    parameters = Parameters(query, known=("days",))
    days = parameters.integer("days", default=DEFAULT_DAYS, most=MAX_DAYS)
    parameters.end()
    return days


def parse_feed(user_id: str, query: QueryDict) -> FeedQuery:
    """Return the requested page of a feed. Raises ValidationError that names each mistake."""
    parameters = Parameters(query, known=_FEED)
    _check_user(parameters, user_id)
    requested = FeedQuery(
        user_id=user_id,
        action=_one_of(parameters, "action", ACTIONS),
        resource=_one_of(parameters, "resource", RESOURCES),
        window=_window(parameters),
        limit=_limit(parameters),
    )
    if parameters.are_good:
        try:
            position = position_of(query.get("cursor", ""), query=requested)
            requested = replace(requested, position=position)
        except CursorRejected as exc:
            parameters.refuse("cursor", str(exc))
    parameters.end()
    return requested


def parse_user_window(user_id: str, query: QueryDict) -> Window:
    """Return the requested window of a user's events, by default all time. Raises ValidationError."""
    parameters = Parameters(query, known=_WINDOW)
    _check_user(parameters, user_id)
    window = _window(parameters)
    parameters.end()
    return window


def parse_insight(
    query: QueryDict, *, now: datetime, takes_limit: bool = False
) -> tuple[datetime, datetime, int]:
    """
    Return since, until and limit of a count over all users; by default the INSIGHT_DAYS before now.

    Raises ValidationError that names each mistake.
    """
    known = (*_WINDOW, "limit") if takes_limit else _WINDOW
    parameters = Parameters(query, known=known)
    limit = _limit(parameters) if takes_limit else DEFAULT_LIMIT
    window = _window(parameters, until=now)
    parameters.end()
    until = window.until or now
    since = window.since or until - timedelta(days=INSIGHT_DAYS)
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
    """Return the window; until is the default of the comparison where the query has none."""
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
    """Return a time, or the beginning of a day in UTC; None if it is missing or malformed."""
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
