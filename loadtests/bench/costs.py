"""python -m loadtests costs: what single parts cost, each measured alone."""

import argparse
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Final

import psycopg
import redis
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtests.bench.scenarios import USER
from loadtests.generators.http_load import (
    Call,
    closed_loop,
    connected,
    create_note,
    fetch,
    json_call,
    send_now,
)
from loadtests.stats import percentile, ratio_of_medians
from loadtests.testbed.servers import run_python
from loadtests.testbed.site import Site, running_site

WRITES: Final = 300
KEYS: Final = (1_000, 1_000_000)
AUDITED: Final = 500
AUDIT_ROUNDS: Final = 5
AUDIT_SECONDS: Final = 6.0  # of reads without an audit and with one, in each round
AUDIT_CONNECTIONS: Final = 4
SAMPLED_SECONDS: Final = 10.0
_RARE: Final = 0.01  # of the processor time: parts below that are shown as one
EVENTS: Final = 2_000
SPOOLED_EVENTS: Final = 100_000
_EVENT: Final = os.urandom(400)
# Run within the site's code, since it is of its spool: the time of each of several ways to store one event, in turns, and the events a
# second that the spool takes in and ships.
_SPOOL_SCRIPT: Final = """
import bson, json, mmap, os, struct, tempfile, time, zlib
from pathlib import Path
from activity import services
from activity.shipper import Shipper
own = services.own_spool()
kind = {"action": "note_viewed", "resource": "note", "resource_id": "x" * 36, "details": {"status": 200}}
event = {"user_id": "ingest", **kind, "ip_address": "127.0.0.0", "user_agent": "x" * 80, "request_id": "x" * 32}
record = services.recorder(*kind.values())
file = os.open(own.folder / "written", os.O_CREAT | os.O_RDWR | os.O_APPEND)
count = os.open(own.folder / "count", os.O_CREAT | os.O_RDWR)
os.pwrite(count, bytes(1_048_576), 0)
memory = mmap.mmap(count, 1_048_576)
encoded = bson.encode(event)
place = iter(range(10**9))

def copied():
    at = 400 * (next(place) %% 2_600)
    memory[at : at + len(encoded)] = encoded

def written():
    document = bson.encode({"_id": bson.ObjectId(), **event})
    os.write(file, struct.pack("<I", zlib.crc32(document)) + document)
    head = struct.pack("<4sI", b"TRLC", 1)
    os.pwrite(count, head + struct.pack("<I", zlib.crc32(head)), 0)

def recorded():
    record("ingest", "127.0.0.1", "x" * 80, "x" * 32)

def appended():
    own.append(event)

ways = [copied, written, recorded, appended]
times_us = {way.__name__: [] for way in ways}
for _ in range(10):
    for way in ways:
        for _ in range(%(events)d // 10):
            began = time.perf_counter_ns()
            way()
            times_us[way.__name__].append((time.perf_counter_ns() - began) / 1_000)
own.close()
Shipper(own).ship()
began = time.perf_counter()
for _ in range(%(spooled)d):
    own.append(event)
taken = time.perf_counter()
own.close()
shipped = Shipper(own).ship()
ended = time.perf_counter()
for name in ("written", "count"):
    (own.folder / name).unlink()
print(json.dumps(times_us))
print(round(%(spooled)d / (taken - began)), round(shipped / (ended - taken)))
"""
_SPOOL_WAYS: Final = {
    "copied": ("memory of a mapped file, copied to", "no"),
    "written": ("a file: BSON, one write, one of the count", "no"),
    "recorded": ("the spool, by the recorder of a kind of event", "no"),
    "appended": ("the spool, by append", "no"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of costs."""
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="default: all of them")


def run(options: argparse.Namespace) -> int:
    """Measure each part on a site of its own and print its table; return 0. Raises StackError."""
    for part in options.part or PARTS:
        with running_site(notes=2_000, workers=4) as site:
            table = PARTS[part](site)
        Console(width=140).print(table)
    return 0


def invalidation(site: Site) -> Table:
    """Write over HTTP, and unlink a key in Redis, while Redis holds few keys and many."""
    table = _table("an invalidation, by the number of keys in Redis")
    path = f"/api/v1/notes/{create_note(site.url, USER)}"
    with (
        redis.Redis.from_url(site.stack.operator_urls()["REDIS_URL"]) as client,
        connected(site.url) as connection,
    ):
        for keys in KEYS:
            _fill(client, keys)
            writes, unlinks = [], []
            for number in range(WRITES):
                call = json_call(USER, path, {"title": str(number)}, "PATCH")
                writes.append(send_now(connection, call).latency_ms)
                client.set("filler:stamp", b"x")
                unlinks.append(_timed_ms(lambda: client.unlink("filler:stamp")))
            _add_row(table, f"a write over HTTP, {keys} keys", writes)
            _add_row(table, f"its UNLINK alone, {keys} keys", unlinks)
    return table


def _fill(client: redis.Redis, keys: int) -> None:
    pipe = client.pipeline(transaction=False)
    for number in range(keys):
        pipe.set(f"filler:{number}", b"x", ex=600)
        if number % 10_000 == 9_999:
            pipe.execute()
    pipe.execute()


def audit(site: Site) -> Table:
    """
    Read a cached note without and with an audit beside it, in rounds.

    The process of the audit, its start included, runs on the same processors.
    """
    paths = _cached_notes(site)
    without: list[list[float]] = []
    with_audit: list[list[float]] = []
    report = ""
    for _ in range(AUDIT_ROUNDS):
        without.append(_read_latencies_ms(site, paths[0]))
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(site.manage, "cache", "audit", f"--count={AUDITED}")
            with_audit.append(_read_latencies_ms(site, paths[0]))
            report = running.result().strip()
    ratio = ratio_of_medians(
        [statistics.median(latencies) for latencies in with_audit],
        [statistics.median(latencies) for latencies in without],
    )
    table = _table("an audit under load")
    _add_row(table, f"a cached read, over {AUDIT_CONNECTIONS} connections", [*chain(*without)])
    _add_row(table, "the same while manage.py cache audit runs", [*chain(*with_audit)])
    table.caption = Text(f"with the audit {ratio.text} the median without: {report}")
    return table


def _cached_notes(site: Site) -> list[str]:
    """Read AUDITED notes, so that they are cached; return their paths."""
    paths: list[str] = []
    for page in range(1, AUDITED // 100 + 2):
        notes = fetch(site.url, f"/api/v1/notes?limit=100&page={page}")["results"]
        paths += [f"/api/v1/notes/{note['id']}" for note in notes]
    for path in paths[:AUDITED]:
        fetch(site.url, path)
    return paths


def _read_latencies_ms(site: Site, path: str) -> list[float]:
    call = Call("", path)
    samples = closed_loop(site.url, call, connections=AUDIT_CONNECTIONS, seconds=AUDIT_SECONDS)
    return [sample.latency_ms for sample in samples]


def hit(site: Site) -> Table:
    """Read one cached note again and again in one process; return where the time goes."""
    path = f"/api/v1/notes/{create_note(site.url, USER)}"
    fetch(site.url, path)
    return _sampled(site, "a cached read", Call("", path))


def put(site: Site) -> Table:
    """Replace one note again and again in one process; return where the time goes."""
    path = f"/api/v1/notes/{create_note(site.url, USER)}"
    body = {"title": "Replaced", "content": "x" * 400}
    return _sampled(site, "a note replaced", json_call(USER, path, body, "PUT"))


def _sampled(site: Site, what: str, call: Call) -> Table:
    """Return the microseconds of each part, which sum to the whole: processor time, and the wait for the stores."""
    request = {
        "path": call.path,
        "method": call.method,
        "headers": dict(call.headers),
        "body": call.body or "",
        "seconds": SAMPLED_SECONDS,
    }
    command = ["-m", "loadtests.testbed.sampled_requests", json.dumps(request)]
    outcome = json.loads(run_python(command, site.environment, site.root))
    samples = outcome["samples"]
    per_sample = outcome["processor_us"] / sum(samples.values())
    parts = {part: per_sample * count for part, count in samples.items()}
    rare = [part for part, cost in parts.items() if cost < _RARE * outcome["processor_us"]]
    parts[f"{len(rare)} others"] = sum(parts.pop(part) for part in rare)
    parts["not running: waiting for stores, and for other threads"] = (
        outcome["elapsed_us"] - outcome["processor_us"]
    )
    table = Table(title=f"costs: {what}, by module and package, without HTTP server")
    table.add_column("part")
    table.add_column("µs", justify="right")
    for part, cost in sorted(parts.items(), key=lambda item: -item[1]):
        table.add_row(part, f"{cost:.1f}")
    table.add_row("in all", f"{outcome['elapsed_us']:.1f}")
    table.caption = Text(
        f"{outcome['requests']} requests one after the other, {sum(samples.values())} samples"
    )
    return table


def spool(site: Site) -> Table:
    """Store one event of 400 bytes at a time where events could wait for MongoDB."""
    table = Table(title="costs: where an event could wait for MongoDB, one at a time")
    for heading in (
        "place",
        "n",
        "p50 µs",
        "p99 µs",
        "of a copy's p50",
        "survives a power failure",
    ):
        table.add_column(heading, justify="left" if heading == "place" else "right")
    script = _SPOOL_SCRIPT % {"events": EVENTS, "spooled": SPOOLED_EVENTS}
    times, rates = site.manage("shell", "--verbosity=0", "-c", script).splitlines()[-2:]
    ways = {_SPOOL_WAYS[way]: times_us for way, times_us in json.loads(times).items()}
    with tempfile.TemporaryDirectory(dir=site.stack.folder) as name, ExitStack() as cleanup:
        folder = Path(name)
        for place, store, survives in (
            ("a file, one write and fdatasync", _file(folder / "b", cleanup), "yes"),
            ("SQLite, WAL, synchronous=NORMAL", _sqlite(folder / "c", cleanup), "no"),
            ("PostgreSQL, one INSERT and its commit", _postgres(site, cleanup), "yes"),
        ):
            ways[place, survives] = [1000 * _timed_ms(store) for _ in range(EVENTS)]
    copied_us = statistics.median(ways[_SPOOL_WAYS["copied"]])
    for (place, survives), times_us in ways.items():
        p50, p99 = (percentile(times_us, share) for share in (0.5, 0.99))
        figures = (f"{p50:.2f}", f"{p99:.1f}", f"{p50 / copied_us:.1f}")
        table.add_row(place, str(len(times_us)), *figures, survives)
    taken, shipped = rates.split()
    table.caption = f"the spool takes {taken} events a second from one thread, and ships {shipped}"
    return table


def _file(path: Path, cleanup: ExitStack) -> Callable[[], object]:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    cleanup.callback(os.close, descriptor)
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter

    def write() -> None:
        os.write(descriptor, _EVENT)
        sync(descriptor)

    return write


def _sqlite(path: Path, cleanup: ExitStack) -> Callable[[], object]:
    connection = sqlite3.connect(path, isolation_level=None)
    cleanup.callback(connection.close)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE events (event BLOB)")
    return lambda: connection.execute("INSERT INTO events VALUES (?)", (_EVENT,))


def _postgres(site: Site, cleanup: ExitStack) -> Callable[[], object]:
    connection = psycopg.connect(site.stack.operator_urls()["DATABASE_URL"], autocommit=True)
    cleanup.callback(connection.close)
    connection.execute("CREATE TABLE IF NOT EXISTS loadtests_events (event bytea)")
    cleanup.callback(connection.execute, "DROP TABLE loadtests_events")
    return lambda: connection.execute("INSERT INTO loadtests_events VALUES (%s)", [_EVENT])


def _timed_ms(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def _table(title: str) -> Table:
    table = Table(title=f"costs: {title}")
    table.add_column("what")
    for heading in ("n", "p50 ms", "p99 ms", "max ms"):
        table.add_column(heading, justify="right")
    return table


def _add_row(table: Table, what: str, samples_ms: Sequence[float]) -> None:
    figures = (percentile(samples_ms, share) for share in (0.5, 0.99, 1.0))
    table.add_row(what, str(len(samples_ms)), *(f"{figure:.2f}" for figure in figures))


PARTS: Final[Mapping[str, Callable[[Site], Table]]] = {
    "invalidation": invalidation,
    "audit": audit,
    "hit": hit,
    "put": put,
    "spool": spool,
}
