"""Where an event could be kept until MongoDB has it: what each place takes for one of 400 bytes."""

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import psycopg
from rich.table import Table

from loadtests.stats import percentile
from loadtests.testbed.site import Site

EVENTS: Final = 2_000
_EVENT: Final = os.urandom(400)
# The spool itself, within the site's code: a rate for what it takes in and one for what it ships.
_INGEST: Final = """
import tempfile, time
from pathlib import Path
from activity.shipper import Shipper
from activity.spool import Spool
own = Spool(Path(tempfile.mkdtemp()), max_bytes=10**10)
event = {"user_id": "ingest", "action": "note_viewed", "resource": "note", "resource_id": "x" * 36,
         "details": {"status": 200}, "ip_address": "127.0.0.0", "user_agent": "x" * 80,
         "request_id": "x" * 32}
began = time.perf_counter()
for _ in range(100_000):
    own.append(event)
taken = time.perf_counter()
own.close()
shipped = Shipper(own).ship()
print(f"{100_000 / (taken - began):.0f} {shipped / (time.perf_counter() - taken):.0f}")
"""


def places(site: Site) -> Table:
    """Keep EVENTS events in each place, one after the other, each durable against a kill."""
    table = Table(title="python -m loadtests places: one event at a time")
    for heading in ("place", "n", "p50 µs", "p99 µs", "survives also a power failure"):
        table.add_column(heading, justify="left" if heading == "place" else "right")
    with tempfile.TemporaryDirectory(dir=site.stack.folder) as folder, ExitStack() as ending:
        where = Path(folder)
        for place, keep, survives in (
            ("a file, one write (the spool)", _file(where / "a", ending, synced=False), "no"),
            ("a file, one write and fdatasync", _file(where / "b", ending, synced=True), "yes"),
            ("SQLite, WAL, synchronous=NORMAL", _sqlite(where / "c", ending), "no"),
            ("PostgreSQL, one INSERT and its commit", _postgres(site, ending), "yes"),
        ):
            taken = [_timed_us(keep) for _ in range(EVENTS)]
            median = f"{statistics.median(taken):.1f}"
            table.add_row(place, str(EVENTS), median, f"{percentile(taken, 0.99):.1f}", survives)
    appended, shipped = site.manage("shell", "--verbosity=0", "-c", _INGEST).split()[-2:]
    table.caption = (
        f"the spool takes {appended} events a second from one thread, and ships {shipped}"
    )
    return table


def _timed_us(keep: Callable[[], object]) -> float:
    began = time.perf_counter()
    keep()
    return (time.perf_counter() - began) * 1e6


def _file(path: Path, ending: ExitStack, *, synced: bool) -> Callable[[], object]:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    ending.callback(os.close, descriptor)

    def keep() -> None:
        os.write(descriptor, _EVENT)
        if synced:
            os.fdatasync(descriptor)

    return keep


def _sqlite(path: Path, ending: ExitStack) -> Callable[[], object]:
    connection = sqlite3.connect(path, isolation_level=None)
    ending.callback(connection.close)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE events (event BLOB)")
    return lambda: connection.execute("INSERT INTO events VALUES (?)", (_EVENT,))


def _postgres(site: Site, ending: ExitStack) -> Callable[[], object]:
    connection = psycopg.connect(site.stack.operator_urls()["DATABASE_URL"], autocommit=True)
    ending.callback(connection.close)
    connection.execute("CREATE TABLE IF NOT EXISTS loadtests_events (event bytea)")
    ending.callback(connection.execute, "DROP TABLE loadtests_events")
    return lambda: connection.execute("INSERT INTO loadtests_events VALUES (%s)", [_EVENT])
