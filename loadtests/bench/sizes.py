"""python -m loadtests sizes: bytes per note, entry and event, and what a write sends to replicas."""

import argparse
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import psycopg
import pymongo
import redis
from rich.console import Console

from config import output_file
from config.stack.process import StackError, wait_until
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
from loadtests.quantities import as_json, as_table
from loadtests.testbed.processor import APPLICATION, REDIS, Processor
from loadtests.testbed.servers import Servers, running_servers
from loadtests.testbed.site import Site, serving

NOTES: Final = (20_000, 200_000)
EVENTS: Final = (20_000, 100_000)
ENTRIES: Final = (500, 2_500)
WRITES: Final = 200
OUTBOX_ROWS: Final = 10_000
HIT_SECONDS: Final = 4.0
_WRITTEN: Final = 50  # notes that are replaced
_HOT: Final = 100  # notes that are read for the cost of a hit
_WAIT_SECONDS: Final = 120
_CONTENT: Final = "A note of ordinary length. " * 15
Quantities = dict[str, float]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of sizes."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures for programs")


def run(options: argparse.Namespace) -> int:
    """Measure and print; return 0. Raises StackError, and Unwritable before anything is measured."""
    if options.json:
        output_file.refuse_unwritable(options.json)
    with running_servers("loadtests") as servers:
        quantities = measure(servers)
    Console(width=120).print(as_table(quantities, title="python -m loadtests sizes", digits=4))
    if options.json:
        rounded = {name: round(value, 2) for name, value in quantities.items()}
        command = f"python -m loadtests sizes --json {options.json}"
        output_file.write(options.json, as_json(rounded, command=command) + "\n")
    return 0


def measure(servers: Servers) -> Quantities:
    """Return bytes and µs by name; where a name ends in _small and _large, at two numbers of things."""
    quantities: Quantities = {}
    for processes in (1, 2):
        variables = {"CACHE_FIRST_LEVEL_BYTES": "0"}
        with serving(servers, notes=NOTES[0], workers=processes, variables=variables) as site:
            quantities |= _hit(site, processes)
    with serving(servers, notes=NOTES[0], workers=1) as site:
        quantities |= _notes(site, "small") | _entries(site) | _replication(site) | _outbox(site)
        quantities |= _events(site)
    servers.prepare(NOTES[1])
    with _postgres(servers.stack.operator_urls()) as connection:
        quantities |= _note_sizes(connection, "large")
    return quantities


def _hit(site: Site, processes: int) -> Quantities:
    """Return the processor time of a read that Redis answers, without a first level."""
    calls = [Call("", path) for path in _paths(site, _HOT)]
    closed_loop(site.url, calls, connections=2 * processes, seconds=HIT_SECONDS / 4)
    processor = Processor(site)
    processor.settle()
    before = processor.seconds()
    samples = closed_loop(site.url, calls, connections=4 * processes, seconds=HIT_SECONDS)
    used = {name: after - before[name] for name, after in processor.seconds().items()}
    return {
        f"redis_hit_{name}_us_{processes}_processes": 1e6 * used[name] / len(samples)
        for name in (APPLICATION, REDIS)
    }


def _notes(site: Site, size: str) -> Quantities:
    with _postgres(site.stack.operator_urls()) as connection:
        return _note_sizes(connection, size)


def _note_sizes(connection: psycopg.Connection, size: str) -> Quantities:
    """Return the bytes of a note's row and of its indexes, right after the table was filled."""
    query = """
        SELECT pg_table_size('notes') / count(*)::float, pg_indexes_size('notes') / count(*)::float,
               avg(octet_length(content))::float FROM notes"""
    row, indexes, content = connection.execute(query).fetchone() or (0, 0, 0)
    return {
        f"note_row_bytes_{size}": row,
        f"note_index_bytes_{size}": indexes,
        f"note_content_bytes_{size}": content,
    }


def _entries(site: Site) -> Quantities:
    """Return the bytes that one cached note takes in Redis, with its stamps, and in the first level."""
    paths = _paths(site, ENTRIES[1])
    pages = _first_level(site)  # of the lists that were read for the paths
    sizes: Quantities = {}
    with redis.Redis.from_url(site.stack.operator_urls()["REDIS_URL"]) as client:
        before = int(client.info("memory")["used_memory"])
        read = 0
        for size, count in zip(("small", "large"), ENTRIES, strict=True):
            with connected(site.url) as connection:
                for path in paths[read:count]:
                    if send_now(connection, Call("", path)).status != HTTPStatus.OK:
                        raise StackError(f"{path} is not to be read")
            read = count
            used = int(client.info("memory")["used_memory"])
            sizes[f"redis_entry_bytes_{size}"] = (used - before) / count
    copies, size_bytes = (
        after - before for after, before in zip(_first_level(site), pages, strict=True)
    )
    if copies <= 0:
        raise StackError("the first level kept no copies")
    return sizes | {"first_level_copy_bytes": size_bytes / copies}


def _first_level(site: Site) -> tuple[int, int]:
    """Return how many copies the first level has, and their bytes."""
    figures = fetch(site.url, "/api/v1/metrics/cache")["first_level"]
    return figures["copies"], figures["bytes"]


def _replication(site: Site) -> Quantities:
    """Return the bytes that go to each replica: of Redis for a miss and a write, WAL, and the oplog."""
    urls = site.stack.operator_urls()
    body = {"title": "Replaced", "content": _CONTENT}
    created = json_call(USER, "/api/v1/notes", body)
    own = [f"/api/v1/notes/{create_note(site.url, USER)}" for _ in range(_WRITTEN)]
    replaced = [
        json_call(USER, path, body | {"title": str(number)}, "PUT")
        for number, path in enumerate(own * (WRITES // _WRITTEN))
    ]
    with _postgres(urls) as postgres, redis.Redis.from_url(urls["REDIS_URL"]) as client:
        # What a replica sends when it joins: from then on, Redis counts what it would be sent.
        link = client.connection_pool.get_connection()
        link.send_command("PSYNC", "?", "-1")
        if not wait_until(lambda: _sent(client) > 0, _WAIT_SECONDS):
            raise StackError("Redis does not count what it sends to replicas")

        def wal() -> int:
            row = postgres.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
            return int(row[0]) if row else 0

        def each(calls: list[Call], counter: Callable[[], int]) -> float:
            before = counter()
            with connected(site.url) as connection:
                for call in calls:
                    if not 200 <= send_now(connection, call).status < 300:
                        raise StackError(f"{call.method} {call.path} failed")
            site.wait_for_outbox()
            return (counter() - before) / len(calls)

        each(replaced, wal)  # pages that change first after a checkpoint go into the WAL whole
        wal_replaced = each(replaced, wal)
        redis_write = each(replaced, lambda: _sent(client))
        each([created] * WRITES, wal)
        wal_created = each([created] * WRITES, wal)
        misses = [Call("", path) for path in _paths(site, WRITES)]
        client.flushall()
        redis_miss = each(misses, lambda: _sent(client))
        link.disconnect()
    return {
        "wal_bytes_per_note_replaced": wal_replaced,
        "wal_bytes_per_note_created": wal_created,
        "redis_replication_bytes_per_write": redis_write,
        "redis_replication_bytes_per_miss": redis_miss,
    }


def _sent(client: redis.Redis) -> int:
    return int(client.info("replication")["master_repl_offset"])


def _outbox(site: Site) -> Quantities:
    """Return the bytes of a row of the outbox with its indexes, from rows that are never committed."""
    insert = """
        INSERT INTO cachelayer_outbox (tags)
        SELECT ARRAY['note:' || id, 'notes:user:' || user_id, 'notes:all'] FROM notes LIMIT %s"""
    size = "SELECT pg_total_relation_size('cachelayer_outbox')"
    with psycopg.connect(site.stack.operator_urls()["DATABASE_URL"]) as connection:
        before = (connection.execute(size).fetchone() or (0,))[0]
        connection.execute(insert, [OUTBOX_ROWS])
        after = (connection.execute(size).fetchone() or (0,))[0]
        connection.rollback()
    return {"outbox_row_bytes": (after - before) / OUTBOX_ROWS}


def _events(site: Site) -> Quantities:
    """Return the bytes of an event: its BSON, its place on disk, its indexes, and its part of the oplog."""
    sizes: Quantities = {}
    with pymongo.MongoClient[Any](site.stack.operator_urls()["MONGODB_URI"]) as client:
        logs = client.get_default_database()
        for size, count in zip(("small", "large"), EVENTS, strict=True):
            newest = client.local["oplog.rs"].find_one(sort=[("$natural", -1)])
            reset = () if sizes else ("--reset", "--no-input")
            site.manage("seed_activity", f"--count={count}", "--until=2026-11-01", *reset)
            client.admin.command("fsync")
            figures = logs.command("collStats", "activity_logs")
            number = figures["count"]
            sizes |= {
                f"event_bson_bytes_{size}": figures["size"] / number,
                f"event_disk_bytes_{size}": figures["storageSize"] / number,
                f"event_index_bytes_{size}": figures["totalIndexSize"] / number,
            }
            if "oplog_bytes_per_event" not in sizes and newest:
                sizes["oplog_bytes_per_event"] = _oplog_bytes(client, newest["ts"]) / number
    return sizes


def _oplog_bytes(client: "pymongo.MongoClient[Any]", since: object) -> int:
    """Return the bytes of the oplog's entries of events, which secondaries read, from a time on."""
    total = {"$group": {"_id": None, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}}
    entries = client.local["oplog.rs"].aggregate([{"$match": {"ts": {"$gt": since}}}, total])
    return int(next(iter(entries), {"bytes": 0})["bytes"])


def _paths(site: Site, count: int) -> list[str]:
    paths: list[str] = []
    while len(paths) < count:
        page = fetch(site.url, f"/api/v1/notes?limit=100&page={len(paths) // 100 + 1}")
        paths += [f"/api/v1/notes/{note['id']}" for note in page["results"]]
    return paths[:count]


def _postgres(urls: Mapping[str, str]) -> psycopg.Connection:
    return psycopg.connect(urls["DATABASE_URL"], autocommit=True)
