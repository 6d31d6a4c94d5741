"""A chaos run as a table, and whether it shows what it should."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table

from loadtests.drills.chaos.clients import Write, is_hit
from loadtests.drills.chaos.run import Injection, Run
from loadtests.stats import percentile

_NO_PROMISE = ("unverified", "stale")
_ACKNOWLEDGED = (200, 201, 204)


@dataclass
class Summary:
    """What was seen of one kind of fault, from its beginning to the next one."""

    fault: str
    injections: list[Injection] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)  # of reads
    hits_during: int = 0
    stale: int = 0
    unpromised_stale: int = 0
    writes: list[Write] = field(default_factory=list)

    @property
    def reads(self) -> int:
        """How many reads were answered with a state."""
        return sum(
            number
            for source, number in self.sources.items()
            if source != "cut off" and not source.startswith("answered")
        )

    @property
    def hits(self) -> Counter[str]:
        """Hits by level."""
        return Counter({name: count for name, count in self.sources.items() if is_hit(name)})

    @property
    def acknowledged(self) -> list[Write]:
        """The writes that were acknowledged."""
        return [write for write in self.writes if write.status in _ACKNOWLEDGED]

    @property
    def hits_back(self) -> list[float]:
        """Seconds from the end of a fault to a worker's next hit; HITS_BACK_SECONDS where none came."""
        return [
            float("inf") if seconds is None else seconds
            for injection in self.injections
            for seconds in injection.hits_back.values()
        ]


def summaries(run: Run) -> list[Summary]:
    """Return a summary of each kind of fault, in the order in which they came first."""
    by_fault: dict[str, Summary] = {}
    for injection in run.injections:
        name = injection.fault.name
        by_fault.setdefault(name, Summary(name)).injections.append(injection)

    def of(phase: int) -> Summary:
        return by_fault[run.injections[min(phase // 2, len(run.injections) - 1)].fault.name]

    if not by_fault:
        return []
    for (phase, _, _, source), number in run.outcome.reads.items():
        summary = of(phase)
        summary.sources[source] += number
        summary.hits_during += number if is_hit(source) and phase % 2 == 0 else 0
    for (phase, source), number in run.outcome.stale.items():
        if source in _NO_PROMISE:
            of(phase).unpromised_stale += number
        else:
            of(phase).stale += number
    for write in run.outcome.writes:
        of(write.phase).writes.append(write)
    return list(by_fault.values())


def violations(run: Run) -> list[str]:
    """Return why the run does not show that no read is stale; nothing if it does."""
    found = [f"a client failed: {error}" for error in run.outcome.errors]
    found += [
        f"{injection.fault.name}: not injected: {injection.failure}"
        for injection in run.injections
        if injection.failure
    ]
    found += [
        f"{injection.fault.name}: hits did not come back"
        for injection in run.injections
        if None in injection.hits_back.values()
    ]
    every = summaries(run)
    if not every:
        found.append("nothing was injected")
    for summary in every:
        if summary.stale:
            found.append(f"{summary.fault}: {summary.stale} stale reads")
        if not summary.hits.total():
            found.append(f"{summary.fault}: no hit, so nothing was tested")
        if not summary.acknowledged:
            found.append(f"{summary.fault}: no write was acknowledged, so nothing was tested")
    return found


def stale_reads(run: Run) -> int:
    """Return the number of stale reads; those marked as no promise are left out."""
    return sum(summary.stale for summary in summaries(run))


def as_table(run: Run, protocol: str) -> Table:
    """Return the run by kind of fault."""
    table = Table(
        title=f"chaos, {run.seconds:.0f} s, seed {run.seed}, {protocol} protocol",
        caption="hits: by Cache-Status; no promise: marked unverified or stale; back: seconds from "
        "the end of the fault to the next hit of each worker",
        title_justify="left",
    )
    table.add_column("fault")
    for heading in ("n", "reads", "hits by level", "during", "no promise", "writes", "refused"):
        table.add_column(heading, justify="right")
    for heading in ("p50 ms", "max ms", "back p50", "back max", "stale"):
        table.add_column(heading, justify="right")
    every = summaries(run)
    for summary in every:
        table.add_row(summary.fault, *_cells(summary))
    table.add_section()
    table.add_row("[bold]all[/bold]", *_cells(_total(every)))
    return table


def _total(every: Sequence[Summary]) -> Summary:
    total = Summary("all")
    for summary in every:
        total.injections += summary.injections
        total.sources += summary.sources
        total.hits_during += summary.hits_during
        total.stale += summary.stale
        total.unpromised_stale += summary.unpromised_stale
        total.writes += summary.writes
    return total


def _cells(summary: Summary) -> list[str]:
    latencies = [write.latency_ms for write in summary.acknowledged]
    unpromised = sum(summary.sources[source] for source in _NO_PROMISE)
    back = summary.hits_back
    return [
        str(len(summary.injections)),
        str(summary.reads),
        ", ".join(f"{name} {count}" for name, count in summary.hits.most_common()) or "0",
        str(summary.hits_during),
        f"{unpromised} ({summary.unpromised_stale} old)" if unpromised else "0",
        str(len(latencies)),
        str(len(summary.writes) - len(latencies)),
        f"{percentile(latencies, 0.5):.0f}" if latencies else "-",
        f"{max(latencies):.0f}" if latencies else "-",
        f"{statistics.median(back):.2f}" if back else "-",
        f"{max(back):.2f}" if back else "-",
        f"[bold]{summary.stale}[/bold]",
    ]
