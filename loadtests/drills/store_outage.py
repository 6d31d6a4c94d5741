"""python -m loadtests drill: each server killed, paused and brought back, request by request; Redis in further ways."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from loadtests.generators.http_load import Call, OpenLoop, Sample, create_note, fetch, json_call
from loadtests.stats import percentile
from loadtests.testbed.faults import Fault, fault_named
from loadtests.testbed.workers import Workers

WORKERS: Final = 2
PER_SECOND = 20.0
BEFORE_SECONDS = 3.0
DURING_SECONDS = 7.0
AFTER_SECONDS = 8.0
LEASE_SECONDS: Final = 1.5  # a write may wait so long for the trust lease's end: docs/adr/0020
_SILENT: Final = ("Redis killed", "Redis paused")  # it answers nothing at all, as health must say
FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "redis": (
        *_SILENT,
        "Redis flapping",
        "Redis 300 ms away",
        "writes refused: NOREPLICAS",
        "writes refused: READONLY",
        "writes held: CLIENT PAUSE",
        "memory full",
        "the relay's leader cut off",
    ),
    "postgres": ("PostgreSQL killed", "PostgreSQL paused"),
    "mongodb": ("MongoDB killed", "MongoDB paused"),
}
_USER: Final = "drill"


@dataclass(frozen=True)
class Run:
    """One fault: its samples, by phase, and when it began, was mended, and was over (seconds)."""

    server: str
    fault: str
    phases: dict[str, list[Sample]]
    broken_at: float
    restoring_at: float
    restored_at: float


@dataclass(frozen=True)
class Verdict:
    """One promise of the contract, and what was observed."""

    promise: str
    observed: str
    holds: bool


class Loops:
    """The same calls at a fixed rate over all workers, at times of one clock."""

    def __init__(
        self, site: Workers, calls: Callable[[str], Iterator[Call]], per_second: float
    ) -> None:
        each = per_second / len(site.workers)
        self._loops = [OpenLoop(worker.url, per_second=each) for worker in site.workers]
        self._calls = [calls(worker.url) for worker in site.workers]
        for loop in self._loops:
            loop.zero = self._loops[0].zero

    def run(self, seconds: float) -> None:
        """Send for so long."""
        with self.running(seconds):
            pass

    @contextmanager
    def running(self, seconds: float) -> Iterator[None]:
        """Send for so long, in threads; wait for their end."""
        with ThreadPoolExecutor(len(self._loops)) as pool:
            sending = [
                pool.submit(loop.run, calls, seconds=seconds)
                for loop, calls in zip(self._loops, self._calls, strict=True)
            ]
            yield
            for loop in sending:
                loop.result()

    def now(self) -> float:
        """Return the seconds since the loops were made."""
        return self._loops[0].now()

    def finish(self) -> list[list[Sample]]:
        """Wait for the answers that are still out; return the samples of each worker."""
        return [loop.finish() for loop in self._loops]


def run_fault(site: Workers, server: str, fault: Fault) -> Run:
    """Probe at a fixed rate before, during and after a fault; take it back in any case."""
    own = f"/api/v1/notes/{create_note(site.site.url, _USER, 'Drill')}"
    loops = Loops(site, lambda url: _calls(url, own), PER_SECOND)
    loops.run(BEFORE_SECONDS)
    broken_at = loops.now()
    with fault.inject(site, random.Random(1)):  # noqa: S311  # to be repeatable
        loops.run(DURING_SECONDS)
        restored_at = loops.now()
    back_at = loops.now()
    loops.run(AFTER_SECONDS)
    phases: dict[str, list[Sample]] = {"before": [], "during": [], "after": []}
    samples = itertools.chain.from_iterable(loops.finish())
    for sample in sorted(samples, key=lambda sample: sample.at):
        if sample.at < broken_at:
            phases["before"].append(sample)
        elif sample.at < restored_at:
            phases["during"].append(sample)
        elif sample.at >= back_at:
            phases["after"].append(sample)
    return Run(server, fault.name, phases, broken_at, restored_at, back_at)


def faults(server: str | None = None) -> Iterator[tuple[str, Fault]]:
    """Yield each fault of a server, or of all."""
    for name, kinds in FAULTS.items():
        if server in (None, name):
            yield from ((name, fault_named(kind)) for kind in kinds)


def _calls(url: str, own: str) -> Iterator[Call]:
    """Yield, for ever: notes, profiles and a feed, hot and cold, a write, health and readiness."""
    cold = [note["id"] for note in fetch(url, "/api/v1/notes?cursor=&limit=100")["results"]]
    hot, unread = cold[0], itertools.cycle(cold[1:])
    for number in itertools.count():
        yield Call("hot read", f"/api/v1/notes/{hot}")
        yield Call(
            "cold read", f"/api/v1/notes/{next(unread)}", headers={"Cache-Control": "no-cache"}
        )
        yield Call("page", "/api/v1/notes?userId=abc")
        yield json_call(_USER, own, {"title": f"Drill {number}"}, "PATCH", "write")
        yield Call("read of the written", own)
        yield Call("hot profile", "/api/v1/profiles/abc")
        yield Call(
            "cold profile", "/api/v1/profiles/user-001", headers={"Cache-Control": "no-cache"}
        )
        yield Call("feed", "/api/v1/activity/abc?limit=5")
        yield Call("health", "/health")
        yield Call("ready", "/health/ready")


def timeline(run: Run) -> Table:
    """Return what each kind of request saw in each phase."""
    table = Table(title=f"{run.fault}, then taken back", title_justify="left")
    for heading in ("request", "phase", "n", "statuses", "from", "p50 ms", "max ms", "first"):
        table.add_column(heading)
    names = list(dict.fromkeys(sample.call for sample in run.phases["before"]))
    for name, (phase, samples) in itertools.product(names, run.phases.items()):
        matching = [sample for sample in samples if sample.call == name]
        if not matching:
            continue
        latencies = [sample.latency_ms for sample in matching]
        first = matching[0]
        table.add_row(
            name if phase == "before" else "",
            phase,
            str(len(matching)),
            _counted(str(sample.status) for sample in matching),
            _counted(_source(sample) for sample in matching if sample.cache),
            f"{percentile(latencies, 0.5):.0f}",
            f"{max(latencies):.0f}",
            f"{first.status} after {first.latency_ms:.0f} ms",
        )
    return table


def _counted(words: Iterator[str]) -> str:
    return ", ".join(f"{word} x{count}" for word, count in Counter(words).most_common())


def _source(sample: Sample) -> str:
    """Return the part of Cache-Status that says where the answer came from."""
    if "detail=" in sample.cache:
        return sample.cache.rsplit("detail=", 1)[1]
    return sample.cache.split(";")[0]


def verdicts(run: Run) -> list[Verdict]:
    """Return what the contract promises for this fault, held against what was seen."""
    judged = {"redis": _redis, "postgres": _postgres, "mongodb": _mongodb}[run.server](run)
    before = [
        s
        for s in run.phases["before"]
        if s.status not in (200, 204) and _ended(s) < run.broken_at  # not caught by the fault
    ]
    return [
        _verdict("before: every request is answered", before, lambda s: f"{s.call} {s.status}"),
        *judged,
        *_recovery(run),
    ]


def _verdict(promise: str, offenders: list[Sample], describe: Callable[[Sample], str]) -> Verdict:
    if not offenders:
        return Verdict(promise, "holds", True)
    return Verdict(promise, f"{len(offenders)} not: {describe(offenders[0])}", False)


def _status(sample: Sample) -> str:
    return f"{sample.call} {sample.status} after {sample.latency_ms:.0f} ms"


def _resources(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.call not in ("health", "ready")]


def _of(run: Run, name: str) -> list[Sample]:
    """Return the requests of one kind whose whole life lay within the fault."""
    return [s for s in run.phases["during"] if s.call == name and _ended(s) < run.restoring_at]


def _ended(sample: Sample) -> float:
    return sample.at + sample.latency_ms / 1000


def _redis(run: Run) -> list[Verdict]:
    during = _resources(run.phases["during"])
    usual = percentile([sample.latency_ms for sample in _resources(run.phases["before"])], 0.99)
    late = [sample for sample in during if sample.at > during[0].at + LEASE_SECONDS]
    first = [sample for sample in during if sample.at <= during[0].at + LEASE_SECONDS]
    return [
        Verdict(
            f"(p99 before, in the first {LEASE_SECONDS:g} s, afterwards)",
            ", ".join(
                f"{percentile([s.latency_ms for s in phase], 0.99):.0f} ms"
                for phase in (_resources(run.phases["before"]), first, late)
            ),
            True,
        ),
        _verdict("no request fails", [s for s in during if s.status != 200], _status),
        _verdict(
            f"no read takes 300 ms longer than usual ({usual:.0f} ms)",
            [s for s in during if s.call != "write" and s.latency_ms > usual + 300],
            _status,
        ),
        _verdict(
            f"no write takes longer than {LEASE_SECONDS:g} s and 300 ms more than usual",
            [s for s in during if s.latency_ms > usual + 1000 * LEASE_SECONDS + 300],
            _status,
        ),
        _verdict(
            "after the lease's end none waits for Redis (100 ms)",
            [s for s in late if s.latency_ms > usual + 100],
            _status,
        ),
        *([_health_says(run, 200, "degraded")] if run.fault in _SILENT else []),
    ]


def _postgres(run: Run) -> list[Verdict]:
    failed = [s for s in _resources(run.phases["during"]) if s.status != 200]
    hot = _of(run, "hot read")
    return [
        _verdict("what fails is a 503", [s for s in failed if s.status != 503], _status),
        _verdict("with Retry-After", [s for s in failed if not s.retry_after], _status),
        _verdict(
            'that names the store "postgres"',
            [s for s in failed if b'"store":"postgres"' not in s.body],
            _status,
        ),
        _verdict("within 3 s", [s for s in failed if s.latency_ms > 3000], _status),
        _verdict("cached notes are served", [s for s in hot if s.status != 200], _status),
        _health_says(run, 503, "down"),
    ]


def _mongodb(run: Run) -> list[Verdict]:
    during = _resources(run.phases["during"])
    notes = [s for s in during if s.call not in ("hot profile", "cold profile", "feed")]
    usual = percentile([s.latency_ms for s in _resources(run.phases["before"])], 0.99)
    dependent = [s for s in during if s.call in ("cold profile", "feed") and s.status != 200]
    return [
        _verdict("notes are unaffected", [s for s in notes if s.status != 200], _status),
        _verdict(
            f"none takes 300 ms longer than usual ({usual:.0f} ms)",
            [s for s in notes if s.latency_ms > usual + 300],
            _status,
        ),
        _verdict(
            "cached profiles are served",
            [s for s in _of(run, "hot profile") if s.status != 200],
            _status,
        ),
        _verdict(
            'what needs it is a 503 with Retry-After that names the store "mongodb"',
            [s for s in dependent if not _is_unavailable(s, b"mongodb")],
            _status,
        ),
        _verdict("within 3 s", [s for s in dependent if s.latency_ms > 3000], _status),
        _verdict("readiness is 503", [s for s in _of(run, "ready") if s.status != 503], _status),
        _health_says(run, 200, "degraded"),
    ]


def _is_unavailable(sample: Sample, store: bytes) -> bool:
    named = b'"store":"%s"' % store in sample.body
    return sample.status == 503 and bool(sample.retry_after) and named


def _health_says(run: Run, status: int, word: str) -> Verdict:
    health = [s for s in _of(run, "health") if s.status != 0]
    odd = [
        s
        for s in health
        if s.status != status or word.encode() not in s.body or s.latency_ms > 2000
    ]
    return _verdict(f"health says {status} {word} within 2 s", odd, _status)


def _recovery(run: Run) -> list[Verdict]:
    after = run.phases["after"]
    failed = [s for s in after if s.status != 200]
    settled = [s for s in failed if s.at > run.restored_at + 2.0]
    return [
        _verdict("2 s after the server is back, nothing fails", settled, _status),
        Verdict("(failures in these 2 s)", str(len(failed) - len(settled)), True),
        _fresh(run),
    ]


def is_promised(sample: Sample) -> bool:
    """Return whether an answer is promised to be fresh: not marked as unverified or stale."""
    return "detail=unverified" not in sample.cache and "detail=stale" not in sample.cache


def _fresh(run: Run) -> Verdict:
    """Hold every read that starts after a write was answered to show that write or a later one."""
    samples = sorted(itertools.chain(*run.phases.values()), key=lambda sample: sample.at)
    reads = [
        s for s in samples if s.call == "read of the written" and s.status == 200 and is_promised(s)
    ]
    writes = [s for s in samples if s.call == "write" and s.status == 200]
    stale = []
    for read in reads:
        answered = [w for w in writes if w.at + w.latency_ms / 1000 < read.at]
        newest = max((json.loads(w.body)["version"] for w in answered), default=0)
        if json.loads(read.body)["version"] < newest:
            stale.append(read)
    return _verdict(
        f"no stale read among {len(reads)}",
        stale,
        lambda s: f"at {s.at:.1f} s, the server back at {run.restored_at:.1f} s",
    )
