"""A chart of events and users by day, as the coordinates and texts of an SVG of 720 by 200."""

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

WIDTH: Final = 720
HEIGHT: Final = 200
_STEPS: Final = 4  # lines of the grid above the axis
_DAYS_A_LABEL: Final = 7
_BAR_SHARE: Final = 0.7  # of a day's width


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day: its bar (events), its dot (users), y from the top, and their texts."""

    text: str
    label: str  # below the axis; empty for most days
    events: int
    users: int
    left: float
    width: float
    middle: float
    top: float
    height: float
    dot: float


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The days, oldest first; the line through the dots; both scales as (y, text)."""

    days: Sequence[Day]
    line: str
    events_scale: Sequence[tuple[float, str]]
    users_scale: Sequence[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT


def chart(trend: Sequence[dict[str, Any]]) -> Chart:
    """Return the chart of what activity.analytics.trend returned."""
    events_top = _top(max(day["total_activities"] for day in trend))
    users_top = _top(max(day["unique_users"] for day in trend))
    width = WIDTH / len(trend)
    days = []
    for number, day in enumerate(trend):
        events, users = day["total_activities"], day["unique_users"]
        days.append(
            Day(
                text=day["date"],
                label=_label(day["date"], before_last=len(trend) - 1 - number),
                events=events,
                users=users,
                left=round(width * (number + (1 - _BAR_SHARE) / 2), 1),
                width=round(width * _BAR_SHARE, 1),
                middle=round(width * (number + 0.5), 1),
                top=_y(events, events_top),
                height=round(HEIGHT - _y(events, events_top), 1),
                dot=_y(users, users_top),
            )
        )
    return Chart(
        days=days,
        line=" ".join(f"{day.middle},{day.dot}" for day in days),
        events_scale=_scale(events_top),
        users_scale=_scale(users_top),
    )


def _top(most: int) -> int:
    """Return the end of the scale: the least, of steps of 1, 2 or 5 tens, that is not below most."""
    tens = itertools.accumulate(itertools.repeat(10), operator.mul, initial=1)
    steps = (factor * ten for ten in tens for factor in (1, 2, 5))
    return next(step * _STEPS for step in steps if step * _STEPS >= most)


def _scale(top: int) -> list[tuple[float, str]]:
    return [(_y(step, _STEPS), f"{top // _STEPS * step:,}") for step in range(_STEPS + 1)]


def _y(value: int, top: int) -> float:
    return round(HEIGHT - HEIGHT * value / top, 1)


def _label(day: str, *, before_last: int) -> str:
    if before_last % _DAYS_A_LABEL:
        return ""
    return "today" if before_last == 0 else f"{date.fromisoformat(day):%d %b}"
