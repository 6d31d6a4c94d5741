"""What the cache forgets when its stores were restored."""

import pytest
from django.contrib.sessions.backends.cached_db import SessionStore
from django.db import connection

from cachelayer import outbox
from cachelayer.models import OutboxRow
from config.stack.process import wait_until
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _empty_outbox(_own_cache, transactional_db) -> None:
    OutboxRow.objects.all().delete()


@pytest.fixture
def cached(api):
    """Whether a note that was read is served from its copy."""
    path = f"/api/v1/notes/{make_note()}"
    api.get(path)
    assert "hit" in api.get(path)["Cache-Status"]
    return lambda: "hit" in api.get(path)["Cache-Status"]


def forget() -> None:
    with connection.cursor() as cursor:
        outbox.invalidate_restored(cursor)


class TestForget:
    def test_is_done_at_the_latest_by_the_next_who_renews_the_lease(self, cached):
        forget()

        assert wait_until(lambda: not cached(), 30)
        assert outbox.depth_and_age()[0] == 1  # for the relay


class TestDeliver:
    def test_no_copy_of_any_namespace_is_served_afterwards(self, cached):
        forget()

        assert outbox.deliver_restored()

        assert outbox.depth_and_age()[0] == 0
        assert not cached()

    def test_a_session_that_the_database_has_not_is_none(self):
        session = SessionStore()
        session["from"] = "after the backup"
        session.save()
        session.model.objects.all().delete()
        assert SessionStore(session.session_key).load()  # from Redis

        forget()
        outbox.deliver_restored()

        assert not SessionStore(session.session_key).load()

    def test_what_cannot_be_delivered_waits(self, stack, closed_breaker):
        forget()
        stack.kill("redis")
        try:
            assert not outbox.deliver_restored()
        finally:
            stack.start("redis")

        assert outbox.depth_and_age()[0] == 1
