"""Reads of single events: the newest of all users, and feeds by keyset, of one user or of all."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pymongo.synchronous.cursor import Cursor

from activity.documents import ActivityEvent, driver_collection, text
from activity.paging import FeedQuery, Position
from activity.time_window import timestamp_text
from config.web.paging import Side, keyset_page

Event = dict[str, Any]  # as the API shows it
Row = Mapping[str, Any]  # as MongoDB stores it

FIELDS: Final = (
    *("user_id", "action", "resource", "resource_id", "details"),
    *("timestamp", "ip_address", "user_agent", "request_id"),
)


class Page(NamedTuple):
    """A page of a feed, newest first, and the query strings of its neighbours or None."""

    events: list[Event]
    next_query: str | None
    previous_query: str | None


def events_exist() -> bool:
    """Return whether there is any event."""
    return ActivityEvent.objects.only("id").as_pymongo().first() is not None


def event_count_of(*, user_id: str, most: int) -> int:
    """Return how many events a user has, counted no further than most."""
    events = ActivityEvent.objects(user_id=user_id).limit(most)
    return int(events.count(with_limit_and_skip=True))


def recent(*, limit: int) -> list[Event]:
    """Return the newest events over all users, newest first, ties by id."""
    rows = _first(feed_match(FeedQuery()), limit, backwards=False)[:limit]
    return [_event(row) for row in rows]


def feed(*, query: FeedQuery) -> Page:
    """
    Return one page of a feed, newest first, ties by id.

    Its cost does not grow with depth. One query to MongoDB; two where the last event shares its
    millisecond with the one after it.
    """
    at = query.position
    rows = _first(feed_match(query), query.limit, backwards=at is not None and at.is_backwards)
    page = keyset_page(query, rows, _position_at)
    return Page([_event(row) for row in page.rows], page.next_query, page.previous_query)


def feed_match(query: FeedQuery) -> dict[str, Any]:
    """
    Return the condition of a page of a feed.

    After a position, the first part bounds the scan of the index, and the second leaves out ties
    already shown.
    """
    at = query.position
    if at is None:
        return query.match
    beyond = "$gt" if at.is_backwards else "$lt"
    id_beyond = f"{beyond}e" if at.is_inclusive else beyond
    untied = {"$or": [{"timestamp": {beyond: at.timestamp}}, {"_id": {id_beyond: at.event_id}}]}
    return {"$and": [query.match, {"timestamp": {f"{beyond}e": at.timestamp}}, untied]}


def rows_by_time(match: dict[str, Any], count: int, *, backwards: bool = False) -> Cursor[Row]:
    """Return the first events that meet the condition, in the order of an index; ties in any order."""
    rows: Cursor[Row] = driver_collection().find(match, FIELDS)
    return rows.sort("timestamp", 1 if backwards else -1).limit(count)


def _first(match: dict[str, Any], limit: int, *, backwards: bool) -> list[Row]:
    """
    Return the first limit events and one more, newest first or backwards, ties by id.

    No index holds the id beside the time, so the ties at the end of the page are read again, in the
    order of their ids. Sorting by both would read the whole feed.
    """
    rows = list(rows_by_time(match, limit + 1, backwards=backwards))
    if len(rows) > limit and rows[-1]["timestamp"] == rows[-2]["timestamp"]:
        cut = rows[-1]["timestamp"]
        rows = [row for row in rows if row["timestamp"] != cut]
        tied = ActivityEvent.objects(__raw__={"$and": [match, {"timestamp": cut}]}).only(*FIELDS)
        by_id = tied.order_by("id" if backwards else "-id")
        rows += by_id.limit(limit + 1 - len(rows)).as_pymongo()
    rows.sort(key=lambda row: (row["timestamp"], row["_id"]), reverse=not backwards)
    return rows


def _position_at(row: Row, side: Side) -> Position:
    return Position(timestamp=row["timestamp"], event_id=row["_id"], side=side)


def _event(row: Row) -> Event:
    event = {"id": str(row["_id"]), **{name: text(row.get(name)) for name in FIELDS}}
    details = row.get("details")
    return {
        **event,
        "details": details if isinstance(details, dict) else {},
        "timestamp": timestamp_text(row["timestamp"]),
    }
