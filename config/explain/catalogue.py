"""The service's own queries, each built by the code that the endpoints run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bson import ObjectId
from mongoengine.connection import get_db

from activity import paging as activity_paging
from activity import pipelines
from activity import selectors as activity
from activity.documents import driver_collection
from activity.paging import FeedQuery
from activity.time_window import Window
from config.explain import samples
from config.explain.mongo_plans import Aggregate, Find
from config.explain.plan import Statement
from config.explain.postgres_plans import capture_selects, compile_queryset
from notes import selectors as notes
from notes.paging import CursorQuery, PageQuery
from profiles.documents import UserProfile
from profiles.mongodb import of_user
from profiles.postgres import PostgresProfiles

_NOTES: Final = "GET /api/v1/notes"
_ACTIVITY: Final = "GET /api/v1/activity"


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query of the service with real parameters: what it returns, and which endpoints send it."""

    name: str
    asks: str
    serves: tuple[str, ...]
    statement: Statement


def all_queries() -> list[Query]:
    """Return every query. Raises NoSampleData if a table or collection is empty."""
    return [*notes_queries(), *profile_queries(), *activity_queries()]


def notes_queries() -> list[Query]:
    """Return the queries of the notes, in PostgreSQL. Raises NoSampleData."""
    sample = samples.sample_notes()
    heavy = PageQuery(user_id=sample.heavy_user, page=sample.page)
    deep_of_all = samples.deepest_page(sample.rows)
    queries = [
        _listed("user", "a page of a usual user's list", PageQuery(user_id=sample.usual_user)),
        _listed(
            "heavy-user", "the heaviest user's first page", PageQuery(user_id=sample.heavy_user)
        ),
        _listed("user-deep", f"the heaviest user's page {sample.page}, by OFFSET", heavy),
        _listed(
            "user-cursor",
            "the same page by cursor",
            CursorQuery(user_id=sample.heavy_user, position=sample.at),
        ),
        _listed("all", "the first page of the list over all", PageQuery()),
        _listed(
            "all-deep", f"page {deep_of_all} of the list over all", PageQuery(page=deep_of_all)
        ),
        _listed("all-cursor", "the same page by cursor", CursorQuery(position=sample.at_of_all)),
        _listed("search", "titles with a rare word", PageQuery(search=sample.rare_word)),
        _listed("search-common", "titles with a common word", PageQuery(search=sample.common_word)),
        _counted("count-user", "how many notes the heaviest user has", heavy),
        _counted("count-all", "how many notes there are", PageQuery()),
        _counted("count-search", "how many titles have a word", PageQuery(search=sample.rare_word)),
    ]
    [select] = capture_selects(lambda: notes.load_notes([sample.note_id]))
    serves = (f"{_NOTES}/{{note_id}}",)
    return [*queries, Query(name="note", asks="one note", serves=serves, statement=select)]


def profile_queries() -> list[Query]:
    """Return the queries of the profiles, in both stores. Raises NoSampleData."""
    user_id = samples.sample_profile_user()
    [row] = capture_selects(lambda: PostgresProfiles().get(user_id))
    base = "GET /api/v1/profiles"
    either = f"{base}/{{user_id}}"
    return [
        Query(
            name="profile-postgres",
            asks="one profile of the table",
            serves=(either, f"{base}/postgres/{{user_id}}"),
            statement=row,
        ),
        Query(
            name="profile-mongo",
            asks="one profile of the collection",
            serves=(either, f"{base}/mongo/{{user_id}}"),
            # profiles.mongodb uses find_one, which has no cursor to explain.
            statement=Find(lambda: get_db()[_collection()].find(of_user(user_id)).limit(1)),
        ),
    ]


def activity_queries() -> list[Query]:
    """Return the queries of the activity, in MongoDB. Raises NoSampleData."""
    sample = samples.sample_events()
    feed = FeedQuery(user_id=sample.heavy_user)
    rare = FeedQuery(user_id=sample.heavy_user, action=sample.rare_action)
    at = activity_paging.Position(timestamp=sample.middle, event_id=ObjectId(), side="after")
    deep = FeedQuery(user_id=sample.heavy_user, position=at)
    of_user = f"{_ACTIVITY}/{{user_id}}"
    return [
        _find("feed", "the heaviest user's feed", of_user, activity.feed_match(feed)),
        _find("feed-cursor", "the same by cursor, halfway", of_user, activity.feed_match(deep)),
        _find("feed-action", "the same, of a rare action", of_user, activity.feed_match(rare)),
        _find(
            "recent", "the newest of all", f"{_ACTIVITY}/recent", activity.feed_match(FeedQuery())
        ),
        *_aggregations(sample.heavy_user, sample.window),
    ]


def _aggregations(user_id: str, window: Window) -> list[Query]:
    of_user = f"{_ACTIVITY}/{{user_id}}"
    counted = pipelines.summary(user_id=user_id, window=window)
    by_day = pipelines.daily(user_id=user_id, window=window)
    used = pipelines.resources(window=window, limit=activity_paging.DEFAULT_LIMIT)
    trend, hours = pipelines.trend(window=window), pipelines.hours(window=window)
    came_back = pipelines.retention(window=window)
    insights = f"{_ACTIVITY}/insights"
    return [
        _pipeline("summary", "the heaviest user's actions", f"{of_user}/summary", counted),
        _pipeline("daily", "the same by day", f"{of_user}/daily", by_day),
        _pipeline("trend", "events and users of 30 days", f"{_ACTIVITY}/trend", trend),
        _pipeline("resources", "what was used most", f"{insights}/resources", used),
        _pipeline("hours", "the hours of the week", f"{insights}/hours", hours),
        _pipeline("retention", "who came back later", f"{insights}/retention", came_back),
    ]


def _pipeline(name: str, asks: str, route: str, pipeline: pipelines.Pipeline) -> Query:
    statement = Aggregate(driver_collection(), pipeline)
    return Query(name=name, asks=asks, serves=(route,), statement=statement)


def _listed(name: str, asks: str, query: PageQuery | CursorQuery) -> Query:
    make: Callable[..., object] = (
        notes.cursor_rows if isinstance(query, CursorQuery) else notes.page_rows
    )
    statement = compile_queryset(make(query))  # type: ignore[arg-type]  # each takes its own query
    return Query(name=name, asks=asks, serves=(_NOTES,), statement=statement)


def _counted(name: str, asks: str, query: PageQuery) -> Query:
    sent = capture_selects(lambda: notes.load_list(query))  # a page and its count, in either order
    [count] = [select for select in sent if select.sql.upper().startswith("SELECT COUNT(")]
    return Query(name=name, asks=asks, serves=(_NOTES,), statement=count)


def _find(name: str, asks: str, route: str, match: dict[str, object]) -> Query:
    limit = activity_paging.DEFAULT_LIMIT + 1
    statement = Find(lambda: activity.rows_by_time(match, limit))
    return Query(name=name, asks=asks, serves=(route,), statement=statement)


def _collection() -> str:
    return str(UserProfile._meta["collection"])
