"""The replicated stores and the sites before them: real servers, whose primaries are killed."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from config.stack import VARIABLES, process
from config.stack.cluster import NUMBERS, Cluster
from config.stack.process import StackError

pytestmark = pytest.mark.timeout(240)  # each test may be the one that starts all of it


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
    """The cluster, every node of which runs and has its role."""
    cluster.up()
    for kind in ("postgres", "redis", "mongodb"):
        assert process.wait_until(lambda kind=kind: _roles(cluster, kind).count("primary") == 1, 60)
        assert process.wait_until(lambda kind=kind: "" not in _roles(cluster, kind), 60)
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
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


class Writer:
    """Writes one note again and again, and remembers what was acknowledged."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        status, note = call(cluster, "POST", "/api/v1/notes", {"title": "t", "content": "0"})
        assert status == 201
        self.path = f"/api/v1/notes/{note['id']}"
        self.acknowledged, self.statuses, self.stale = 0, [], 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(0.02):
            number += 1
            status, _ = call(self.cluster, "PUT", self.path, {"title": "t", "content": str(number)})
            self.statuses.append(status)
            if status == 200:
                self.acknowledged = number
            status, note = call(self.cluster, "GET", self.path)
            self.statuses.append(status)
            self.stale += status == 200 and int(note["content"]) < self.acknowledged

    def goes_on(self) -> bool:
        """Wait until another write is acknowledged; return whether that was so within 60 s."""
        before = self.acknowledged
        return process.wait_until(lambda: self.acknowledged > before + 2, 60)


def primary(cluster: Cluster, kind: str) -> Any:
    return next(node for node in cluster.nodes(kind) if node.role() == "primary")


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

    def test_an_unknown_node_is_refused_by_the_names_of_those_there_are(self, healthy):
        with pytest.raises(StackError, match="there is no server postgres-9; there are etcd-1, "):
            healthy.kill("postgres-9")


class TestFailover:
    @pytest.mark.parametrize("kind", ["redis", "mongodb"])
    def test_no_request_fails_and_none_is_stale(self, healthy, kind):
        with Writer(healthy) as writer:
            assert writer.goes_on()
            lost = primary(healthy, kind)
            lost.kill()
            assert process.wait_until(
                lambda: any(
                    node.role() == "primary" for node in healthy.nodes(kind) if node is not lost
                ),
                30,
            )
            assert writer.goes_on()

        assert set(writer.statuses) == {200}
        assert writer.stale == 0

    def test_of_postgresql_loses_no_acknowledged_write(self, healthy):
        with Writer(healthy) as writer:
            assert writer.goes_on()
            postmaster = primary(healthy, "postgres").postmaster()
            assert postmaster is not None
            postmaster.kill()
            process.wait_until(lambda: 503 in writer.statuses, 10)
            assert writer.goes_on()

        assert set(writer.statuses) == {200, 503}
        assert writer.stale == 0
        status, note = call(healthy, "GET", f"{writer.path}?cache=false")
        assert status == 200
        assert int(note["content"]) >= writer.acknowledged


class TestGracefulStop:
    def test_no_request_fails(self, healthy):
        site = healthy.nodes("site")[0]

        with Writer(healthy) as writer:
            assert writer.goes_on()
            killed = site.stop()
            assert writer.goes_on()
            site.start()
            assert writer.goes_on()

        assert not killed
        assert set(writer.statuses) == {200}
        assert writer.stale == 0

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
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as exc:
        return exc.code
    except OSError:
        return 0
