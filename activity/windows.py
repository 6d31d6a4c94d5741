"""From when to when: the part of time that a list or a count is about."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final


@dataclass(frozen=True, kw_only=True)
class Window:
    """From since, inclusive, until until, exclusive; None is no such bound. Aware datetimes."""

    since: datetime | None = None
    until: datetime | None = None

    @property
    def match(self) -> dict[str, Any]:
        """The window as a condition of a query; empty for all time."""
        bounds = {}
        if self.since is not None:
            bounds["$gte"] = self.since
        if self.until is not None:
            bounds["$lt"] = self.until
        return {"timestamp": bounds} if bounds else {}


ALL_TIME: Final = Window()


def midnight(moment: datetime) -> datetime:
    """Return the beginning of the day, in UTC, in which a moment lies."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def monday(moment: datetime) -> datetime:
    """Return the beginning of the ISO week, in UTC, in which a moment lies."""
    day = midnight(moment)
    return day - timedelta(days=day.weekday())


def last_days(days: int, *, now: datetime) -> Window:
    """Return so many whole days in UTC, of which the last is that of now."""
    tomorrow = midnight(now) + timedelta(days=1)
    return Window(since=tomorrow - timedelta(days=days), until=tomorrow)


def timestamp_text(moment: datetime) -> str:
    """Return RFC 3339 in UTC with Z and milliseconds, the precision that MongoDB keeps."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
