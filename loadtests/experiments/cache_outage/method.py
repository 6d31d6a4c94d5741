"""The method: Redis killed and paused under traffic, and brought back, phase by phase."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from loadtests.experiments.cache_outage.traffic import READ, Event, SiteLog, Traffic, states
from loadtests.generators.http_load import OpenLoop, Sample
from loadtests.lab.lab import Lab
from loadtests.testbed.site import Site
from loadtests.testbed.statement_log import Statement, statements_logged

WORKERS: Final = 2
FAULTS: Final = {"kill": "killed", "pause": "paused"}  # of the stack, and the phase of each
DOWN: Final = tuple(FAULTS.values())
LEASE_SECONDS: Final = 1.5  # for which Redis is trusted at most (cachelayer.trust)
TRUSTED_SECONDS: Final = 2.0  # after Redis answers again, until every process uses it
_WAITING_SECONDS: Final = 15.0  # at most, until every process uses it
SWEPT_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_LISTENING_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Scale:
    """How long each phase is, at how many requests a second."""

    seconds: float
    per_second: float
    both_ways: int
    swept: tuple[float, ...]


QUICK: Final = Scale(seconds=2.0, per_second=50, both_ways=200, swept=())
FULL: Final = Scale(seconds=8.0, per_second=50, both_ways=400, swept=SWEPT_SECONDS)


@dataclass
class Phase:
    """A stretch of time, in seconds since the start, and its requests."""

    name: str  # up, killed, paused, mending
    start: float
    end: float
    number: int
    samples: list[Sample] = field(default_factory=list)
    lookups: list[Statement] = field(default_factory=list)  # of its reads

    def of(self, kind: str) -> list[Sample]:
        """Return its requests of a kind."""
        return [sample for sample in self.samples if f"-{kind}-" in sample.call]

    def within(self, kind: str) -> list[Sample]:
        """Return those that were also answered before the phase was over."""
        return [
            sample for sample in self.of(kind) if sample.at + sample.latency_ms / 1000 < self.end
        ]


@dataclass
class Outage:
    """One fault: what the site logged, and how it recovered."""

    fault: str
    seconds: float
    events: list[Event] = field(default_factory=list)
    trusted_after_s: float = 0.0  # since Redis answered again, until the last process used it
    recovery: list[tuple[Sample, Sample]] = field(default_factory=list)  # two reads of each note

    @property
    def warnings(self) -> int:
        """How many lines of the site's log were warnings."""
        return sum(event.level == "warning" for event in self.events)

    @property
    def errors(self) -> int:
        """How many were of a higher level."""
        return sum(event.level not in ("debug", "info", "warning") for event in self.events)


@dataclass
class Observations:
    """All that was measured."""

    phases: list[Phase] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    both_ways: list[tuple[float, float]] = field(default_factory=list)
    swept: list[Outage] = field(
        default_factory=list
    )  # killed for other times, on sites of their own

    def named(self, *names: str) -> list[Phase]:
        """Return the phases of these names."""
        return [phase for phase in self.phases if phase.name in names]

    def first_read(self, outage: Outage) -> Sample:
        """Return the first read after the fault that no process could answer from its own memory."""
        reads = [sample for phase in self.named(FAULTS[outage.fault]) for sample in phase.of(READ)]
        return min(reads, key=lambda sample: (sample.cache.startswith("hit"), sample.at))

    def late_reads(self) -> list[Sample]:
        """Return the reads that were sent in an outage after every lease from before it was over."""
        return [
            sample
            for phase in self.named(*DOWN)
            for sample in phase.of(READ)
            if sample.at > phase.start + LEASE_SECONDS
        ]

    def hit_by_outage(self) -> list[Sample]:
        """Return all requests from each fault until Redis was used again."""
        return [sample for phase in self.named(*DOWN, "mending") for sample in phase.samples]

    def recovery(self, fault: str) -> list[tuple[Sample, Sample]]:
        """Return the two reads of each note after the outages of a kind."""
        return [
            pair for outage in self.outages if outage.fault == fault for pair in outage.recovery
        ]


def latencies_ms(phases: Sequence[Phase]) -> list[float]:
    """Return the latencies of reads in these phases."""
    return [sample.latency_ms for phase in phases for sample in phase.of(READ)]


def lookups_per_read(phases: Sequence[Phase]) -> float:
    """Return the look-ups in PostgreSQL for each read of these phases."""
    reads = sum(len(phase.of(READ)) for phase in phases)
    return sum(len(phase.lookups) for phase in phases) / max(reads, 1)


def run(lab: Lab) -> Observations:
    """Up, killed, up, paused, up, on one site; then outages of other lengths."""
    scale = QUICK if lab.quick else FULL
    observations = Observations()
    with (
        lab.site("Redis killed, then paused", notes=500, workers=WORKERS) as site,
        statements_logged(site.stack) as log,
    ):
        run = _Run(lab, site, scale)
        run.traffic.warm_up()
        observations.both_ways = run.traffic.read_both_ways(scale.both_ways)
        run.phase("up", scale.seconds)
        observations.outages.append(run.outage("kill", scale.seconds))
        run.phase("up", scale.seconds)
        observations.outages.append(run.outage("pause", scale.seconds))
        run.phase("up", scale.seconds / 2)
        observations.phases = run.finish(log.read(run.traffic.marker("", "").rstrip("-")))
    for seconds in scale.swept:
        with lab.site(f"an outage of {seconds:g} s", notes=500, workers=WORKERS) as site:
            swept = _Run(lab, site, scale)
            swept.phase("up", 0.5)
            observations.swept.append(swept.outage("kill", seconds))
            swept.finish([])
    return observations


class _Run:
    """The traffic on one site, and where it is."""

    def __init__(self, lab: Lab, site: Site, scale: Scale) -> None:
        self._lab = lab
        self._site = site
        self.traffic = Traffic(site)
        self._loop = OpenLoop(site.url, per_second=scale.per_second)
        self._calls = self.traffic.calls()
        self._phases: list[Phase] = []

    def phase(self, name: str, seconds: float) -> None:
        """Send requests for so long."""
        self._begin(name)
        self._loop.run(self._calls, seconds=seconds)

    def outage(self, fault: str, seconds: float) -> Outage:
        """Kill or pause Redis for so long, bring it back, and wait until every process uses it."""
        self._lab.progress(f"Redis: {fault}, for {seconds:g} s")
        log, outage = SiteLog(self._site), Outage(fault, seconds)
        began = time.time()
        try:
            getattr(self._site.stack, fault)("redis")
            self.phase(FAULTS[fault], seconds)
        finally:
            self._begin("mending")
            self._site.stack.start("redis")
        back_at = time.time()
        outage.seconds = back_at - began
        outage.events = self._await_trust(log, until=back_at + _WAITING_SECONDS)
        over = [event.at for event in outage.events if event.state in ("closed", "held")]
        # If a process never does, recovery took at least as long as this waited.
        last = max(over) if _is_over(states(outage.events)) else time.time()
        outage.trusted_after_s = max(last - back_at, 0.0)
        outage.recovery = self.traffic.read_watched()
        # The other notes' first reads after the fault belong to no phase: with Redis, all are cached.
        self.traffic.warm_up()
        return outage

    def finish(self, statements: list[Statement]) -> list[Phase]:
        """Return the phases, with the requests and the look-ups of each."""
        self._phases[-1].end = self._loop.now()
        samples = self._loop.finish()
        for phase in self._phases:
            marker = self.traffic.marker(f"{phase.name}{phase.number}")
            phase.samples = [sample for sample in samples if sample.call.startswith(marker)]
            reads = self.traffic.marker(f"{phase.name}{phase.number}", READ)
            phase.lookups = [
                statement
                for statement in statements
                if f"'{reads}" in statement.text and statement.reads_notes
            ]
        return self._phases

    def _begin(self, name: str) -> None:
        now = self._loop.now()
        if self._phases:
            self._phases[-1].end = now
        number = len(self._phases)
        self._phases.append(Phase(name, now, now, number))
        self.traffic.phase = f"{name}{number}"

    def _await_trust(self, log: SiteLog, *, until: float) -> list[Event]:
        while True:
            events = log.read()
            if _is_over(states(events)) or time.time() > until:
                return events
            self._loop.run(self._calls, seconds=_LISTENING_SECONDS)


def _is_over(counted: Counter[str]) -> bool:
    """Return whether every process has closed its breaker, and has the lease again where it lapsed."""
    return 0 < counted["open"] == counted["closed"] and counted["none"] == counted["held"]
