"""Rows as in the tests of the reports, queries on them, and what a trial could leave behind."""

import pytest
from django.db import connection
from mongoengine.connection import get_db

from activity.documents import ActivityEvent
from config.explain import build_report, samples
from config.observability import capped_list, query_stats
from tests.config.explain.conftest import empty, fill

EVENTS = "activity_logs"


@pytest.fixture(scope="module")
def _seeded(django_db_setup, django_db_blocker):
    """Few users, so that each has hundreds of notes, and a page is a small part of them."""
    with django_db_blocker.unblock():
        fill(notes=6_000, events=20_000, users=6)
    yield
    with django_db_blocker.unblock():
        empty()


@pytest.fixture
def seeded(_seeded, db) -> None:
    """Data to advise on, in all three tables and collections."""


@pytest.fixture
def allowed(settings) -> None:
    settings.ALLOW_EXPLAIN_DDL = True


@pytest.fixture
def is_site(settings, monkeypatch) -> None:
    """This process counts its statements as the site does, starting from zero."""
    settings.SERVES_REQUESTS = True
    monkeypatch.setattr(query_stats, "_counts", {})
    monkeypatch.setattr(query_stats, "_EVERY_SECONDS", 0.0)


@pytest.fixture
def lists_read(seeded, is_site, api) -> None:
    """Two users' lists, read a few times without the cache."""
    sample = samples.sample_notes()
    for user_id in (sample.heavy_user, sample.usual_user) * 3:
        assert api.get(f"/api/v1/notes?userId={user_id}&cache=false").status_code == 200
    capped_list.flush()


@pytest.fixture
def without_composite(seeded) -> None:
    """
    Drop the composite index of the notes, until the test's transaction is rolled back.

    And the index of the time, which serves users with a large share of so few notes.
    """
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX idx_notes_user_created, idx_notes_created_at")


@pytest.fixture
def events(seeded):
    """The collection of events; afterwards its indexes and the profiler's log are restored."""
    yield get_db()[EVENTS]
    get_db()["system.profile"].drop()
    ActivityEvent.ensure_indexes()


def traces() -> dict[str, object]:
    """Return everything that an interrupted trial could have left behind."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
        indexes = sorted(cursor.fetchall())
        cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE 'explain%'")
        tables = cursor.fetchall()
    database = get_db()
    return {
        "indexes": indexes,
        "tables": tables,
        "mongo": [database[name].index_information() for name in build_report.COLLECTIONS],
        "collections": sorted(set(database.list_collection_names()) - {"system.profile"}),
        "profiler": database.command("profile", -1)["was"],
    }
