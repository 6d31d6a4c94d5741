"""python -m loadtests chaos: readers and writers over 4 processes, under faults of Redis and of the processes."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import redis
from rich.table import Table

from loadtests.generators.http_load import Call, connected, json_call, send_now
from loadtests.testbed.site import Site

READERS: Final = 6
WRITERS: Final = 2
NOTES: Final = 12
FAULT_EVERY_SECONDS: Final = 1.5
# A crash or an outage of Redis may be felt so long after Redis answers again (guarantee Q).
MENDED_SECONDS: Final = 2.0
DIE_ONE_IN: Final = 150
LAG_ONE_IN: Final = 4
_USER: Final = "chaos"


@dataclass
class Report:
    """What was counted. Stale: an older version than one whose write was answered before."""

    protocol: str
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    fenced: int = 0
    audit: str = ""


class Chaos:
    """One run: shared floors, the faults' windows, and the threads that use them."""

    def __init__(self, site: Site, *, protocol: str, seconds: float, seed: int) -> None:
        self.site = site
        self.report = Report(protocol, seconds)
        self.rng = random.Random(seed)  # noqa: S311  # to be repeatable
        self.notes: list[str] = []
        self.floors: dict[str, int] = {}
        self.uncertain: list[tuple[float, str]] = []  # when to look what a broken write has left
        self.outages: list[list[float]] = []  # [from, until] of each outage of Redis
        self.lock = threading.Lock()
        self.over = threading.Event()

    def run(self) -> Report:
        """Run to the end; start Redis again in any case."""
        with connected(self.site.url) as connection:
            call = json_call(_USER, "/api/v1/notes", {"title": "0"})
            while len(self.notes) < NOTES:
                sample = send_now(connection, call)
                if sample.status == 201:  # else its process died, as it may
                    note = json.loads(sample.body)
                    self.notes.append(note["id"])
                    self.floors[note["id"]] = note["version"]
        workers: list[Callable[[], None]] = [self._read] * READERS + [self._write] * WRITERS
        threads = [threading.Thread(target=work) for work in (*workers, self._maltreat)]
        for thread in threads:
            thread.start()
        try:
            self.over.wait(self.report.seconds)
        finally:
            self.over.set()
            for thread in threads:
                thread.join()
            self.site.stack.start("redis")
        self._read_all()  # so that the audit has something to look at
        return self.report

    def _read_all(self) -> None:
        with connected(self.site.url) as connection:
            for note in self.notes:
                send_now(connection, Call("", f"/api/v1/notes/{note}"))

    def _read(self) -> None:
        with connected(self.site.url) as connection:
            while not self.over.is_set():
                note = self.rng.choice(self.notes)
                floor, began = self.floors[note], time.monotonic()
                sample = send_now(connection, Call("", f"/api/v1/notes/{note}"))
                self._judge(note, floor, began, sample)

    def _judge(self, note: str, floor: int, began: float, sample: Any) -> None:
        if sample.status != 200:
            self._count(f"reads answered {sample.status}" if sample.status else "reads cut off")
            return
        self._count("reads", "hits" if sample.cache.startswith("hit") else "other reads")
        version = json.loads(sample.body)["version"]
        if version >= floor:
            return
        if self._outage_felt(began):
            self._count("stale within an outage")
        else:
            self._count("stale")
            with self.lock:
                self.report.examples.append(f"{version} instead of {floor}: {sample.cache}")

    def _write(self) -> None:
        number = 0
        with connected(self.site.url) as connection:
            while not self.over.wait(0.02):
                self._settle(connection)
                number += 1
                note = self.rng.choice(self.notes)
                call = json_call(_USER, f"/api/v1/notes/{note}", {"title": str(number)}, "PATCH")
                sample = send_now(connection, call)
                if sample.status == 200:
                    self._count("writes")
                    self._raise(note, json.loads(sample.body)["version"])
                else:
                    self._count("writes cut off")
                    with self.lock:
                        self.uncertain.append((time.monotonic() + MENDED_SECONDS, note))

    def _settle(self, connection: Any) -> None:
        """Ask the database what a write has left that was cut off long enough ago."""
        with self.lock:
            due = [write for write in self.uncertain if write[0] <= time.monotonic()]
            self.uncertain = [write for write in self.uncertain if write not in due]
        for _, note in due:
            call = Call("", f"/api/v1/notes/{note}", headers={"Cache-Control": "no-store"})
            sample = send_now(connection, call)
            if sample.status == 200:
                self._raise(note, json.loads(sample.body)["version"])

    def _raise(self, note: str, version: int) -> None:
        with self.lock:
            self.floors[note] = max(self.floors[note], version)

    def _count(self, *what: str) -> None:
        with self.lock:
            self.report.counts.update(what)

    def _outage_felt(self, at: float) -> bool:
        return any(start <= at <= until + MENDED_SECONDS for start, until in self.outages)

    def _maltreat(self) -> None:
        faults = (self._flush, self._evict, self._lose_leases, self._kill, self._pause)
        while not self.over.wait(FAULT_EVERY_SECONDS):
            fault = self.rng.choice(faults)
            try:
                fault()
            except redis.RedisError:
                continue
            self.report.faults[fault.__name__.strip("_").replace("_", " ")] += 1

    def _redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.site.stack.operator_urls()["REDIS_URL"], socket_timeout=2)

    def _flush(self) -> None:
        self._redis().flushdb()

    def _evict(self) -> None:
        client = self._redis()
        client.unlink(*[name for _ in range(20) if (name := client.randomkey())])

    def _lose_leases(self) -> None:
        client = self._redis()
        leases = list(client.scan_iter("*lease:*"))
        if leases:
            client.unlink(*leases)

    def _kill(self) -> None:
        self._outage("kill", 0.5)

    def _pause(self) -> None:
        self._outage("pause", 0.7)

    def _outage(self, fault: str, seconds: float) -> None:
        window = [time.monotonic(), float("inf")]
        self.outages.append(window)
        try:
            getattr(self.site.stack, fault)("redis")
            threading.Event().wait(seconds)
        finally:
            self.site.stack.start("redis")
            window[1] = time.monotonic()


def as_table(report: Report) -> Table:
    """Return what was counted as a table for a terminal."""
    table = Table(title=f"chaos, {report.seconds:g} s, {report.protocol} protocol")
    table.add_column("counted")
    table.add_column("number", justify="right")
    for what, number in sorted(report.counts.items()):
        if what != "stale":
            table.add_row(what, str(number))
    table.add_row("loads refused by the fence", str(report.fenced))
    for fault, number in report.faults.items():
        table.add_row(f"fault: {fault}", str(number))
    table.add_row("audit afterwards", report.audit)
    table.add_row("[bold]stale reads[/bold]", f"[bold]{report.counts['stale']}[/bold]")
    return table
