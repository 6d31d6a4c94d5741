"""Time windows of lists and counts, and how a time is written."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

_TIME: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:(?P<separator>[Tt ])(?P<minute>(?:[01][0-9]|2[0-3]):[0-5][0-9])"
    r"(?::(?P<second>[0-5][0-9]|60)(?:\.(?P<fraction>[0-9]+))?)?"
    r"(?P<offset>[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?)?"
)
# RFC 3339, 5.7: a leap second is the last of June or of December, in UTC.
_LEAP_SECOND_DAYS: Final = ((6, 30), (12, 31))
_MILLISECOND: Final = timedelta(milliseconds=1)
YEARS: Final = range(1970, 3000)  # accepted in queries
_BEGIN: Final = datetime(YEARS.start, 1, 1, tzinfo=UTC)
END: Final = datetime(YEARS.stop, 1, 1, tzinfo=UTC)
# The same in one expression, for the OpenAPI schema: days that there are, leap seconds in UTC alone.
MOMENT_PATTERN: Final = (
    r"^((19[7-9][0-9]|2[0-9]{3})-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    r"|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    r"|(19([79][26]|8[048])|2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)"
    r"([Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$"
    r"|^(19[7-9][0-9]|2[0-9]{3})-(06-30|12-31)[Tt]23:59:60(\.[0-9]+)?[Zz]$"
)


class Moment(NamedTuple):
    """
    A time, exactly as it was written, in order.

    second is the whole second in UTC, of a leap second the one before it; fraction the digits
    behind the point, without zeros at the end.
    """

    second: datetime
    is_leap_second: bool
    fraction: str

    def bound(self) -> datetime:
        """
        Return the first millisecond that is not before this time.

        Events have whole milliseconds, so those at or after it are those at or after this time,
        and those before it are those before this time. No event lies in a leap second: system
        clocks do not have it.
        """
        if self.is_leap_second:
            return self.second + timedelta(seconds=1)
        milliseconds = int(self.fraction[:3].ljust(3, "0")) + bool(self.fraction[3:])
        return self.second + milliseconds * _MILLISECOND


def parse_moment(text: str, *, is_typed: bool = False) -> Moment | None:
    """
    Return the time that text names, a date standing for its beginning in UTC; None for no time.

    A time is written as in RFC 3339, 5.6, to any number of digits. Where it is_typed by a person,
    a space may stand for the T, and seconds and offset (then UTC) may be missing.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    is_complete = match["separator"] != " " and match["second"] and match["offset"]
    if match["separator"] and not is_complete and not is_typed:
        return None
    second, offset = match["second"] or "00", (match["offset"] or "Z").upper()
    is_leap_second = second == "60"
    written = f"{match['date']}T{match['minute'] or '00:00'}:{'59' if is_leap_second else second}"
    try:
        moment = datetime.fromisoformat(written + offset).astimezone(UTC)
    except (ValueError, OverflowError):  # no such day, or beyond the years of datetime in UTC
        return None
    if is_leap_second and not _may_be_followed_by_leap_second(moment):
        return None
    return Moment(moment, is_leap_second, (match["fraction"] or "").rstrip("0"))


def _may_be_followed_by_leap_second(moment: datetime) -> bool:
    last_minute = (moment.hour, moment.minute) == (23, 59)
    return last_minute and (moment.month, moment.day) in _LEAP_SECOND_DAYS


@dataclass(frozen=True, kw_only=True)
class Window:
    """From since (inclusive) to until (exclusive); None means unbounded. Aware datetimes."""

    since: datetime | None = None
    until: datetime | None = None

    @property
    def match(self) -> dict[str, Any]:
        """
        The window as a condition of a query, within YEARS even for all time.

        It leaves out timestamps that were written past the service: of another type, or of a year
        that datetime does not have.
        """
        return {"timestamp": {"$gte": self.since or _BEGIN, "$lt": self.until or END}}


ALL_TIME: Final = Window()


def midnight(moment: datetime) -> datetime:
    """Return the beginning of the day, in UTC, in which a moment lies."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def monday(moment: datetime) -> datetime:
    """Return the beginning of the ISO week, in UTC, in which a moment lies."""
    day = midnight(moment)
    return day - timedelta(days=day.weekday())


def last_days(days: int, *, now: datetime) -> Window:
    """Return this many whole days in UTC, the last of which contains now."""
    tomorrow = midnight(now) + timedelta(days=1)
    return Window(since=tomorrow - timedelta(days=days), until=tomorrow)


def timestamp_text(moment: datetime) -> str:
    """Return RFC 3339 in UTC with Z and milliseconds, the precision that MongoDB keeps."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
