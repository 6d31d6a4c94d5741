"""
The arithmetic of docs/scale.md: from measured costs to many reads and notes, and which bound comes first.

`python -m loadtests figures` writes what stands between two markers of the page, from docs/benchmarks.md
(processor time) and docs/figures/sizes.json (bytes); nothing there is written by hand.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from config.stack import ROOT
from loadtests.markers import Markers

MARKERS: Final = Markers(
    "<!-- scale:begin, written by python -m loadtests figures -->", "<!-- scale:end -->"
)
FOLDER: Final = ROOT / "docs"
PAGE: Final = "scale.md"
SIZES: Final = "figures/sizes.json"
BENCHMARKS: Final = "benchmarks.md"

LOADS: Final = ((10**3, 10**6), (10**4, 10**7), (10**5, 10**8), (10**6, 10**9))  # reads/s, notes
# Of reads. docs/postmortem.md measures 0.17 with the cold start and the few readers of the mix.
MISS_SHARE: Final = 0.05
# To Redis: look, begin, end; each is assumed to cost it what a hit does.
MISS_ROUND_TRIPS: Final = 3
WRITES_PER_READ: Final = 0.01  # as in the bench's mix
BUSY: Final = 0.6  # of a processor; above that queues grow
ENTRY_SECONDS: Final = 300 + 3_600  # CACHE_TTL_NOTE_SECONDS and CACHE_GRACE_SECONDS
RETENTION_SECONDS: Final = 90 * 86_400  # ACTIVITY_RETENTION_DAYS
INSTANCE_PROCESSORS: Final = 8
# What one node is assumed to have.
NODE_PROCESSORS: Final = 32
NODE_MEMORY_BYTES: Final = 64e9
NODE_DISK_BYTES: Final = 4e12
NODE_REPLICATION_BYTES: Final = 100e6  # a second

_US: Final = 1e-6
# Rows of the bench: hit, miss, write.
_REQUESTS: Final = ("cached read", "uncached read", "note replaced")
Quantities = Mapping[str, float]


class Costs(NamedTuple):
    """Microseconds of processor of one request: of the application, and of each store."""

    application: float
    postgres: float
    redis: float
    mongodb: float
    later: float  # of all, after the load: events on their way


class Need(NamedTuple):
    """One thing that a load needs, and how much of it one node has."""

    bound: str
    amount: float
    node: float

    @property
    def nodes(self) -> float:
        return self.amount / self.node


class Load(NamedTuple):
    """What one load needs. Memory and disk in bytes, traffic in bytes a second."""

    reads: float
    notes: float
    first_level_processors: float  # of the application, with every hit answered by the first level
    redis_hit_processors: float  # the same, with every hit a round trip to Redis
    needs: Mapping[str, Need]

    @property
    def first(self) -> Need:
        """The bound that is met first: of which the load needs the most nodes."""
        return max(self.needs.values(), key=lambda need: need.nodes)

    @property
    def redis_shards(self) -> int:
        """So many that none of Redis's needs is more than one of them has."""
        return math.ceil(max(need.nodes for need in self.needs.values() if "Redis" in need.bound))


def costs_of(request: str, page: str) -> Costs:
    """Return what the bench measured of a request at this site. Raises LookupError."""
    row = re.search(rf"^\| {request} \| Trilith \|(.*)\|$", page, re.MULTILINE)
    if row is None:
        raise LookupError(f"docs/{BENCHMARKS} has no row of {request}")
    cells = [cell.strip() for cell in row[1].split("|")]
    return Costs(*map(float, cells[4:9]))


def load_of(reads: float, notes: float, page: str, sizes: Quantities) -> Load:
    """Return what so many reads a second over so many notes need, from the two files' figures."""
    hit, miss, write = (costs_of(request, page) for request in _REQUESTS)
    hits, misses, writes = (
        reads * (1 - MISS_SHARE),
        reads * MISS_SHARE,
        reads * WRITES_PER_READ,
    )
    events = reads + writes
    others = misses * (miss.application + miss.later) + writes * (write.application + write.later)
    redis_hit_us = sizes["redis_hit_application_us_1_processes"]
    redis_hit_redis_us = sizes["redis_hit_redis_us_1_processes"]
    entries = min(notes, misses * ENTRY_SECONDS)
    note_bytes = sizes["note_row_bytes_large"] + sizes["note_index_bytes_large"]
    event_bytes = sizes["event_disk_bytes_large"] + sizes["event_index_bytes_large"]
    redis_us = (
        hits * redis_hit_redis_us
        + misses * MISS_ROUND_TRIPS * redis_hit_redis_us
        + writes * write.redis
    )
    needs = (
        Need(
            "PostgreSQL processors",
            (misses * miss.postgres + writes * write.postgres) * _US / BUSY,
            NODE_PROCESSORS,
        ),
        Need("PostgreSQL size", notes * note_bytes, NODE_DISK_BYTES),
        Need("WAL", writes * sizes["wal_bytes_per_note_replaced"], NODE_REPLICATION_BYTES),
        Need("Redis thread", redis_us * _US / BUSY, 1),
        Need("Redis memory", entries * sizes["redis_entry_bytes_large"], NODE_MEMORY_BYTES),
        Need(
            "Redis replication",
            misses * sizes["redis_replication_bytes_per_miss"]
            + writes * sizes["redis_replication_bytes_per_write"],
            NODE_REPLICATION_BYTES,
        ),
        Need(
            "MongoDB processors",
            events * (hit.mongodb + hit.later) * _US / BUSY,
            NODE_PROCESSORS,
        ),
        Need("MongoDB size", events * RETENTION_SECONDS * event_bytes, NODE_DISK_BYTES),
        Need("oplog", events * sizes["oplog_bytes_per_event"], NODE_REPLICATION_BYTES),
    )
    return Load(
        reads,
        notes,
        (hits * (hit.application + hit.later) + others) * _US / BUSY,
        (hits * redis_hit_us + others) * _US / BUSY,
        {need.bound: need for need in needs},
    )


def write(folder: Path = FOLDER) -> None:
    """Fill in the page of the folder. Raises LookupError, MissingMarkers, OSError."""
    MARKERS.fill(folder / PAGE, table(folder))


def table(folder: Path = FOLDER) -> str:
    """Return the arithmetic in Markdown, from the files of the folder. Raises LookupError, OSError."""
    page = (folder / BENCHMARKS).read_text()
    document = json.loads((folder / SIZES).read_text())
    sizes: Quantities = document["quantities"]
    loads = [load_of(reads, notes, page, sizes) for reads, notes in LOADS]
    return "\n\n".join(
        (
            _measured(page, document["command"], document["date"], sizes),
            _formulas(),
            _needs(loads),
            _checks(sizes),
        )
    )


def _measured(page: str, command: str, date: str, sizes: Quantities) -> str:
    rows = ["| request | application µs | PostgreSQL µs | Redis µs | MongoDB µs | later µs |"]
    rows.append(f"|---{'|---:' * 5}|")
    for request in _REQUESTS:
        cells = " | ".join(f"{cost:g}" for cost in costs_of(request, page))
        rows.append(f"| {request}, by [benchmarks.md]({BENCHMARKS}) | {cells} |")
    rows.append(
        f"| a hit in Redis, without a first level, by `sizes` | {_rounded(sizes['redis_hit_application_us_1_processes'])}"
        f" | | {_rounded(sizes['redis_hit_redis_us_1_processes'])} | | |"
    )
    parts = (
        ("note: row, and its indexes", "note_row_bytes_large", "note_index_bytes_large"),
        ("cached note in Redis, with its stamps", "redis_entry_bytes_large"),
        ("the same in the first level of a process", "first_level_copy_bytes"),
        ("event: on disk, and its indexes", "event_disk_bytes_large", "event_index_bytes_large"),
        ("row of the outbox, until it is delivered", "outbox_row_bytes"),
        (
            "WAL: note replaced, created",
            "wal_bytes_per_note_replaced",
            "wal_bytes_per_note_created",
        ),
        (
            "to each replica of Redis: a miss, a write",
            "redis_replication_bytes_per_miss",
            "redis_replication_bytes_per_write",
        ),
        ("oplog, per event", "oplog_bytes_per_event"),
    )
    byte_rows = [f"| bytes, by `{command}` on {date} | |", "|---|---:|"]
    for text, *names in parts:
        byte_rows.append(f"| {text} | {', '.join(_rounded(sizes[name]) for name in names)} |")
    return "\n".join(rows) + "\n\n" + "\n".join(byte_rows)


def _formulas() -> str:
    return f"""\
With R reads/s, N notes, misses M = {MISS_SHARE:g} R, hits H = R - M, writes W = {WRITES_PER_READ:g} R, processors {BUSY:.0%} busy:

- processors = (H x hit + M x uncached read + W x note replaced) / 10^6 / {BUSY:g}, for the application and for each store;
  a miss is {MISS_ROUND_TRIPS} round trips to Redis, each assumed to cost it what a hit does
- entries in Redis = min(N, M x {ENTRY_SECONDS} s), the lifetime of a note and its grace; memory = entries x bytes
- PostgreSQL = N x (row + indexes); WAL = W x bytes; to Redis' replicas M x bytes of a miss + W x bytes of a write
- events = R + W each second, for {RETENTION_SECONDS // 86_400} days; oplog = events x bytes;
  MongoDB has at most a cached read's own column and all of *later*

A node is assumed to have {NODE_PROCESSORS} processors, {NODE_MEMORY_BYTES / 1e9:g} GB for Redis, {NODE_DISK_BYTES / 1e12:g} TB of disk and \
{NODE_REPLICATION_BYTES / 1e6:g} MB/s of replication; an instance {INSTANCE_PROCESSORS} processors; Redis has one thread."""


def _needs(loads: list[Load]) -> str:
    def line(what: str, cells: list[str]) -> str:
        return f"| {what} | {' | '.join(cells)} |"

    def of(bound: str, unit: float) -> list[str]:
        return [_rounded(load.needs[bound].amount / unit) for load in loads]

    def instances(processors: float) -> str:
        return f"{_rounded(processors)}, {math.ceil(processors / INSTANCE_PROCESSORS)}"

    return "\n".join(
        (
            line(
                "reads/s, notes",
                [
                    f"10^{math.log10(load.reads):.0f}, 10^{math.log10(load.notes):.0f}"
                    for load in loads
                ],
            ),
            f"|---{'|---:' * len(loads)}|",
            line(
                "application: processors, instances; hits from the first level",
                [instances(load.first_level_processors) for load in loads],
            ),
            line(
                "the same; each hit a round trip to Redis",
                [instances(load.redis_hit_processors) for load in loads],
            ),
            line("PostgreSQL processors", of("PostgreSQL processors", 1)),
            line("PostgreSQL size, GB", of("PostgreSQL size", 1e9)),
            line("WAL, MB/s", of("WAL", 1e6)),
            line("Redis threads, where each hit goes there", of("Redis thread", 1)),
            line("Redis memory, GB", of("Redis memory", 1e9)),
            line("Redis replication, MB/s", of("Redis replication", 1e6)),
            line(
                "Redis shards",
                [str(load.redis_shards) for load in loads],
            ),
            line("MongoDB processors", of("MongoDB processors", 1)),
            line("MongoDB size, TB", of("MongoDB size", 1e12)),
            line("oplog, MB/s", of("oplog", 1e6)),
            line(
                "**first bound**, nodes of it",
                [f"{load.first.bound}, {_rounded(load.first.nodes)}" for load in loads],
            ),
            line(
                "more than one node",
                [
                    ", ".join(need.bound for need in load.needs.values() if need.nodes > 1)
                    or "none"
                    for load in loads
                ],
            ),
        )
    )


def _checks(sizes: Quantities) -> str:
    """Compare what the model says, that each thing costs the same however many there are, with what is measured."""
    rows = [
        "| check of the model, same command | predicted | measured | ratio |",
        "|---|---:|---:|---:|",
    ]
    for text, names, unit in CHECKS:
        predicted, measured = (sum(sizes[name] for name in side) for side in (names[0], names[1]))
        rows.append(
            f"| {text} | {_rounded(predicted)} {unit} | {_rounded(measured)} {unit} | {measured / predicted:.2f} |"
        )
    return "\n".join(rows)


CHECKS: Final = (
    (
        "a note at 200 000, from 20 000",
        (
            ("note_row_bytes_small", "note_index_bytes_small"),
            ("note_row_bytes_large", "note_index_bytes_large"),
        ),
        "bytes",
    ),
    (
        "an event at 100 000, from 20 000",
        (
            ("event_disk_bytes_small", "event_index_bytes_small"),
            ("event_disk_bytes_large", "event_index_bytes_large"),
        ),
        "bytes",
    ),
    (
        "a cached note at 2 500, from 500",
        (("redis_entry_bytes_small",), ("redis_entry_bytes_large",)),
        "bytes",
    ),
    (
        "a hit in Redis with two processes, from one",
        (
            ("redis_hit_application_us_1_processes",),
            ("redis_hit_application_us_2_processes",),
        ),
        "µs",
    ),
)


def _rounded(value: float) -> str:
    """Return three digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else "0"
