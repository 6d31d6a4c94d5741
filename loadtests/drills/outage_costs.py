"""What an outage of Redis costs: writes that wait for the lease's end, queries of the store, hits that are away."""

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from config.stack.process import StackError, wait_until
from loadtests.drills.store_outage import LEASE_SECONDS, Loops, is_promised
from loadtests.generators.http_load import Call, Sample, connected, create_note, json_call, send_now
from loadtests.stats import percentile
from loadtests.testbed.faults import Fault, fault_named
from loadtests.testbed.statement_log import StatementLog, statements_logged
from loadtests.testbed.workers import Workers

BEFORE_SECONDS = 3.0
DURING_SECONDS = 5.0
AFTER_SECONDS = 5.0
READS_PER_SECOND: Final = 60.0
WRITES_PER_SECOND: Final = 30.0
NOTES: Final = 20  # that are read, and as many others that are written
FAULTS: Final = (
    "nothing",
    "Redis killed",
    "Redis paused",
    "Redis 300 ms away",
    "writes refused: NOREPLICAS",
    "writes held: CLIENT PAUSE",
    "one worker cut off from Redis",
    "replica promoted",
)
_USER: Final = "outage-costs"


@dataclass(frozen=True)
class Costs:
    """What one fault cost. Latencies of writes in ms, by when they were sent; hits_back by worker."""

    fault: str
    writes_before: list[float]
    writes_at_first: list[float]  # within LEASE_SECONDS of the fault
    writes_later: list[float]
    writes_failed: int
    queries_before: float  # of notes, per second
    queries_during: float
    reads_per_second: float
    hits_back: list[float | None]  # seconds after the end of the fault


def faults() -> Iterator[Fault]:
    """Yield the faults to measure."""
    return map(fault_named, FAULTS)


def measure(site: Workers, fault: Fault) -> Costs:
    """
    Read hot notes and write others at fixed rates before, during and after a fault.

    Raises StackError where the site serves no hits before.
    """
    hot, written = (
        [create_note(site.site.url, _USER, "Costs") for _ in range(NOTES)] for _ in range(2)
    )
    calls = list(itertools.islice(_reads(hot), NOTES))
    if not wait_until(lambda: all(_hits(worker.url, calls) for worker in site.workers), 60):
        raise StackError("the site serves no hits, so an outage would cost nothing")
    reads = Loops(site, lambda url: _reads(hot), READS_PER_SECOND)
    writes = Loops(site, lambda url: _writes(written), WRITES_PER_SECOND)
    with statements_logged(site.stack) as log:
        log.read("notes")
        _run(reads, writes, BEFORE_SECONDS)
        queries_before = _per_second(log, BEFORE_SECONDS)
        with fault.inject(site, random.Random(1)):  # noqa: S311  # to be repeatable
            broken_at, began = writes.now(), time.monotonic()
            _run(reads, writes, DURING_SECONDS)
            queries_during = _per_second(log, time.monotonic() - began)
            ended_at, reads_ended_at = writes.now(), reads.now()
        over_at = reads.now()
        _run(reads, writes, AFTER_SECONDS)
    sent = [sample for samples in writes.finish() for sample in samples]
    good = [sample for sample in sent if sample.status == 200]
    first_until = broken_at + LEASE_SECONDS
    return Costs(
        fault.name,
        [sample.latency_ms for sample in good if sample.at < broken_at],
        [sample.latency_ms for sample in good if broken_at <= sample.at < first_until],
        [sample.latency_ms for sample in good if first_until <= sample.at < ended_at],
        len(sent) - len(good),
        queries_before,
        queries_during,
        READS_PER_SECOND,
        [_hit_after(samples, reads_ended_at, over_at) for samples in reads.finish()],
    )


def _hits(url: str, calls: Sequence[Call]) -> bool:
    """Return whether each call, sent once, is a hit."""
    with connected(url) as connection:
        samples = [send_now(connection, call) for call in calls]
    return all(map(_is_hit, samples))


def _is_hit(sample: Sample) -> bool:
    return sample.cache.startswith("hit") and is_promised(sample)


def _run(reads: Loops, writes: Loops, seconds: float) -> None:
    with reads.running(seconds), writes.running(seconds):
        pass


def _per_second(log: StatementLog, seconds: float) -> float:
    """Return how many queries read notes, per second, since the log was read last."""
    queries = [query for query in log.read("notes") if query.reads_notes]
    return sum("FOR UPDATE" not in query.text for query in queries) / seconds


def _hit_after(samples: Sequence[Sample], ended_at: float, over_at: float) -> float | None:
    """Return the seconds from a fault's end to the first hit that was sent after it."""
    hits = [sample.at for sample in samples if sample.at >= ended_at and _is_hit(sample)]
    return max(0.0, min(hits) - over_at) if hits else None


def _reads(notes: Sequence[str]) -> Iterator[Call]:
    for note in itertools.cycle(notes):
        yield Call("read", f"/api/v1/notes/{note}")


def _writes(notes: Sequence[str]) -> Iterator[Call]:
    for number, note in enumerate(itertools.cycle(notes)):
        yield json_call(_USER, f"/api/v1/notes/{note}", {"title": str(number)}, "PATCH", "write")


def as_table(costs: Sequence[Costs]) -> Table:
    """Return the costs of each fault."""
    table = Table(
        title=f"what it costs, at {READS_PER_SECOND:g} reads of {NOTES} hot notes and "
        f"{WRITES_PER_SECOND:g} writes a second",
        caption="writes: p50, p99, max in ms; queries: of notes in PostgreSQL, per second; hits back: "
        "seconds after the end of the fault, by worker",
        title_justify="left",
    )
    for heading in (
        *("fault", "writes before", f"in the first {LEASE_SECONDS:g} s", "later", "failed"),
        *("queries before", "during", "hits back"),
    ):
        table.add_column(heading)
    for cost in costs:
        table.add_row(
            cost.fault,
            *map(_latencies, (cost.writes_before, cost.writes_at_first, cost.writes_later)),
            str(cost.writes_failed),
            f"{cost.queries_before:.1f}",
            f"{cost.queries_during:.1f}",
            ", ".join("never" if back is None else f"{back:.2f}" for back in cost.hits_back),
        )
    return table


def _latencies(latencies: Sequence[float]) -> str:
    if not latencies:
        return "none"
    numbers = (percentile(latencies, 0.5), percentile(latencies, 0.99), max(latencies))
    return ", ".join(f"{number:.0f}" for number in numbers)
