"""The method: one node after the other fails, or is stopped, under load through the balancer."""

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from config.stack.cluster import Cluster
from config.stack.cluster.partition import require_nft
from config.stack.cluster.site import Site
from config.stack.process import StackError
from loadtests.drills.cluster import instances
from loadtests.drills.cluster.hammer import Hammer, Operation
from loadtests.drills.cluster.instances import Scale
from loadtests.drills.cluster.nodes import await_service, memory_mib, primary
from loadtests.generators.wrk import require_wrk
from loadtests.testbed.servers import run_python

BEFORE_SECONDS: Final = 3.0
AFTER_SECONDS: Final = 3.0
_RECOVERY_SECONDS: Final = 60.0
LAG_SECONDS: Final = 2.0
CUT_OFF_SECONDS: Final = 10.0
INSTANCES: Final = "instances"  # the drill in which nothing fails


@dataclass
class DrillRun:
    """What the clients saw of one drill. Times in seconds from its start."""

    operations: list[Operation]
    broken_s: float  # when the fault began
    failed_s: float  # when the node was gone, at the latest
    mended_s: float | None  # when a write was acknowledged again; None: not within 60 s
    lost: int  # acknowledged writes that cannot be read afterwards, over all instances

    @property
    def during(self) -> list[Operation]:
        """The requests that ended after the fault began."""
        return [one for one in self.operations if one.ended_s >= self.broken_s]

    @property
    def failed(self) -> list[Operation]:
        """Those of them that failed."""
        return [one for one in self.during if not one.ok]

    @property
    def stale(self) -> int:
        return sum(one.stale for one in self.operations)


@dataclass
class Observations:
    """What was seen, by drill. start_seconds, memory_mib: of the whole topology."""

    runs: dict[str, DrillRun] = field(default_factory=dict)
    start_seconds: float = 0.0
    memory_mib: float = 0.0
    reconciled: list[str] = field(default_factory=list)  # of each site: activity_reconcile
    scales: list[Scale] = field(default_factory=list)  # by the number of instances


@dataclass
class ClusterLab:
    """What the method works with: a cluster, the drills by name, and progress."""

    cluster: Cluster
    drills: Sequence[str]
    progress: Callable[[str], None]


def observe(lab: ClusterLab) -> Observations:
    """Start the cluster, and carry out the drills one after the other. Raises StackError."""
    if PARTITIONS.keys() & lab.drills:
        require_nft()
    if INSTANCES in lab.drills:
        require_wrk()
    observations = Observations()
    cluster = lab.cluster
    lab.progress("starting the nodes")
    began = time.perf_counter()
    cluster.up()
    observations.start_seconds = time.perf_counter() - began
    observations.memory_mib = memory_mib(cluster)
    since = dt.datetime.now(dt.UTC)
    for name in lab.drills:
        lab.progress(name)
        await_service(cluster)
        if name == INSTANCES:
            observations.scales = instances.measure(cluster, lab.progress)
        else:
            observations.runs[name] = _run(cluster, name, DRILLS[name])
    lab.progress("comparing the events that were acknowledged with those that are stored")
    observations.reconciled = _reconcile(cluster, since)
    return observations


def _reconcile(cluster: Cluster, since: dt.datetime) -> list[str]:
    """Return what activity_reconcile says of each site's spool, once that is shipped."""
    return [_reconciled(site, since) for site in cluster.nodes("site") if isinstance(site, Site)]


def _reconciled(site: Site, since: dt.datetime) -> str:
    command = ["manage.py", "activity_reconcile", "--since", since.isoformat()]
    deadline = time.monotonic() + _RECOVERY_SECONDS
    while True:
        try:
            text = run_python(command, site.environment()).strip()
        except StackError as exc:  # an event is lost or doubled
            return str(exc)
        if " 0 waiting" in text or time.monotonic() > deadline:
            return f"{site.name}: {text}"


def _run(cluster: Cluster, name: str, drill: "Drill") -> DrillRun:
    sites = [site.url for site in cluster.nodes("site")]
    is_partition = name in PARTITIONS
    read_urls = sites if is_partition else ()
    label = f"{name}-{int(time.time())}"
    with Hammer(cluster.url, label, read_urls, writes_may_be_late=is_partition) as hammer:
        hammer.go_on(BEFORE_SECONDS)
        with drill(cluster) as (fail, kind):
            broken_s = hammer.now_s
            fail()
            failed_s = hammer.now_s
            mended = hammer.until_written(kind, _RECOVERY_SECONDS)
            hammer.go_on(AFTER_SECONDS)
        cluster.up()
        hammer.go_on(AFTER_SECONDS)
    await_service(cluster)
    mended_s = None if mended is None else broken_s + mended
    return DrillRun(hammer.operations, broken_s, failed_s, mended_s, hammer.lost(sites))


# What fails, and of which kind a write must be acknowledged for the fault to be over.
Fault = tuple[Callable[[], Any], Any]
Drill = Callable[[Cluster], "contextlib.AbstractContextManager[Fault]"]


@contextlib.contextmanager
def site_killed(cluster: Cluster) -> Iterator[Fault]:
    yield cluster.nodes("site")[0].kill, "note"


@contextlib.contextmanager
def site_stopped(cluster: Cluster) -> Iterator[Fault]:
    yield cluster.nodes("site")[0].stop, "note"


@contextlib.contextmanager
def rolling_restart(cluster: Cluster) -> Iterator[Fault]:
    yield cluster.rolling_restart, "note"


@contextlib.contextmanager
def postgres_killed(cluster: Cluster) -> Iterator[Fault]:
    yield primary(cluster, "postgres").postmaster().kill, "note"


@contextlib.contextmanager
def postgres_host_killed(cluster: Cluster) -> Iterator[Fault]:
    yield primary(cluster, "postgres").kill, "note"


@contextlib.contextmanager
def redis_killed(cluster: Cluster) -> Iterator[Fault]:
    yield primary(cluster, "redis").kill, "note"


@contextlib.contextmanager
def lagging_redis_promoted(cluster: Cluster) -> Iterator[Fault]:
    """Stop the replica, let the primary go on for 2 s and die, and let the replica go on, to be promoted."""
    leading = primary(cluster, "redis")
    replica = next(node for node in cluster.nodes("redis") if node.name != leading.name)

    def fail() -> None:
        replica.pause()
        threading.Event().wait(LAG_SECONDS)
        leading.kill()
        replica.resume()

    try:
        yield fail, "note"
    finally:
        replica.resume()


@contextlib.contextmanager
def mongodb_killed(cluster: Cluster) -> Iterator[Fault]:
    yield primary(cluster, "mongodb").kill, "profile"


@contextlib.contextmanager
def _partitioned(
    cluster: Cluster, kind: str, *cuts: tuple[Sequence[str], Sequence[str]]
) -> Iterator[Fault]:
    """Cut each pair of sides off from each other for 10 s."""

    def fail() -> None:
        for one_side, other_side in cuts:
            cluster.partition(one_side, other_side)
        threading.Event().wait(CUT_OFF_SECONDS)

    try:
        yield fail, kind
    finally:
        cluster.heal()


def site_without_redis(cluster: Cluster) -> contextlib.AbstractContextManager[Fault]:
    return _partitioned(cluster, "note", (["site-1"], ["redis", "sentinel"]))


def site_without_postgres(cluster: Cluster) -> contextlib.AbstractContextManager[Fault]:
    return _partitioned(cluster, "note", (["site-1"], ["postgres"]))


def site_without_mongodb(cluster: Cluster) -> contextlib.AbstractContextManager[Fault]:
    return _partitioned(cluster, "profile", (["site-1"], ["mongodb"]))


def site_without_stores(cluster: Cluster) -> contextlib.AbstractContextManager[Fault]:
    stores = ["redis", "sentinel", "postgres", "mongodb"]
    return _partitioned(cluster, "note", (["site-1"], stores))


def site_with_old_redis(cluster: Cluster) -> contextlib.AbstractContextManager[Fault]:
    """Leave one site with the primary of Redis, and the rest with the replica, which is promoted."""
    leading = primary(cluster, "redis").name
    others = [node.name for node in cluster.nodes("redis") if node.name != leading]
    rest = [node.name for node in cluster.nodes("site") if node.name != "site-1"]
    return _partitioned(
        cluster, "note", ([leading, "site-1"], [*others, "sentinel"]), ([leading], rest)
    )


PARTITIONS: Final[dict[str, Drill]] = {
    drill.__name__.replace("_", "-"): drill
    for drill in (
        site_without_redis,
        site_without_postgres,
        site_without_mongodb,
        site_without_stores,
        site_with_old_redis,
    )
}
DRILLS: Final[dict[str, Drill]] = {
    drill.__name__.replace("_", "-"): drill
    for drill in (
        site_killed,
        site_stopped,
        rolling_restart,
        redis_killed,
        lagging_redis_promoted,
        mongodb_killed,
        postgres_killed,
        postgres_host_killed,
    )
} | PARTITIONS
