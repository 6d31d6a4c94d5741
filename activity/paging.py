"""One page of a feed, of one user or of all: the query as plain values, and the signed cursor."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from bson import ObjectId
from django.core import signing

from activity.actions import actions_of
from activity.time_window import ALL_TIME, END, Window, timestamp_text
from config.web import paging

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# A list matches where its elements do, and a cursor names an ObjectId: others were written past the service.
_WELL_FORMED: Final = {
    "$expr": {
        "$and": [
            {"$eq": [{"$type": "$timestamp"}, "date"]},
            {"$eq": [{"$type": "$_id"}, "objectId"]},
        ]
    }
}
_signer = signing.Signer(salt="activity.cursor")


@dataclass(frozen=True, kw_only=True)
class Position(paging.Position):
    """Where a page begins: at the event with this time and id."""

    timestamp: datetime
    event_id: ObjectId


@dataclass(frozen=True, kw_only=True)
class FeedQuery:
    """One page of a feed; None means no filter, position None the start of the feed."""

    user_id: str | None = None
    action: str | None = None
    resource: str | None = None
    window: Window = ALL_TIME
    limit: int = DEFAULT_LIMIT
    position: Position | None = None

    @property
    def filters(self) -> dict[str, str]:
        """The filters of the feed, as parameters of a query string."""
        narrowed = {"action": self.action, "resource": self.resource}
        # END, to which a time in its last millisecond is rounded up, bounds every read.
        until = None if self.window.until == END else self.window.until
        for name, moment in (("since", self.window.since), ("until", until)):
            narrowed[name] = None if moment is None else timestamp_text(moment)
        return {name: text for name, text in narrowed.items() if text is not None}

    @property
    def match(self) -> dict[str, Any]:
        """The condition that the feed's events meet, apart from the position."""
        equal: dict[str, Any] = {
            "user_id": self.user_id,
            "action": self.action,
            "resource": self.resource,
        }
        match = {name: value for name, value in equal.items() if value is not None}
        if self.resource is not None and self.user_id is None and self.action is None:
            # Of all users, no index begins with the resource, but one does with the action.
            match["action"] = {"$in": sorted(actions_of(self.resource))}
        return {**match, **self.window.match, **_WELL_FORMED}

    def link_to(self, position: Position) -> str:
        """Return the query string of the page at another position of the same feed."""
        milliseconds = (position.timestamp - _EPOCH) // _MILLISECOND
        cursor = _signer.sign_object(
            [self.user_id, self.filters, position.side, milliseconds, str(position.event_id)]
        )
        return urlencode({**self.filters, "cursor": cursor, "limit": self.limit})


def position_of(cursor: str, *, query: FeedQuery) -> Position | None:
    """
    Return where a cursor points; an empty one points to the start (None).

    Raises CursorRejected if it was altered, or made for another user or other filters.
    """
    if not cursor:
        return None
    user_id, filters, side, milliseconds, event_id = paging.unsigned(_signer, cursor, members=5)
    if (user_id, filters) != (query.user_id, query.filters):
        raise paging.CursorRejected("this cursor belongs to another user or to other filters")
    return Position(
        timestamp=_EPOCH + milliseconds * _MILLISECOND, event_id=ObjectId(event_id), side=side
    )
