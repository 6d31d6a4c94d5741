"""The drill in which nothing fails: the same topology with more instances, and the bound that is met."""

import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from config.stack.cluster import Cluster
from config.stack.cluster.balancer import Balancer
from config.stack.process import StackError, wait_until
from loadtests.drills.cluster.nodes import SITES, await_service, memory_mib, roots
from loadtests.generators.http_load import Call, fetch, json_call
from loadtests.generators.wrk import Load, saturate
from loadtests.testbed.processor import tree_seconds

NUMBERS: Final = (1, 2, 4)
SECONDS: Final = 5.0
TURNS: Final = 3
CONNECTIONS: Final = 32
WARM_SECONDS: Final = 3.0
RESTING_SECONDS: Final = 4.0
PROCESSORS: Final = psutil.cpu_count() or 1
IDLE: Final = 0.15  # of the machine: with less, its processors are the bound
OTHERS: Final = 0.1  # of the machine: with more in other processes, requests/s say nothing
_BUSY: Final = 0.85  # of one processor, by each instance: then its interpreter is the bound
GENERATOR: Final = "load"  # the part that makes the load, on the same processors
SHARES: Final = {"hits": 0.60, "uncached reads": 0.38, "writes": 0.02}
_USER: Final = "instances"
_NOTES: Final = 64
_REQUESTS: Final = 5_000  # after which their order is repeated
_READY_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Reading:
    """Processor time so far, in seconds: of each part and the generator, and of the machine while idle."""

    parts_s: Mapping[str, float]
    idle_s: float
    at_s: float


@dataclass(frozen=True)
class Turn:
    """One load, between two readings."""

    load: Load
    before: Reading
    after: Reading

    @property
    def seconds(self) -> float:
        return self.after.at_s - self.before.at_s

    @property
    def idle_s(self) -> float:
        """The processor time of the machine that nobody used."""
        return self.after.idle_s - self.before.idle_s

    def processor_s(self, part: str) -> float:
        """Return the processor time of a part."""
        return self.after.parts_s[part] - self.before.parts_s[part]


@dataclass(frozen=True)
class Scale:
    """
    The topology with so many instances.

    resting: processors that each part uses without a request. memory_mib: of all of it, after the load.
    """

    instances: int
    resting: Mapping[str, float]
    turns: Sequence[Turn]
    memory_mib: float

    @property
    def requests_per_second(self) -> float:
        """The throughput of the median turn."""
        return statistics.median(turn.load.per_second for turn in self.turns)

    def processor_us(self, part: str) -> list[float]:
        """Return the processor time of a part per request in each turn, beyond what it uses at rest."""
        return [
            1e6 * (turn.processor_s(part) - self.resting[part] * turn.seconds) / turn.load.requests
            for turn in self.turns
        ]

    @property
    def idle(self) -> float:
        """The share of the machine's processor time that nobody used."""
        return self._share(sum(turn.idle_s for turn in self.turns))

    @property
    def others(self) -> float:
        """The share of it that neither the topology nor the load used."""
        return max(0.0, 1 - self.idle - sum(map(self._used, self.resting)))

    @property
    def bound(self) -> str:
        """What keeps it from serving more."""
        if self.idle < IDLE:
            most = max(self.resting, key=self._used)
            return f"processors, {self._used(most):.0%} by {most}"
        if self._used(SITES) * PROCESSORS > _BUSY * self.instances:
            return "one processor for each instance's Python"
        return "not the processors"

    def _used(self, part: str) -> float:
        return self._share(sum(turn.processor_s(part) for turn in self.turns))

    def _share(self, seconds: float) -> float:
        return seconds / PROCESSORS / sum(turn.seconds for turn in self.turns)


def measure(
    cluster: Cluster,
    progress: Callable[[str], None],
    *,
    numbers: Sequence[int] = NUMBERS,
    seconds: float = SECONDS,
    turns: int = TURNS,
) -> list[Scale]:
    """
    Load the balancer in a closed loop before each number of instances; leave as many as there were.

    Raises StackError, UnexpectedResponse.
    """
    before = cluster.sites
    calls, order = _mix(cluster)
    scales = []
    try:
        for number in numbers:
            progress(f"{number} instances")
            _scale(cluster, number)
            meter = _Meter(cluster)
            resting = meter.resting(min(seconds, RESTING_SECONDS))
            meter.turn(calls, order, min(seconds, WARM_SECONDS))
            measured = [meter.turn(calls, order, seconds) for _ in range(turns)]
            scales.append(Scale(number, resting, measured, memory_mib(cluster)))
    finally:
        _scale(cluster, before)
    return scales


def _scale(cluster: Cluster, number: int) -> None:
    """Run so many instances, and a balancer that knows them; wait until it sends to each."""
    cluster.node("balancer").stop()
    for surplus in cluster.nodes("site")[number:]:
        surplus.stop()
    cluster.sites = number
    cluster.up()
    await_service(cluster)
    balancers = [node for node in cluster.nodes("balancer") if isinstance(node, Balancer)]
    names = [site.name for site in cluster.nodes("site")]

    def sends_to_all() -> bool:
        return all(one.sends_to(name) for one in balancers for name in names)

    if not wait_until(sends_to_all, _READY_SECONDS):
        raise StackError("the balancer does not send to each instance")


def _mix(cluster: Cluster) -> tuple[list[Call], list[int]]:
    """Create the notes; return the calls and their order: few notes are read often (Zipf)."""
    content = {"title": "Scaled", "content": "x" * 400}
    notes = [
        fetch(cluster.url, json_call(_USER, "/api/v1/notes", content))["id"] for _ in range(_NOTES)
    ]
    paths = [f"/api/v1/notes/{note}" for note in notes]
    replaced = content | {"content": "{n} " + content["content"]}
    calls = [
        *(Call("", path) for path in paths),
        *(Call("", path, headers={"Cache-Control": "no-store"}) for path in paths),
        *(json_call(_USER, path, replaced, "PUT") for path in paths),
    ]
    rng = random.Random(1)  # noqa: S311  # an order is no secret
    often = [1 / rank for rank in range(1, _NOTES + 1)]
    order = [
        _NOTES * kind + index
        for kind, share in enumerate(SHARES.values())
        for index in rng.choices(range(_NOTES), often, k=round(share * _REQUESTS))
    ]
    rng.shuffle(order)
    return calls, order


class _Meter:
    """Reads the processor time of a topology that does not change meanwhile."""

    def __init__(self, cluster: Cluster) -> None:
        self._url = cluster.url
        self._roots = roots(cluster)

    def turn(self, calls: Sequence[Call], order: Sequence[int], seconds: float) -> Turn:
        """Load the balancer for so long."""
        before = self.read()
        load = saturate(self._url, calls, connections=CONNECTIONS, seconds=seconds, order=order, first=time.time_ns())  # fmt: skip
        return Turn(load, before, self.read())

    def resting(self, seconds: float) -> dict[str, float]:
        """Return how many processors each part uses without a request."""
        before = self.read()
        threading.Event().wait(seconds)
        after = self.read()
        return {
            part: (after.parts_s[part] - before.parts_s[part]) / (after.at_s - before.at_s)
            for part in before.parts_s
        }

    def read(self) -> Reading:
        """Return what has been used so far."""
        ended = os.times()  # of this process's children: wrk was the last
        machine = psutil.cpu_times()
        parts = {
            part: sum(tree_seconds(root.pid) for root in processes)
            for part, processes in self._roots.items()
        }
        generator = {GENERATOR: ended.children_user + ended.children_system}
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        return Reading(parts | generator, idle, time.perf_counter())
