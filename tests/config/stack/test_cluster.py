"""The replicated stores and the sites before them: real servers, whose primaries are killed."""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from config.stack import VARIABLES, process
from config.stack.cluster import NUMBERS, Cluster
from config.stack.loopback import direct
from config.stack.process import StackError
from loadtests.drills.cluster import instances
from loadtests.drills.cluster.hammer import Hammer
from loadtests.drills.cluster.nodes import await_service, primary


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """Two sites on replicated stores, in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES.values():
            patch.delenv(variable, raising=False)
        running = Cluster("ha", root=tmp_path_factory.mktemp("cluster"), sites=2)
        try:
            running.up()
            yield running
        finally:
            running.reset()


@pytest.fixture
def healthy(cluster) -> Cluster:
    """The cluster, every node of which runs and has its role, and every site of which serves."""
    cluster.up()
    await_service(cluster)
    return cluster


def _roles(cluster: Cluster, kind: str) -> list[str]:
    return [node.role() for node in cluster.nodes(kind)]


def call(cluster: Cluster, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Send a request to the balancer; return status and JSON."""
    request = urllib.request.Request(
        cluster.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "X-User-Id": "cluster"},
    )
    with direct.open(request, timeout=10) as response:
        return response.status, json.load(response)


def hammering(cluster: Cluster, name: str) -> Hammer:
    """Return a hammer that leaves processors to what it hits."""
    return Hammer(cluster.url, name, pause_seconds=0.15)


class TestUp:
    def test_starts_every_node(self, healthy):
        states = {node.server: node.state for node in healthy.status()}

        names = {f"{kind}-{number + 1}" for kind, most in NUMBERS.items() for number in range(most)}
        assert set(states) == names | {"site-1", "site-2", "balancer"}
        assert set(states.values()) == {"running"}

    def test_both_sites_serve_the_same_note(self, healthy):
        status, note = call(healthy, "POST", "/api/v1/notes", {"title": "t", "content": "c"})

        assert status == 201
        for site in healthy.nodes("site"):
            with urllib.request.urlopen(f"{site.url}/api/v1/notes/{note['id']}") as response:
                assert json.load(response) == note

    def test_no_member_of_mongodb_is_preferred_so_one_that_returns_stops_no_write(self, healthy):
        with pymongo.MongoClient(healthy.operator_urls()["MONGODB_URI"]) as client:
            members = client.admin.command("replSetGetConfig")["config"]["members"]

        assert [member["priority"] for member in members] == [1, 1, 1]

    def test_of_postgres_the_one_that_follows_may_be_promoted(self, healthy):
        """Not so a replica that follows again since a moment: its drill would be one of two faults."""
        leads = primary(healthy, "postgres")
        [follows] = [node for node in healthy.nodes("postgres") if node.name != leads.name]
        assert (leads.is_synchronous_standby(), follows.is_synchronous_standby()) == (False, True)

        follows.kill()

        assert not follows.is_synchronous_standby()

    def test_each_site_keeps_copies(self, healthy):
        def is_on(site) -> bool:
            with urllib.request.urlopen(f"{site.url}/api/v1/metrics/cache") as response:
                return json.load(response)["first_level"]["on"]

        for site in healthy.nodes("site"):
            assert process.wait_until(lambda site=site: is_on(site), 60)

    def test_an_unknown_node_is_refused_by_the_names_of_those_there_are(self, healthy):
        with pytest.raises(StackError, match="there is no server postgres-9; there are etcd-1, "):
            healthy.kill("postgres-9")


class TestHammer:
    def test_that_begins_while_mongodb_has_no_primary_waits_for_it(self, healthy):
        profile = {"user_id": "cluster", "email": "cluster@example.org", "preferences": {}}
        for member in ("mongodb-2", "mongodb-3"):
            healthy.kill(member)
        assert process.wait_until(
            lambda: call(healthy, "POST", "/api/v1/profiles", profile)[0] == 503, 60
        )

        returning = threading.Timer(1, healthy.up)
        returning.start()
        try:
            with hammering(healthy, "no-primary") as hammer:
                assert hammer.until_written("profile", 60) is not None
        finally:
            returning.join()

        assert hammer.lost([site.url for site in healthy.nodes("site")]) == 0


class TestDown:
    @pytest.mark.parametrize("end", ["down", "reset"])
    def test_ends_the_sites_of_an_earlier_up_with_more_of_them(self, tmp_path, end):
        more = Cluster("ha", root=tmp_path, sites=3)
        (tmp_path / ".stack" / "ha").mkdir(parents=True)
        more._make()
        marker = more.nodes("site")[2].marker
        site = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", marker])

        getattr(Cluster("ha", root=tmp_path, sites=2), end)()

        assert site.wait(0) == -signal.SIGTERM


class TestFailover:
    @pytest.mark.parametrize(("kind", "writes"), [("redis", "note"), ("mongodb", "profile")])
    def test_no_note_fails_and_nothing_is_stale_or_lost(self, healthy, kind, writes):
        with hammering(healthy, f"failover-{kind}") as hammer:
            assert hammer.until_written(writes, 60) is not None
            primary(healthy, kind).kill()
            assert hammer.until_written(writes, 60) is not None
            assert process.wait_until(lambda: "primary" in _roles(healthy, kind), 30)
            assert hammer.until_written(writes, 60) is not None

        failed = [one for one in hammer.operations if not one.ok]
        assert not [one for one in failed if one.kind == "note"]
        assert {one.status for one in failed} <= {503}
        assert not any(one.stale for one in hammer.operations)
        assert hammer.lost([site.url for site in healthy.nodes("site")]) == 0

    def test_of_postgresql_refuses_writes_for_a_while_and_loses_none(self, healthy):
        with hammering(healthy, "failover-postgres") as hammer:
            assert hammer.until_written("note", 60) is not None
            primary(healthy, "postgres").postmaster().kill()
            assert hammer.until_written("note", 60) is not None

        failed = [one for one in hammer.operations if not one.ok]
        assert {(one.status, bool(one.retry_after)) for one in failed} <= {(503, True)}
        assert not any(one.stale for one in hammer.operations)
        assert hammer.lost([site.url for site in healthy.nodes("site")]) == 0


class TestInstances:
    def test_one_more_shares_a_load_and_as_many_as_before_are_left(self, healthy):
        [scale] = instances.measure(healthy, print, numbers=(3,), seconds=1, turns=1)

        [turn] = scale.turns
        assert turn.load.errors == 0
        for part in ("instances", "balancer", "PostgreSQL", "load"):
            assert turn.processor_s(part) > 0, part
        assert scale.memory_mib > 0
        running = [node.server for node in healthy.status() if node.state == "running"]
        assert [name for name in running if "site" in name] == ["site-1", "site-2"]
        assert process.find(str(healthy.folder / "site-3" / "site")) is None


class TestRollingRestart:
    def test_is_refused_while_more_sites_run_than_it_would_replace(self, healthy):
        more = Cluster("ha", root=healthy.folder.parents[1], sites=3)
        marker = more.nodes("site")[2].marker
        site = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", marker])
        try:
            with pytest.raises(StackError, match="site-3 run as well: say how many with --sites"):
                healthy.rolling_restart()
        finally:
            site.kill()
            site.wait()

    def test_to_another_version_of_the_cache_no_request_fails_and_nothing_is_stale(
        self, healthy, monkeypatch
    ):
        before = {site.name: site.process().pid for site in healthy.nodes("site")}
        monkeypatch.setenv("CACHE_VERSION", "2")

        with hammering(healthy, "rolling") as hammer:
            assert hammer.until_written("note", 60) is not None
            healthy.rolling_restart()
            assert hammer.until_written("note", 60) is not None

        assert not [one for one in hammer.operations if not one.ok or one.stale]
        assert hammer.lost([site.url for site in healthy.nodes("site")]) == 0
        for site in healthy.nodes("site"):
            running = site.process()
            assert running.pid != before[site.name]
            assert running.environ()["CACHE_VERSION"] == "2"

    def test_of_two_versions_side_by_side_neither_is_stale(self, healthy, monkeypatch):
        replaced, [balancer] = healthy.nodes("site")[0], healthy.nodes("balancer")
        replaced.stop()
        monkeypatch.setenv("CACHE_VERSION", "3")
        replaced.start()
        assert process.wait_until(lambda: balancer.sends_to(replaced.name), 60)

        with hammering(healthy, "side-by-side") as hammer:
            hammer.go_on(5)  # both have the lease, and hits

        assert not [one for one in hammer.operations if not one.ok or one.stale]

    def test_what_cannot_start_replaces_nothing(self, healthy, monkeypatch):
        before = {site.name: site.process().pid for site in healthy.nodes("site")}
        monkeypatch.setenv("CACHE_VERSION", "no number")

        with pytest.raises(StackError, match="CACHE_VERSION='no number'"):
            healthy.rolling_restart()

        assert {site.name: site.process().pid for site in healthy.nodes("site")} == before

    def test_of_a_cluster_that_does_not_run_is_refused(self, tmp_path):
        with pytest.raises(StackError, match="not all sites run"):
            Cluster("ha", root=tmp_path).rolling_restart()

    def test_needs_a_second_site(self, healthy):
        single = Cluster("ha", root=healthy.folder.parents[1], sites=1)

        with pytest.raises(StackError, match="needs 2 sites or more"):
            single.rolling_restart()


class TestGracefulStop:
    def test_no_request_fails(self, healthy):
        site = healthy.nodes("site")[0]

        with hammering(healthy, "graceful") as hammer:
            assert hammer.until_written("note", 60) is not None
            killed = site.stop()
            assert hammer.until_written("note", 60) is not None
            site.start()
            assert hammer.until_written("note", 60) is not None

        assert not killed
        assert not [one for one in hammer.operations if not one.ok or one.stale]

    def test_readiness_fails_first(self, healthy):
        site = healthy.nodes("site")[1]
        running = site.process()
        assert running is not None

        running.terminate()

        states: list[tuple[int, int]] = []
        deadline = time.monotonic() + 20
        while process.is_alive(running) and time.monotonic() < deadline:
            state = (_status(f"{site.url}/health/ready"), _status(f"{site.url}/health/live"))
            if state not in states:
                states.append(state)
        assert (503, 200) in states
        assert all(ready != 200 for ready, _ in states[states.index((503, 200)) :])


def _status(url: str) -> int:
    try:
        with direct.open(url, timeout=5) as response:
            return response.status
    except OSError:
        return 0
