"""The database backend: statements that PostgreSQL plans once for each connection."""

import pytest
from django.db import connection
from django.db.backends.postgresql.base import Cursor

from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)


class TracedCursor(Cursor):
    """What OpenTelemetry puts in the place of Django's cursors."""


def prepared() -> list[tuple[str, int]]:
    """Return the end of each prepared statement of this connection, and how often it was executed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(statement, 30), generic_plans + custom_plans FROM pg_prepared_statements"
        )
        return cursor.fetchall()


@pytest.fixture
def own_connection():
    """A connection of this test alone."""
    connection.close()
    connection.ensure_connection()
    yield connection.connection
    connection.close()


class TestPreparedCursor:
    def test_a_write_is_prepared_once_for_the_requests_of_an_endpoint(self, site, api):
        path = f"/api/v1/notes/{make_note(user_id='abc')}"

        for number in range(3):
            reply = api.patch(
                path,
                {"title": str(number)},
                content_type="application/json",
                headers={"X-User-Id": "abc", "X-Request-ID": f"r/{number}"},
            )
            assert reply.status_code == 200

        ends = [row for row in prepared() if "endpoint" in row[0]]
        assert ends == [(" announced /*endpoint='note'*/", 3)]

    def test_is_an_ordinary_one_behind_a_pooler(self, own_connection):
        own_connection.prepare_threshold = None

        with connection.prepared_cursor() as cursor:
            cursor.execute("SELECT %s::int", [1])

        assert prepared() == []

    def test_is_an_ordinary_one_where_cursors_are_traced(self, own_connection):
        own_connection.cursor_factory = TracedCursor

        with connection.prepared_cursor() as cursor:
            assert isinstance(cursor.cursor, TracedCursor)

    def test_leaves_other_cursors_as_they_are(self, own_connection):
        with connection.prepared_cursor() as cursor:
            cursor.execute("SELECT %s::int", [1])
            assert len(prepared()) == 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::int + 1", [1])

        assert len(prepared()) == 1
