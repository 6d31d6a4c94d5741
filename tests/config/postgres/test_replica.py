"""Reads from a real standby: which may use it, when the primary is used instead, and that it is never written."""

import io
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from unittest.mock import Mock

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DEFAULT_DB_ALIAS, InternalError, connection, connections, transaction
from django.test import Client
from django.utils import timezone
from psycopg import sql

from cachelayer.models import Clearance
from config.advisor import parameters
from config.explain import build_report
from config.explain.build_report import ReportOptions
from config.observability import capped_list, slow_queries
from config.observability.generic_plans import generic_plan
from config.postgres import outages, replica
from config.postgres.deadlines import ReplicaConnection
from config.postgres.url import replica_from_url
from config.stack import ROOT, process
from config.stack.postgres import Postgres
from config.stack.server import ENVIRONMENT
from notes import services
from profiles.documents import UserProfile
from tests.builders import make_note
from tests.config.explain.conftest import empty, fill

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/notes/note/"
SECONDS = 30  # generous: until the standby has replayed, or was noticed to be back


class Standby(Postgres):
    """A second server, which streams from the first and has its roles and databases."""

    name = "standby"

    def __init__(self, primary: Postgres) -> None:
        super().__init__(primary.folder.parent / "standby", process.free_port(), primary.passwords)
        self.primary = primary

    def _initdb(self, binary) -> None:
        self.data.mkdir(mode=0o700)
        if os.geteuid() == 0 and self._nobody_can_reach(binary):
            nobody = pwd.getpwnam("nobody")
            os.chown(self.data, nobody.pw_uid, nobody.pw_gid)
        process.run(
            [
                *self._as_ordinary_user(),
                *(binary.path / "pg_basebackup", "-D", self.data, "-U", "postgres"),
                *("-h", "127.0.0.1", "-p", str(self.primary.port)),
                *("--checkpoint=fast", "--no-sync", "--write-recovery-conf"),
            ],
            environment=ENVIRONMENT | {"PGPASSWORD": self.passwords["postgres_superuser"]},
            identity=self.identity(),
        )
        self._made.touch()

    def settle(self) -> None:
        """Create nothing: it gets all of that from the primary."""

    def execute(self, statement) -> None:
        with self._superuser("postgres") as session:
            session.execute(statement)

    @property
    def is_paused(self) -> bool:
        with self._superuser("postgres") as session:
            row = session.execute("SELECT pg_get_wal_replay_pause_state()").fetchone()
        return row == ("paused",)


@pytest.fixture(scope="module")
def standby(stack) -> Iterator[Standby]:
    server = Standby(stack._one("postgres"))
    server.start()
    yield server
    server.stop()


@contextmanager
def configured(url: str):
    """The replica as settings.py configures it."""
    primary = connections[DEFAULT_DB_ALIAS].settings_dict
    entry = replica_from_url(url, primary=primary)
    connections.settings["replica"] = primary | entry | {"TEST": primary["TEST"]}
    wrapper = connections["replica"]

    def ensure_connection() -> None:
        """Connect as Django does; during a test it refuses every alias that was not there before."""
        if wrapper.connection is None:
            with wrapper.wrap_database_errors:
                wrapper.connect()

    wrapper.ensure_connection = ensure_connection
    try:
        yield
    finally:
        connections["replica"].close()
        del connections["replica"]
        del connections.settings["replica"]
        replica.breaker.reset()


def url_of(server: Postgres) -> str:
    return server.url.rpartition("/")[0] + "/" + connection.settings_dict["NAME"]


@pytest.fixture
def current(standby, settings):
    """The standby in use, which has replayed everything."""
    settings.REPLICA_LAG_MAX_SECONDS = 60.0
    standby.start()
    with configured(url_of(standby)):
        assert process.wait_until(is_replayed, SECONDS)
        yield standby
        standby.start()
        standby.execute("SELECT pg_wal_replay_resume()")


def is_replayed() -> bool:
    return replica.state() == replica.State(replica.USED, 0.0)


def pause(standby: Standby) -> None:
    """From now on the standby shows what it has at present."""
    assert process.wait_until(is_replayed, SECONDS)
    standby.execute("SELECT pg_wal_replay_pause()")
    assert process.wait_until(lambda: standby.is_paused, SECONDS)


@pytest.fixture
def staff(settings) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root"))
    return client


def figures() -> dict:
    return Client().get("/api/v1/metrics/db").json()["postgres"]["replica"]


def reads(kind: str) -> int:
    return figures()["reads"].get(kind, 0)


def rename(note_id: object) -> None:
    services.note_update(note_id=note_id, caller=None, title="new title")


@pytest.fixture
def note_id(current) -> object:
    """A note whose new title the standby does not have."""
    note_id = make_note(title="old title")
    pause(current)
    rename(note_id)
    return note_id


@contextmanager
def statements_on_replica():
    """Record what is sent to the replica."""
    sent: list[str] = []

    def record(execute, statement, params, many, context):
        sent.append(statement)
        return execute(statement, params, many, context)

    with connections["replica"].execute_wrapper(record):
        yield sent


class TestReadsOfTheReplica:
    """While replay is paused the standby shows what was: by this, each read says where it was made."""

    @pytest.fixture
    def rows(self, current):
        fill(notes=300, events=100, users=5)
        assert process.wait_until(is_replayed, SECONDS)
        yield
        empty()

    def test_lists_and_counts_of_the_admin(self, staff, current):
        make_note(title="old title")
        pause(current)  # with the session of staff
        make_note(title="second note")

        page = staff.get(LIST).content.decode()

        assert "old title" in page
        assert "second note" not in page
        assert "1 note" in page
        assert "old title" not in staff.get(f"{LIST}?q=second").content.decode()

    def test_exports(self, note_id, tmp_path):
        call_command("export_notes", tmp_path / "notes", user_id="abc", stdout=io.StringIO())

        [file] = (tmp_path / "notes").iterdir()
        assert "old title" in file.read_text()

    def test_generic_plans(self, current):
        with statements_on_replica() as sent:
            plan = generic_plan("SELECT id FROM notes WHERE user_id = %s")

        assert "notes" in plan
        assert any("GENERIC_PLAN" in statement for statement in sent)

    def test_reports(self, current, rows):
        with statements_on_replica() as sent:
            report = build_report.build(ReportOptions(runs=1), on_progress=lambda step: None)

        assert report.environment.postgres.endswith("(the replica)")
        assert {"SET LOCAL random_page_cost = 1.1", "SET LOCAL enable_seqscan = off"} <= set(sent)
        explained = [statement for statement in sent if statement.startswith("EXPLAIN (ANALYZE")]
        assert len(explained) > len(report.queries)

    def test_index_advice_takes_its_sample_there(self, note_id):
        [row] = parameters.sample_rows(["notes"])["notes"][:1]

        assert row["title"] == "old title"

    def test_slow_statements_of_requests_are_kept_too(self, staff, current, settings):
        settings.SLOW_QUERY_MS = 0
        assert process.wait_until(is_replayed, SECONDS)

        staff.get(LIST)

        capped_list.flush()
        kept = [shape["statement"] for shape in slow_queries.slow_statements("postgres")]
        assert any("pg_last_wal_replay_lsn() >=" in statement for statement in kept)


class TestReadsOfThePrimary:
    def test_no_statement_of_the_api_and_no_load_of_the_cache_is_sent_to_the_replica(
        self, note_id, settings
    ):
        """Every endpoint, first past the cache, then through it, as a load and as a hit."""
        settings.ADMIN_TOKEN = "a-token-of-staff"
        settings.PROFILE_BACKEND = "postgres"
        UserProfile.objects.delete()
        client = Client(
            headers={"X-User-Id": "abc", "Authorization": "Bearer a-token-of-staff"},
            raise_request_exception=False,
        )
        note, profile = f"/api/v1/notes/{note_id}", "/api/v1/profiles/abc"
        with statements_on_replica() as sent:
            body = {"user_id": "abc", "email": "abc@example.org"}
            created = client.post(
                "/api/v1/profiles", body, "application/json", headers={"X-User-Id": "abc"}
            )
            assert created.status_code == HTTPStatus.CREATED, created.content
            for path in (
                *(
                    note,
                    "/api/v1/notes",
                    "/api/v1/notes?userId=abc",
                    "/api/v1/notes?userId=abc&page=2",
                ),
                *("/api/v1/notes?q=title", "/api/v1/notes?cursor=", profile),
                *("/api/v1/profiles/postgres/abc", "/api/v1/profiles/mongo/abc"),
            ):
                separator = "&" if "?" in path else "?"
                replies = [
                    client.get(f"{path}{suffix}") for suffix in (f"{separator}cache=false", "", "")
                ]
                for reply in replies:
                    assert reply.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, (
                        path,
                        reply.content,
                    )
                    assert b"old title" not in reply.content, path
            assert client.get(note).json()["title"] == "new title"
            for path in ("/api/v1/metrics/db", "/api/v1/metrics/cache", "/health", "/metrics"):
                assert client.get(path).status_code == HTTPStatus.OK
            assert client.get(f"/api/v1/admin/cache/explain?key=notes:{note_id}").status_code == 200
            for method, path, sent_body in (
                ("POST", "/api/v1/notes", {"title": "x"}),
                ("PATCH", note, {"title": "newer title"}),
                ("PUT", note, {"title": "newest title", "content": "y"}),
                ("POST", "/api/v1/admin/cache/clear", None),
                ("DELETE", note, None),
            ):
                assert (
                    client.generic(
                        method,
                        path,
                        b"" if sent_body is None else json.dumps(sent_body),
                        "application/json",
                    ).status_code
                    < 300
                ), path

        assert sent == []

    def test_forms_and_actions_of_the_admin(self, note_id, staff):
        form = staff.get(f"{LIST}{note_id}/change/")
        assert "new title" in form.content.decode()

        with statements_on_replica() as sent:
            done = staff.post(
                LIST, {"action": "drop_cached_copies", "_selected_action": [str(note_id)]}
            )

        assert done.status_code == HTTPStatus.FOUND
        assert sent == []

    def test_inside_a_transaction(self, current):
        with transaction.atomic():
            assert replica.choose() == DEFAULT_DB_ALIAS
        assert replica.choose() == "replica"

    def test_without_a_replica_nothing_is_counted(self):
        assert replica.choose() == DEFAULT_DB_ALIAS
        assert figures() is None
        assert "postgres_replica_lag_seconds" not in Client().get("/metrics").content.decode()


class TestLag:
    def test_a_standby_that_lags_more_is_not_used(self, current, settings, staff):
        note_id = make_note(title="old title")
        pause(current)
        assert "old title" in staff.get(LIST).content.decode()
        rename(note_id)
        settings.REPLICA_LAG_MAX_SECONDS = 0.001
        before = reads("lagging")

        assert process.wait_until(lambda: figures()["lag_seconds"] > 0.001, SECONDS)
        assert "new title" in staff.get(LIST).content.decode()

        shown = figures()
        assert (shown["state"], shown["lag_max_seconds"]) == ("lagging", 0.001)
        assert shown["reads"]["lagging"] == before + 1
        metrics = Client().get("/metrics").content.decode()
        assert "postgres_replica_used 0.0" in metrics
        assert "postgres_replica_lag_seconds " in metrics
        current.execute("SELECT pg_wal_replay_resume()")
        assert process.wait_until(lambda: replica.choose() == "replica", SECONDS)

    def test_an_idle_primary_makes_no_lag(self, current, settings):
        """The last transaction is longer ago than the lag that is allowed; the standby has all."""
        make_note()
        assert process.wait_until(is_replayed, SECONDS)
        with psycopg.connect(url_of(current)) as session:
            [last] = session.execute("SELECT pg_last_xact_replay_timestamp()").fetchone()
        settings.REPLICA_LAG_MAX_SECONDS = 0.001
        assert process.wait_until(lambda: timezone.now() - last > timedelta(seconds=0.05), SECONDS)

        assert process.wait_until(lambda: replica.choose() == "replica", SECONDS)
        assert process.wait_until(is_replayed, SECONDS)

    def test_a_standby_that_is_cut_off_lags(self, current, settings):
        """It has replayed all that it has received, and knows of no more."""
        settings.REPLICA_LAG_MAX_SECONDS = 0.001
        with psycopg.connect(current.operator_url) as session:
            [conninfo] = session.execute("SHOW primary_conninfo").fetchone()
        current.execute("ALTER SYSTEM SET primary_conninfo = ''")
        current.execute("SELECT pg_reload_conf()")
        try:
            with psycopg.connect(url_of(current), autocommit=True) as session:
                assert process.wait_until(
                    lambda: (
                        session.execute("SELECT * FROM pg_stat_wal_receiver").fetchone() is None
                    ),
                    SECONDS,
                )
            make_note()

            assert process.wait_until(lambda: figures()["state"] == "lagging", SECONDS)
            assert replica.choose() == DEFAULT_DB_ALIAS
        finally:
            current.execute(
                sql.SQL("ALTER SYSTEM SET primary_conninfo = {}").format(sql.Literal(conninfo))
            )
            current.execute("SELECT pg_reload_conf()")
        assert process.wait_until(is_replayed, SECONDS)


class TestFailures:
    def test_a_standby_that_is_down_is_not_used(self, current, tmp_path):
        make_note(title="a title")
        assert process.wait_until(is_replayed, SECONDS)
        before = reads("silent")
        current.kill()

        call_command("export_notes", tmp_path / "notes", user_id="abc", stdout=io.StringIO())

        assert len(list((tmp_path / "notes").iterdir())) == 1
        shown = figures()
        assert (shown["state"], shown["lag_seconds"]) == ("silent", None)
        assert shown["reads"]["silent"] > before
        assert not outages.breaker.is_open
        current.start()
        assert process.wait_until(lambda: replica.choose() == "replica", SECONDS)

    def test_a_standby_that_is_frozen_is_waited_for_once(self, current, staff, monkeypatch):
        monkeypatch.setattr(ReplicaConnection, "net_timeout_seconds", 0.5)
        make_note(title="a title")
        assert process.wait_until(is_replayed, SECONDS)
        assert replica.choose() == "replica"  # the session is open
        current.pause()
        try:
            assert "a title" in staff.get(LIST).content.decode()
            assert replica.breaker.is_open
            assert not outages.breaker.is_open
            with statements_on_replica() as sent:
                assert "a title" in staff.get(LIST).content.decode()
            assert sent == []
        finally:
            current.resume()
        assert process.wait_until(lambda: replica.choose() == "replica", SECONDS)

    def test_a_read_that_fails_there_is_made_on_the_primary(self, current):
        before = reads("failed")

        def read(using: str) -> str:
            with connections[using].cursor() as cursor:
                if using == "replica":
                    cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
                return using

        assert replica.run(read) == DEFAULT_DB_ALIAS
        assert reads("failed") == before + 1
        assert replica.run(lambda using: using) == "replica"

    def test_a_server_that_is_no_standby_is_not_used(self, stack):
        """As after its promotion: nothing says that it still has what the primary has."""
        with configured(url_of(stack._one("postgres"))):
            assert replica.choose() == DEFAULT_DB_ALIAS
            assert figures()["state"] == "not_standby"

    def test_while_the_primary_is_away_the_metrics_say_that_nothing_is_known(
        self, current, monkeypatch
    ):
        away = psycopg.OperationalError("away")
        monkeypatch.setattr(outages.breaker, "_recover", Mock(side_effect=away))
        outages.breaker.failed(away, opens=True)
        try:
            assert figures()["state"] == "unknown"
        finally:
            outages.breaker.reset()


class TestWrites:
    def test_are_refused_by_the_session_and_say_nothing_of_the_primary(self, stack):
        """Even where the URL names the primary, by mistake."""
        url = f"{url_of(stack._one('postgres'))}?options=-c%20default_transaction_read_only%3Doff"
        with configured(url):
            with pytest.raises(InternalError, match="read-only"):
                Clearance.objects.using("replica").create(namespaces=["notes"], cleared_by="abc")

            assert not outages.writing.is_open

    def test_migrations_are_refused(self, stack):
        with (
            configured(url_of(stack._one("postgres"))),
            pytest.raises(CommandError, match="replica is never migrated"),
        ):
            call_command("migrate", database="replica", stdout=io.StringIO())


# What the settings make of both URLs: the choice, and the session that it leads to.
_SHOW = """
from django.db import connections
from config.postgres import replica
with connections[replica.choose()].cursor() as cursor:
    cursor.execute("SELECT pg_is_in_recovery(), current_setting('transaction_read_only'),"
                   " current_setting('statement_timeout')")
    print(*cursor.fetchone())
"""


class TestSettings:
    def manage(self, standby: Standby, *arguments: str, **environment: str) -> str:
        urls = {"DATABASE_URL": url_of(standby.primary), "DATABASE_REPLICA_URL": url_of(standby)}
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=os.environ | urls | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @pytest.mark.parametrize(
        "command",
        [
            ["check", "--deploy", "--fail-level", "WARNING"],
            ["makemigrations", "--check", "--dry-run"],
        ],
    )
    def test_checks_pass(self, current, command):
        self.manage(
            current,
            *command,
            HTTPS="true",
            TRUSTED_PROXIES="1",
            ALLOWED_HOSTS="trilith.example",
            AUTHENTICATION="session",
        )

    @pytest.mark.parametrize(("serves", "timeout"), [("true", "2s"), ("false", "0")])
    def test_sessions_are_read_only_and_have_the_time_limits_of_the_primary(
        self, current, serves, timeout
    ):
        shown = self.manage(
            current, "shell", "--no-imports", "-c", _SHOW, SERVES_REQUESTS=serves
        ).splitlines()

        assert shown[-1:] == [f"True on {timeout}"]
