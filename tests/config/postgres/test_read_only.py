"""A read-only PostgreSQL: by its settings, by a database's settings, and as a real standby."""

import json
import shutil
import threading
from contextlib import contextmanager
from http import HTTPStatus
from uuid import uuid4

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import InternalError, connection
from django.test import Client
from psycopg import sql

from cachelayer import outbox
from cachelayer.models import OutboxRow
from cachelayer.relay import Relay
from config.postgres import outages
from config.stack.process import wait_until
from profiles.change_stream import Watcher
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "a-token-of-staff"
PROFILE = {"user_id": "abc", "email": "abc@example.org"}


@pytest.fixture
def operator(stack):
    """A connection with every right that stays writable itself."""
    url = stack.operator_urls()["DATABASE_URL"]
    with psycopg.connect(
        url, autocommit=True, options="-c default_transaction_read_only=off"
    ) as session:
        yield session


@pytest.fixture
def by_setting(operator):
    """Make the server read-only at will: sessions that are open see it, too."""

    def switch(state: str) -> None:
        operator.execute(f"ALTER SYSTEM SET default_transaction_read_only = {state}")
        operator.execute("SELECT pg_reload_conf()")
        assert wait_until(
            lambda: read_only_state(operator.info.dsn, operator.info.password) == state, 30
        )

    yield switch
    operator.execute("ALTER SYSTEM RESET default_transaction_read_only")
    operator.execute("SELECT pg_reload_conf()")
    assert wait_until(
        lambda: read_only_state(operator.info.dsn, operator.info.password) == "off", 30
    )


def read_only_state(dsn: str, password: str) -> str:
    """What a new session starts with, by the server's own settings."""
    with psycopg.connect(dsn, password=password, options="") as session:
        return session.execute("SHOW default_transaction_read_only").fetchone()[0]


@pytest.fixture
def by_database(operator):
    """Make the tests' database read-only at will: only sessions that begin later see it."""
    name = sql.Identifier(connection.settings_dict["NAME"])
    change = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")

    def switch(state: str) -> None:
        operator.execute(change.format(name, sql.SQL(state)))

    yield switch
    operator.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))


@contextmanager
def standby(stack):
    """Restart the server as a standby; promote it at the end, if that was not done before."""
    data = stack.folder / "postgres" / "data"
    stack.stop("postgres")
    signal = data / "standby.signal"
    signal.touch()
    owner = (data / "PG_VERSION").stat()
    shutil.chown(signal, owner.st_uid, owner.st_gid)
    stack.start("postgres")
    try:
        yield
    finally:
        promote(stack)


def promote(stack) -> None:
    with psycopg.connect(stack.operator_urls()["DATABASE_URL"], autocommit=True) as session:
        if session.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
            assert session.execute("SELECT pg_promote()").fetchone() == (True,)


@pytest.fixture
def staff(settings):
    settings.ADMIN_TOKEN = TOKEN
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root"))
    return client


def send(method: str, path: str, body: object = None, **headers: str):
    client = Client(headers={"X-User-Id": "abc"}, raise_request_exception=False)
    return client.generic(
        method, path, b"" if body is None else json.dumps(body), "application/json", headers=headers
    )


def writes(note_id: object, *, has_profile: bool):
    """Every write of the API."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    note, profile = f"/api/v1/notes/{note_id}", "/api/v1/profiles/abc"
    yield send("POST", "/api/v1/notes", {"title": "x"})
    yield send("POST", "/api/v1/notes", {"title": "x"}, **{"Idempotency-Key": str(uuid4())})
    yield send("POST", "/api/v1/notes/bulk", {"notes": [{"title": "x"}]})
    yield send("PATCH", note, {"title": "x"})
    yield send("PUT", note, {"title": "x", "content": "y"})
    yield send("DELETE", note)
    yield send("POST", "/api/v1/notes/bulk/delete", {"ids": [str(note_id)]})
    if has_profile:
        yield send("PUT", profile, {"email": "new@example.org", "preferences": {}})
        yield send("PATCH", f"{profile}/preferences", {"theme": "dark"})
        yield send("DELETE", profile)
    else:
        yield send("POST", "/api/v1/profiles", PROFILE)
    yield send("POST", "/api/v1/admin/cache/clear", **bearer)
    yield send("DELETE", "/api/v1/admin/cache/clear?namespace=notes", **bearer)


def assert_refused(response) -> None:
    assert response.status_code == HTTPStatus.SERVICE_UNAVAILABLE, response.content
    assert response["Content-Type"] == "application/problem+json"
    assert int(response["Retry-After"]) >= 1
    problem = response.json()
    assert problem["store"] == "postgres"
    assert "read-only" in problem["detail"]


def assert_reads_go_on(note_id: object) -> None:
    for path in (f"/api/v1/notes/{note_id}", "/api/v1/notes", "/api/v1/notes?userId=abc&q=title"):
        assert send("GET", path).status_code == 200
        again = send("GET", path)
        assert again.status_code == 200
        assert "hit" in again["Cache-Status"]
        bypass = "&cache=false" if "?" in path else "?cache=false"
        assert send("GET", path + bypass).status_code == 200


def assert_health_says_so() -> None:
    for path in ("/health", "/health/ready"):
        response = Client().get(path)
        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        postgres = response.json()["postgres"]
        assert (postgres["status"], postgres["reason"]) == ("ok", "read-only")
        assert Client().get(f"{path}?strict=1").status_code == 503
    assert "read-only" in Client().get("/health?format=text").content.decode()


class TestWrites:
    @pytest.mark.parametrize("store", ["mongo", "postgres"])
    def test_are_refused_while_reads_go_on(self, site, staff, by_setting, settings, store):
        settings.PROFILE_BACKEND = store
        ProfileRow.objects.all().delete()
        UserProfile.objects.delete()
        note_id = make_note()
        by_setting("on")

        for response in writes(note_id, has_profile=False):
            assert_refused(response)

        assert_reads_go_on(note_id)
        assert_health_says_so()
        by_setting("off")
        assert [response.status_code for response in writes(note_id, has_profile=False)] == [
            *(201, 201, 201, 200, 200, 204, 200, 201, 200, 200)
        ]
        # Degraded until there is a lease again.
        assert wait_until(lambda: Client().get("/health").json()["status"] == "ok", 30)

    @pytest.mark.parametrize("store", ["mongo", "postgres"])
    def test_change_no_profile(self, site, staff, by_setting, settings, store):
        settings.PROFILE_BACKEND = store
        ProfileRow.objects.all().delete()
        UserProfile.objects.delete()
        assert send("POST", "/api/v1/profiles", PROFILE).status_code == 201
        before = send("GET", "/api/v1/profiles/abc").json()
        note_id = make_note()
        by_setting("on")

        for response in writes(note_id, has_profile=True):
            assert_refused(response)

        for query in ("", "?cache=false"):
            assert send("GET", f"/api/v1/profiles/abc{query}").json() == before

    def test_of_the_admin_are_refused_too(self, site, staff, by_setting):
        note_id = make_note()
        by_setting("on")

        for path, form in (
            ("/admin/notes/note/add/", {"user_id": "abc", "title": "x", "content": "y"}),
            (f"/admin/notes/note/{note_id}/delete/", {"post": "yes"}),
            ("/admin/cachelayer/clearance/clear/", {"namespaces": ["notes"]}),
        ):
            assert_refused(staff.post(path, form))
        assert staff.get(f"/admin/notes/note/{note_id}/change/").status_code == 200


def is_full(stats: dict[str, int]) -> bool:
    """Whether all connections of a pool are there, and none is in use."""
    return stats["pool_available"] == stats["pool_size"]


class TestRecovery:
    def make_stale(self, site, by_database) -> None:
        """Have the pool hold sessions that began while the database was read-only."""
        make_note()
        by_database("on")
        site.close()
        for _ in range(2):  # a session that was just beginning may have begun before the change
            site.pool.drain()
            assert wait_until(lambda: is_full(site.pool.get_stats()), 30)

    def test_replaces_pooled_sessions_that_are_read_only_still(self, site, by_database):
        self.make_stale(site, by_database)
        assert_refused(send("POST", "/api/v1/notes", {"title": "x"}))
        assert outages.writing.is_open
        site.close()
        assert_refused(send("POST", "/api/v1/notes", {"title": "x"}))
        site.close()

        by_database("off")

        assert wait_until(lambda: not outages.writing.is_open, 30)  # without any request
        assert send("POST", "/api/v1/notes", {"title": "x"}).status_code == 201

    def test_replaces_those_that_lead_to_a_server_which_was_demoted(self, site, by_database):
        """New sessions may write, as on the new primary; the pool's lead to the old one."""
        self.make_stale(site, by_database)
        by_database("off")

        assert_refused(send("POST", "/api/v1/notes", {"title": "x"}))
        site.close()

        assert wait_until(lambda: not outages.writing.is_open, 30)
        assert send("POST", "/api/v1/notes", {"title": "x"}).status_code == 201

    def test_follows_a_standby_that_is_promoted(self, site, stack, staff):
        note_id = make_note()
        send("GET", f"/api/v1/notes/{note_id}")
        site.close()
        with standby(stack):
            assert wait_until(
                lambda: send("GET", "/api/v1/notes?cache=false").status_code == 200, 30
            )
            site.close()
            for response in writes(note_id, has_profile=False):
                assert_refused(response)
            assert_reads_go_on(note_id)
            assert_health_says_so()
            site.close()

            promote(stack)

            assert wait_until(lambda: not outages.writing.is_open, 30)
            assert send("PATCH", f"/api/v1/notes/{note_id}", {"title": "new"}).status_code == 200
            # Degraded until there is a lease again.
            assert wait_until(lambda: Client().get("/health").json()["status"] == "ok", 30)


class TestThreads:
    @contextmanager
    def running(self, thing):
        thread = threading.Thread(target=thing.run)
        thread.start()
        try:
            yield thread
        finally:
            thing.stop()
            thread.join(30)
            assert not thread.is_alive()

    def test_the_relay_delivers_once_it_may_write_again(self, by_setting):
        relay = Relay()
        with self.running(relay) as thread:
            outbox.add(["word:one"])
            assert wait_until(lambda: not OutboxRow.objects.exists(), 30)
            OutboxRow.objects.create(tags=["word:two"], due_at="2100-01-01T00:00Z", is_intent=True)
            by_setting("on")
            with pytest.raises(InternalError):
                outbox.deliver()
            assert wait_until(lambda: not relay.leads, 30)  # it met the same error
            assert thread.is_alive()
            by_setting("off")
            OutboxRow.objects.update(due_at="2000-01-01T00:00Z")

            assert wait_until(lambda: not OutboxRow.objects.exists(), 30)

    def test_the_watcher_copies_what_changed_meanwhile(self, by_setting, settings):
        settings.PROFILE_BACKEND = "mongo"
        UserProfile.objects.delete()
        ProfileRow.objects.all().delete()
        assert send("POST", "/api/v1/profiles", PROFILE).status_code == 201
        watcher = Watcher()
        with self.running(watcher) as thread:
            assert wait_until(lambda: watcher.watches, 30)
            by_setting("on")
            UserProfile.objects.update(set__email="edited@example.org")
            assert wait_until(lambda: not watcher.watches, 30)  # it could not copy that
            assert thread.is_alive()
            by_setting("off")

            assert wait_until(
                lambda: ProfileRow.objects.get(pk="abc").email == "edited@example.org", 30
            )
