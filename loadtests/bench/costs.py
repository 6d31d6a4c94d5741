"""python -m loadtests costs: what a cold key, an edit in psql, an invalidation and an audit cost."""

import json
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psycopg
import redis
from rich.table import Table

from loadtests.generators.http_load import Call, Sample, closed_loop, connected, send
from loadtests.stats import percentile, ratio_of_medians
from loadtests.testbed.site import Site

AT_ONCE: Final = 500
EDITS: Final = 200
WRITES: Final = 300
KEYS: Final = (1_000, 1_000_000)
AUDITED: Final = 500
AUDIT_ROUNDS: Final = 5
AUDIT_SECONDS: Final = 6.0  # of reads without an audit and with one, in each round
AUDIT_CONNECTIONS: Final = 4
_OWNER: Final = {"X-User-Id": "costs", "Content-Type": "application/json"}
# PostgreSQL's backends report their counts when they have been idle for so long.
_REPORTED_SECONDS: Final = 11.0


def costs(site: Site) -> Table:
    """Measure all, one after the other; return them as a table for a terminal."""
    table = Table(title="python -m loadtests costs: 4 worker processes")
    for heading in ("what", "n", "p50 ms", "p99 ms", "max ms", "besides"):
        table.add_column(heading, justify="left" if heading in ("what", "besides") else "right")
    note = create(site)
    samples, lookups = cold_key(site, note)
    told = ", ".join(f"{word} x{count}" for word, count in _sources(samples).items())
    _row(
        table,
        f"{AT_ONCE} at once for one cold key",
        [one.latency_ms for one in samples],
        f"{lookups} look-ups of the row in PostgreSQL; {told}",
    )
    _row(table, "an edit in psql, until it is seen over HTTP", edits(site, note), "")
    _audits(table, site)  # before others' keys are in Redis, of which it draws its sample
    for number in KEYS:
        writes, unlinks = invalidations(site, note, number)
        _row(table, f"a write over HTTP, {number} keys in Redis", writes, "")
        _row(table, f"its UNLINK alone, {number} keys in Redis", unlinks, "")
    return table


def _audits(table: Table, site: Site) -> None:
    reads, audited, told = audits(site)
    _row(table, f"a cached read, over {AUDIT_CONNECTIONS} connections", _all(reads), "")
    ratio = ratio_of_medians(
        [statistics.median(one) for one in audited], [statistics.median(one) for one in reads]
    )
    besides = (
        f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] times the median without: {told}"
    )
    _row(table, "the same while manage.py cache audit runs", _all(audited), besides)


def cold_key(site: Site, note: str) -> tuple[list[Sample], int]:
    """Ask for one note, not cached, from AT_ONCE connections; count look-ups at the server."""
    with psycopg.connect(site.stack.operator_urls()["DATABASE_URL"], autocommit=True) as asked:
        threading.Event().wait(_REPORTED_SECONDS)  # for what was looked up before
        before = _lookups(asked)
        site.manage("cache", "clear")
        start = threading.Barrier(AT_ONCE)

        def one(_: int) -> Sample:
            with connected(site.url) as connection:
                connection.connect()
                start.wait()
                return send(connection, Call("", f"/api/v1/notes/{note}"), time.perf_counter(), 0)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            samples = list(pool.map(one, range(AT_ONCE)))
        threading.Event().wait(_REPORTED_SECONDS)
        return samples, _lookups(asked) - before


def edits(site: Site, note: str) -> list[float]:
    """Change the note by SQL again and again; return how long each was not seen, in ms."""
    taken = []
    url = site.stack.operator_urls()["DATABASE_URL"]
    read = Call("", f"/api/v1/notes/{note}")
    with psycopg.connect(url, autocommit=True) as psql, connected(site.url) as connection:
        for number in range(EDITS):
            send(connection, read, 0, 0)  # cached
            psql.execute("UPDATE notes SET title = %s WHERE id = %s", [f"edit {number}", note])
            committed = time.perf_counter()
            while json.loads(send(connection, read, 0, 0).body)["title"] != f"edit {number}":
                pass
            taken.append((time.perf_counter() - committed) * 1000)
    return taken


def invalidations(site: Site, note: str, keys: int) -> tuple[list[float], list[float]]:
    """Write with so many keys in Redis; return the latencies of writes and of UNLINK, in ms."""
    client = redis.Redis.from_url(site.stack.operator_urls()["REDIS_URL"])
    pipe = client.pipeline(transaction=False)
    for number in range(keys):
        pipe.set(f"filler:{number}", b"x", ex=600)
        if number % 10_000 == 9_999:
            pipe.execute()
    pipe.execute()
    writes, unlinks = [], []
    with connected(site.url) as connection:
        for number in range(WRITES):
            body = json.dumps({"title": str(number)})
            call = Call("", f"/api/v1/notes/{note}", "PATCH", _OWNER, body)
            writes.append(send(connection, call, time.perf_counter(), 0).latency_ms)
            client.set("filler:stamp", b"x")
            started = time.perf_counter()
            client.unlink("filler:stamp")
            unlinks.append((time.perf_counter() - started) * 1000)
    return writes, unlinks


def audits(site: Site) -> tuple[list[list[float]], list[list[float]], str]:
    """
    Read a cached note without and with an audit beside it, in rounds; return both in ms.

    The process of the audit, its start included, takes a part of the same processors. The last is
    what the last audit said.
    """
    paths = _cached_notes(site)
    without: list[list[float]] = []
    with_audit: list[list[float]] = []
    told = ""
    for _ in range(AUDIT_ROUNDS):
        without.append(_reads(site, paths[0]))
        with ThreadPoolExecutor(1) as pool:
            auditing = pool.submit(site.manage, "cache", "audit", f"--count={AUDITED}")
            with_audit.append(_reads(site, paths[0]))
            told = auditing.result().strip()
    return without, with_audit, told


def _cached_notes(site: Site) -> list[str]:
    """Read AUDITED notes, so that they are cached; return their paths."""
    paths: list[str] = []
    with connected(site.url) as connection:
        for page in range(1, AUDITED // 100 + 2):
            listed = send(connection, Call("", f"/api/v1/notes?limit=100&page={page}"), 0, 0)
            paths += [f"/api/v1/notes/{one['id']}" for one in json.loads(listed.body)["results"]]
        for path in paths[:AUDITED]:
            send(connection, Call("", path), 0, 0)
    return paths


def _reads(site: Site, path: str) -> list[float]:
    call = Call("", path)
    samples = closed_loop(site.url, call, connections=AUDIT_CONNECTIONS, seconds=AUDIT_SECONDS)
    return [one.latency_ms for one in samples]


def _all(rounds: list[list[float]]) -> list[float]:
    return [one for taken in rounds for one in taken]


def create(site: Site) -> str:
    """Create a note; return its id."""
    with connected(site.url) as connection:
        call = Call("", "/api/v1/notes", "POST", _OWNER, json.dumps({"title": "Costs"}))
        note: str = json.loads(send(connection, call, 0, 0).body)["id"]
    return note


def _lookups(asked: psycopg.Connection[Any]) -> int:
    row = asked.execute(
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'notes_pkey'"
    ).fetchone()
    return int(row[0]) if row else 0


def _sources(samples: list[Sample]) -> Counter[str]:
    return Counter(
        "hit"
        if one.cache.startswith("hit")
        else "collapsed"
        if "collapsed" in one.cache
        else one.cache or f"status {one.status}"
        for one in samples
    )


def _row(table: Table, what: str, taken: list[float], besides: str) -> None:
    table.add_row(
        what,
        str(len(taken)),
        f"{statistics.median(taken):.2f}",
        f"{percentile(taken, 0.99):.2f}",
        f"{max(taken):.2f}",
        besides,
    )
