"""The site behind a real PgBouncer in transaction mode, with the configuration that ships."""

import configparser
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.stack import ROOT, process
from config.stack.loopback import direct
from config.stack.postgres import Postgres
from config.stack.process import StackError
from config.stack.server import Binary, Server
from config.stack.site import is_answering, site_command

EXAMPLE = ROOT / "config" / "deploy" / "pgbouncer.ini"
DATABASE = "behind_pooler"  # the site's of these tests
SECONDS = 60  # generous: until something is noticed


class PgBouncer(Server):
    """The shipped example before the tests' PostgreSQL, on another port; changes are by option."""

    name = "pgbouncer"
    has_time_limit = True

    def __init__(self, postgres: Postgres, name: str = "pgbouncer", **changes: str) -> None:
        folder = postgres.folder.parent / name
        super().__init__(folder, process.free_port(), postgres.passwords)
        self.postgres = postgres
        self.changes = changes

    @property
    def marker(self) -> str:
        return str(self.folder / "pgbouncer.ini")

    @property
    def url(self) -> str:
        return f"postgresql://trilith:{self.passwords['postgres']}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def operator_url(self) -> str:
        return self.url

    def binary(self) -> Binary:
        path = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if path is None:
            raise StackError(
                "these tests need PgBouncer: apt-get install pgbouncer (Debian, Ubuntu)"
            )
        return Binary(Path(path), "the system")

    def prepare(self, binary: Binary) -> None:
        configuration = configparser.ConfigParser(interpolation=None)
        configuration.read(EXAMPLE)
        example = configuration["databases"].pop("trilith")
        assert "port=5432 dbname=trilith" in example
        configuration["databases"][DATABASE] = example.replace(
            "port=5432 dbname=trilith", f"port={self.postgres.port} dbname={DATABASE}"
        )
        if not self.has_time_limit:
            databases = configuration["databases"]
            databases[DATABASE] = databases[DATABASE].partition(" connect_query=")[0]
        users = self.folder / "userlist.txt"
        own = {"listen_port": str(self.port), "auth_file": str(users), "unix_socket_dir": ""}
        configuration["pgbouncer"].update(own | self.changes)
        users.write_text(f'"trilith" "{self.passwords["postgres"]}"\n')
        with Path(self.marker).open("w") as file:
            configuration.write(file)
        self.folder.chmod(0o711)
        owner = self.postgres.identity()
        if owner:
            for owned in (users, Path(self.marker)):
                os.chown(owned, owner["user"], owner["group"])

    def identity(self) -> dict[str, Any]:
        return self.postgres.identity()  # it refuses to run as root, too

    def command(self, binary: Binary) -> list[str | Path]:
        return [*self.postgres._as_ordinary_user(), binary.path, self.marker]

    def answers(self) -> bool:
        return process.wait_until(lambda: not process.port_is_free(self.port), 5)

    def settle(self) -> None:
        """Create nothing."""

    def version(self) -> str:
        return "PgBouncer"


@pytest.fixture(scope="module")
def postgres(stack) -> Iterator[Postgres]:
    server = stack._one("postgres")
    with psycopg.connect(server.operator_url, autocommit=True) as session:
        session.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        session.execute(f"CREATE DATABASE {DATABASE} OWNER trilith")
    yield server
    server.start()
    with psycopg.connect(server.operator_url, autocommit=True) as session:
        session.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def direct_url(server: Postgres) -> str:
    return server.url.rpartition("/")[0] + f"/{DATABASE}"


@contextmanager
def running(server: PgBouncer) -> Iterator[PgBouncer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def pooler(postgres) -> Iterator[PgBouncer]:
    with running(PgBouncer(postgres)) as server:
        yield server


@pytest.fixture(scope="module")
def environment(stack, postgres, pooler, tmp_path_factory) -> dict[str, str]:
    """The environment of the site's processes, commands as well."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "metrics").mkdir()
    mongodb, _, options = stack.urls()["MONGODB_URI"].partition("?")
    return {
        **os.environ,
        "DATABASE_URL": pooler.url,
        "DATABASE_DIRECT_URL": direct_url(postgres),
        "MONGODB_URI": f"{mongodb.rpartition('/')[0]}/{DATABASE}?{options}",
        "REDIS_URL": stack.urls()["REDIS_URL"],
        "CACHE_PREFIX": DATABASE,
        "ACTIVITY_SPOOL_DIR": str(folder / "spool"),
        "CACHE_SLOTS_DIR": str(folder / "slots"),
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        "ADMIN_TOKEN": "a-token-of-staff",
        "LOG_LEVEL": "WARNING",
    }


def manage(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in environment.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def filled(environment) -> dict[str, str]:
    """The environment, after migrations and seed have been run in it."""
    for command in (
        ("migrate", "--no-input", "--verbosity=0"),
        ("mongo_indexes", "--ensure"),
        ("seed", "--size=small", "--if-empty"),
    ):
        done = manage(environment, *command)
        assert done.returncode == 0, done.stderr
        assert "config.E" not in done.stderr
        assert "config.W003" not in done.stderr
    return environment


@pytest.fixture(scope="module")
def site(filled, tmp_path_factory) -> Iterator[str]:
    """The URL of a site of two processes."""
    port = process.free_port()
    log = tmp_path_factory.mktemp("log") / "site.log"
    with log.open("wb") as sink:
        started = subprocess.Popen(
            site_command(port, workers=2, threads=8),
            cwd=ROOT,
            env=filled,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            preexec_fn=process.die_with_parent,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        assert process.wait_until(lambda: is_answering(url, "/health/ready"), 60), log.read_text()
        yield url
    finally:
        process.end(process.psutil.Process(started.pid), process.signal.SIGTERM, 15)
        started.wait()
    assert "Traceback" not in log.read_text()


@pytest.fixture
def healthy(site, pooler, postgres) -> Iterator[str]:
    """The site, whose servers the test may stop. Each of its processes has noticed that they are back."""
    yield site
    postgres.start()
    pooler.start()
    assert process.wait_until(
        lambda: all(call(f"{site}/api/v1/notes?cache=false")[0] == 200 for _ in range(20)), SECONDS
    )


def call(url: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, Any]:
    """Return the status and the JSON of a reply."""
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "X-User-Id": "abc", **headers},
    )
    with direct.open(request, timeout=20) as response:
        text = response.read()
        return response.status, json.loads(text) if text else None


def new_note(site: str, title: str = "a title") -> str:
    status, note = call(f"{site}/api/v1/notes", "POST", {"title": title, "content": "c"})
    assert status == 201, note
    return f"{site}/api/v1/notes/{note['id']}"


class TestReadsAndWrites:
    def test_of_notes(self, site):
        note = new_note(site)

        assert call(note)[1]["title"] == "a title"
        assert call(note, "PATCH", {"title": "b"})[0] == 200
        assert call(note)[1]["title"] == "b"
        assert call(note, "PUT", {"title": "d", "content": "e"})[0] == 200
        page = call(f"{site}/api/v1/notes?userId=abc&sort=updated_at:DESC")[1]
        assert page["results"][0]["title"] == "d"
        for query in ("", "?q=database", "?cache=false", "?page=3"):
            assert call(f"{site}/api/v1/notes{query}")[0] == 200
        assert call(note, "DELETE")[0] == 204
        assert call(note)[0] == 404

    def test_of_profiles(self, site):
        body = {"user_id": "someone", "email": "someone@example.org"}
        profiles = f"{site}/api/v1/profiles"

        def own(path: str, method: str, body: Any = None) -> int:
            return call(f"{profiles}{path}", method, body, **{"X-User-Id": "someone"})[0]

        assert own("", "POST", body) == 201
        assert own("/someone", "PUT", {"email": "d@example.org", "preferences": {}}) == 200
        for path in ("someone", "postgres/someone", "mongo/someone"):
            assert call(f"{profiles}/{path}")[1]["email"] == "d@example.org"
        assert own("/someone", "DELETE") == 204

    def test_of_operators(self, site):
        staff = {"Authorization": "Bearer a-token-of-staff"}

        for path in ("/health", "/api/v1/metrics/db", "/api/v1/metrics/cache"):
            assert call(f"{site}{path}")[0] == 200
        assert call(f"{site}/api/v1/admin/cache/clear", "POST", **staff)[0] == 200


class TestSessions:
    def test_an_edit_in_psql_is_invalidated(self, site, postgres):
        note = new_note(site, "old title")
        assert call(note)[1]["title"] == "old title"

        with psycopg.connect(direct_url(postgres), autocommit=True) as psql:
            psql.execute("UPDATE notes SET title = 'new title' WHERE id = %s", [note[-36:]])

        assert process.wait_until(lambda: call(note)[1]["title"] == "new title", SECONDS)

    def test_one_relay_leads_and_one_watcher_of_the_profiles(self, site, postgres):
        """Of two processes."""
        query = """
            SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND granted AND datname = %s
              AND application_name = 'trilith relay'"""
        with psycopg.connect(postgres.operator_url, autocommit=True) as session:
            assert process.wait_until(
                lambda: session.execute(query, [DATABASE]).fetchone() == (2,), SECONDS
            )

    def test_listeners_and_leases_are_past_the_pooler_and_requests_behind_it(
        self, site, postgres, pooler
    ):
        with psycopg.connect(postgres.operator_url, autocommit=True) as session:

            def ports(name: str) -> set[int]:
                rows = session.execute(
                    "SELECT client_port FROM pg_stat_activity"
                    " WHERE datname = %s AND application_name = %s",
                    [DATABASE, name],
                )
                return {port for (port,) in rows}

            assert process.wait_until(lambda: len(ports("trilith relay")) >= 2, SECONDS)
            assert process.wait_until(lambda: len(ports("trilith lease")) >= 2, SECONDS)
            call(f"{site}/api/v1/notes?cache=false")
            of_pooler = {
                connection.laddr.port
                for connection in pooler.process().net_connections(kind="tcp4")
            }
            assert (ports("trilith relay") | ports("trilith lease")).isdisjoint(of_pooler)
            assert ports("trilith") & of_pooler

    def test_the_time_limit_of_a_statement_is_the_pooler_s(self, site, postgres):
        note = new_note(site)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
        )
        with (
            psycopg.connect(direct_url(postgres)) as psql,
            psycopg.connect(postgres.operator_url, autocommit=True) as session,
        ):
            psql.execute("SELECT FROM notes WHERE id = %s FOR UPDATE", [note[-36:]])

            status, problem = call(note, "PATCH", {"title": "waits"})

            assert (status, problem["store"]) == (503, "postgres")
            assert process.wait_until(
                lambda: session.execute(waiting, [DATABASE]).fetchone() == (0,), SECONDS
            )


@contextmanager
def load(site: str) -> Iterator[list[int]]:
    """Read past the cache and write, in two threads; yield the statuses."""
    statuses: list[int] = []
    stopping = threading.Event()
    note = new_note(site)

    def go_on(path: str, method: str, body: Any) -> None:
        while not stopping.is_set():
            statuses.append(call(path, method, body)[0])

    threads = [
        threading.Thread(target=go_on, args=arguments)
        for arguments in (
            (f"{note}?cache=false", "GET", None),
            (note, "PATCH", {"title": "again"}),
        )
    ]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


class TestRestarts:
    @pytest.mark.parametrize("which", ["pooler", "postgres"])
    @pytest.mark.parametrize("how", ["stop", "kill"])
    def test_no_reply_is_a_500(self, healthy, pooler, postgres, which, how):
        server = {"pooler": pooler, "postgres": postgres}[which]

        with load(healthy) as statuses:
            assert process.wait_until(lambda: statuses.count(200) > 10, SECONDS)
            getattr(server, how)()
            assert process.wait_until(lambda: 503 in statuses, SECONDS)
            server.start()
            begun = len(statuses)
            assert process.wait_until(lambda: statuses[begun:].count(200) > 10, SECONDS)

        assert set(statuses) == {200, 503}

    def test_without_the_pooler_copies_are_served_and_trusted(self, healthy, pooler):
        note = new_note(healthy)

        def is_hit() -> bool:
            with urllib.request.urlopen(note) as response:
                status = response.headers["Cache-Status"]
                return "hit" in status and "unverified" not in status

        def are_hits() -> bool:
            return all(is_hit() for _ in range(20))  # by both processes

        assert process.wait_until(are_hits, SECONDS)
        pooler.stop()

        assert process.wait_until(
            lambda: call(f"{note}?cache=false")[0] == 503 and are_hits(), SECONDS
        )


class TestCommands:
    """Migrations and the seed are what the site of these tests was made by."""

    def test_a_backup_reads_the_snapshot_of_another_session(self, filled, tmp_path):
        done = manage(filled, "backup", "--to", str(tmp_path / "backup"))

        assert done.returncode == 0, done.stderr
        assert (tmp_path / "backup" / "postgres.dump").stat().st_size > 0


class TestChecks:
    def test_a_pooler_without_the_url_past_it_is_an_error(self, environment):
        done = manage(environment | {"DATABASE_DIRECT_URL": ""}, "check")

        assert done.returncode == 1
        assert (
            "(config.E001) DATABASE_URL leads to a connection pooler in transaction" in done.stderr
        )
        assert "Set DATABASE_DIRECT_URL to PostgreSQL itself." in done.stderr

    def test_a_migration_is_refused_then(self, environment):
        done = manage(environment | {"DATABASE_DIRECT_URL": ""}, "migrate", "--no-input")

        assert done.returncode == 1
        assert "config.E001" in done.stderr

    def test_a_url_past_it_that_leads_to_it_is_an_error(self, environment, pooler):
        done = manage(environment | {"DATABASE_DIRECT_URL": pooler.url}, "check")

        assert "(config.E001) DATABASE_DIRECT_URL leads to a connection pooler" in done.stderr

    def test_another_database_is_an_error(self, environment, postgres):
        done = manage(environment | {"DATABASE_DIRECT_URL": postgres.url}, "check")

        assert done.returncode == 1
        assert "(config.E002)" in done.stderr

    def test_sessions_without_a_time_limit_are_a_warning(self, environment, postgres):
        server = PgBouncer(postgres, "pgbouncer-endless")
        server.has_time_limit = False
        with running(server) as endless:
            done = manage(environment | {"DATABASE_URL": endless.url}, "check")

        assert done.returncode == 0
        assert "(config.W003) The pooler's sessions have a statement_timeout of 0 ms" in done.stderr

    def test_a_pooler_in_session_mode_is_none(self, environment, postgres):
        with running(PgBouncer(postgres, "pgbouncer-sessions", pool_mode="session")) as sessions:
            variables = {"DATABASE_URL": sessions.url, "DATABASE_DIRECT_URL": ""}
            done = manage(environment | variables, "check")

        assert done.returncode == 0
        assert "config.E" not in done.stderr

    def test_the_right_settings_raise_nothing(self, environment):
        done = manage(environment, "check")

        assert done.returncode == 0
        assert "no issues" in done.stdout


class TestSettings:
    def settings_of(self, environment: dict[str, str], **variables: str) -> Any:
        code = (
            "import json; from config import settings as s;"
            "print(json.dumps({n: d['OPTIONS'].get('options') for n, d in s.DATABASES.items()}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    def test_what_serves_has_the_pooler_as_its_default_and_sends_it_no_options(self, environment):
        assert self.settings_of(environment, SERVES_REQUESTS="true") == {
            "default": None,
            "direct": "-c statement_timeout=2000",
        }

    def test_options_in_the_url_of_the_pooler_are_refused(self, environment, pooler):
        with_options = {"DATABASE_URL": f"{pooler.url}?options=-c%20work_mem=8MB"}

        done = manage(environment | with_options, "check")

        assert done.returncode == 1
        assert "DATABASE_URL: a pooler in transaction mode takes no options" in done.stderr

    def test_a_command_has_postgresql_itself(self, environment):
        assert self.settings_of(environment) == {"default": None, "pooled": None}
