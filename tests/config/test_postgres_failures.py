"""What clients see while PostgreSQL is down, over the site's own pool and deadlines."""

import copy
import json

import pytest
from django.conf import settings
from django.db import OperationalError, ProgrammingError, connection, connections

from cachelayer import keys, store
from cachelayer.failures import unavailable_store
from config.postgres.base import DatabaseWrapper, breaker
from config.postgres.deadlines import DeadlineConnection, ServerSilent
from config.stack.process import wait_until
from tests.builders import make_note
from tests.cachelayer.test_reading import expire

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def restored(stack):
    yield stack
    stack.up()
    connection.close()


def assert_unavailable(response):
    assert response.status_code == 503
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["store"] == "postgres"
    assert int(response["Retry-After"]) >= 1


class TestPostgresDown:
    def test_what_needs_it_is_a_503_that_names_it(self, api, restored):
        note_id = make_note()
        restored.kill("postgres")

        for response in (
            api.get(f"/api/v1/notes/{note_id}"),
            api.get("/api/v1/notes"),
            api.post("/api/v1/notes", json.dumps({"title": "x"}), "application/json"),
            api.delete(f"/api/v1/notes/{note_id}"),
        ):
            assert_unavailable(response)

    def test_what_is_cached_is_served(self, api, restored):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        restored.kill("postgres")

        response = api.get(f"/api/v1/notes/{note_id}")

        assert response.status_code == 200
        assert "hit; ttl=" in response["Cache-Status"]

    def test_past_its_time_it_is_served_and_marked_stale(self, api, restored):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        expire(keys.note(note_id))
        restored.kill("postgres")

        response = api.get(f"/api/v1/notes/{note_id}")

        assert response.status_code == 200
        assert response["Cache-Status"].startswith("trilith; hit; ttl=-")
        assert response["Cache-Status"].endswith("; detail=stale")

    def test_what_was_changed_is_not_served_from_before_the_change(self, api, restored):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        api.patch(f"/api/v1/notes/{note_id}", json.dumps({"title": "x"}), "application/json")
        restored.kill("postgres")

        assert_unavailable(api.get(f"/api/v1/notes/{note_id}"))

    def test_a_bypass_is_a_503_and_leaves_the_copy(self, api, restored):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        restored.kill("postgres")

        assert_unavailable(api.get(f"/api/v1/notes/{note_id}?cache=false"))
        assert store.look(keys.note(note_id)).fresh


class TestDeadlineConnection:
    def test_gives_up_on_a_server_that_does_not_answer(self, restored, monkeypatch):
        monkeypatch.setattr(DeadlineConnection, "net_timeout_seconds", 0.2)
        with DeadlineConnection.connect(settings.DATABASE_URL) as asked:
            asked.execute("SELECT 1")
            restored.pause("postgres")

            with pytest.raises(ServerSilent, match=r"no answer from PostgreSQL within 0\.2 s"):
                asked.execute("SELECT 1")

            assert asked.closed

    def test_leaves_a_server_that_answers_in_time_alone(self):
        with DeadlineConnection.connect(settings.DATABASE_URL) as asked:
            assert asked.execute("SELECT pg_sleep(0.1), 1").fetchone()[1] == 1


class TestUnavailableStore:
    @pytest.mark.parametrize(
        ("exc", "name"),
        [
            (OperationalError(), "postgres"),
            (ServerSilent(), None),  # psycopg's own; Django wraps it into its OperationalError
            (ValueError(), None),
            (None, None),
        ],
    )
    def test_knows_a_silent_store_by_its_error(self, exc, name):
        assert unavailable_store(exc) == name

    def test_looks_at_causes(self):
        outer = RuntimeError()
        outer.__cause__ = OperationalError()

        assert unavailable_store(outer) == "postgres"


class TestBreaker:
    """The site's own backend: a pool, deadlines, and no waiting while the server is silent."""

    @pytest.fixture
    def pooled(self, settings, restored):
        """A connection as the site has it, beside the tests' own."""
        connections["default"].close()
        told = copy.deepcopy(connections["default"].settings_dict)
        told["OPTIONS"]["pool"] = {
            "min_size": 1,
            "max_size": 2,
            "timeout": 0.3,
            "connection_class": DeadlineConnection,
        }
        wrapper = DatabaseWrapper(told, "default")
        yield wrapper
        wrapper.close()
        wrapper.close_pool()
        breaker.reset()

    def ask(self, wrapper):
        try:
            with wrapper.cursor() as cursor:
                cursor.execute("SELECT 1")
                return cursor.fetchone()
        finally:
            wrapper.close()

    def test_opens_with_the_first_lost_connection_and_then_fails_at_once(self, pooled, restored):
        assert self.ask(pooled) == (1,)
        restored.kill("postgres")

        with pytest.raises(OperationalError):
            self.ask(pooled)

        assert breaker.is_open
        with pytest.raises(OperationalError, match="does not answer"):
            self.ask(pooled)

    def test_opens_where_the_server_is_frozen(self, pooled, restored, monkeypatch):
        monkeypatch.setattr(DeadlineConnection, "net_timeout_seconds", 0.3)
        self.ask(pooled)
        restored.pause("postgres")

        with pytest.raises(OperationalError, match="no answer from PostgreSQL"):
            self.ask(pooled)

        assert breaker.is_open

    def test_closes_by_itself_when_the_server_is_back(self, pooled, restored):
        self.ask(pooled)
        restored.kill("postgres")
        with pytest.raises(OperationalError):
            self.ask(pooled)

        restored.start("postgres")

        assert wait_until(lambda: not breaker.is_open and self.is_answered(pooled), 10)

    def is_answered(self, pooled) -> bool:
        """Whether the pool, which fills itself again in the background, has a connection by now."""
        try:
            return self.ask(pooled) == (1,)
        except OperationalError:
            return False

    def test_a_statement_that_fails_for_its_own_reason_opens_nothing(self, pooled):
        with pytest.raises(ProgrammingError), pooled.cursor() as cursor:
            cursor.execute("SELECT nothing")

        assert not breaker.is_open

    def test_an_exhausted_pool_is_tried_again_soon(self, pooled):
        holders = [DatabaseWrapper(pooled.settings_dict, "default") for _ in range(2)]
        for holder in holders:
            holder.ensure_connection()
        with pytest.raises(OperationalError):
            self.ask(pooled)
        for holder in holders:
            holder.close()

        assert wait_until(lambda: not breaker.is_open, 5)
        assert self.ask(pooled) == (1,)
