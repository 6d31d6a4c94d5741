"""
python -m loadtests mix: what the site's own meters tell of a usual mix of requests.

Readers by Zipf, some lists, profiles and writes, in a closed loop. The figures are differences of
the site's counters over all its processes, so nothing is timed by the client.
"""

import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from loadtests.generators.http_load import Call, connected, send
from loadtests.testbed.site import THREADS, WORKERS, Site

CONNECTIONS: Final = 8
NOTES: Final = 2_000
_READ_NOTES: Final = 400  # different ones
_ZIPF_EXPONENT: Final = 1.0
_LISTS, _PROFILES, _WRITES = 0.1, 0.1, 0.02  # shares of all requests; the rest reads a note
_POOL_MAX: Final = 20  # POSTGRES_POOL_MAX, by default
# What a request or the shipper asks of MongoDB; not its handshakes.
_COMMANDS: Final = {"find", "aggregate", "insert", "update", "findAndModify"}
Counters = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Meters:
    """Counters of the site at one moment."""

    at: float  # time.perf_counter, seconds
    hits: int
    misses: int
    sums: Counters  # by name and label


def mix(site: Site, *, seconds: float, seed: int) -> dict[str, float]:
    """Let the mix on the site for so long; return the figures, names with units."""
    calls = _Calls(site, seed)
    before = _read(site)
    end = time.perf_counter() + seconds
    statuses: list[list[int]] = [[] for _ in range(CONNECTIONS)]

    def client(number: int) -> None:
        with connected(site.url) as connection:
            for call in calls.drawn(number):
                if time.perf_counter() >= end:
                    return
                statuses[number].append(send(connection, call, 0, 0).status)

    threads = [threading.Thread(target=client, args=(one,)) for one in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = [status for own in statuses for status in own]
    failures = sum(status == 0 or status >= 500 for status in answers)
    counts = {"requests": float(len(answers)), "failures": float(failures)}
    return counts | figures(before, _read(site))


def figures(before: Meters, after: Meters) -> dict[str, float]:
    """Return what happened between two readings. Raises ZeroDivisionError where nothing did."""
    hits, misses = after.hits - before.hits, after.misses - before.misses
    passed = Counters(
        {name: value - before.sums.get(name, 0.0) for name, value in after.sums.items()}
    )
    held = passed["postgres_hold_seconds_sum", ""]
    return {
        "cache_hit_rate_percent": 100 * hits / (hits + misses),
        "postgres_average_query_ms": _mean_ms(passed, "postgres_statement_seconds", {""}),
        "mongodb_average_query_ms": _mean_ms(passed, "mongodb_command_seconds", _COMMANDS),
        "cache_average_response_ms": _mean_ms(passed, "cachelayer_operation_seconds", {"look"}),
        "postgres_pool_utilization_percent": 100
        * held
        / ((after.at - before.at) * WORKERS * _POOL_MAX),
    }


def as_json(found: Mapping[str, float], *, command: str) -> str:
    """Return the figures for programs."""
    told = (
        f"{CONNECTIONS} connections, {WORKERS} workers of {THREADS} threads, {NOTES} notes, "
        f"{_READ_NOTES} of them read"
    )
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return json.dumps(
        {"command": command, "date": date, "circumstances": told, "quantities": found}, indent=1
    )


class _Calls:
    """The requests of the mix: which notes, and in which order."""

    def __init__(self, site: Site, seed: int) -> None:
        self._seed = seed
        self._notes: list[dict[str, Any]] = []
        with connected(site.url) as connection:
            for page in range(1, _READ_NOTES // 100 + 1):
                path = f"/api/v1/notes?limit=100&page={page}&count=false"
                answer = send(connection, Call("", path), 0, 0)
                self._notes += json.loads(answer.body)["results"]
        self._weights = [1 / rank**_ZIPF_EXPONENT for rank in range(1, len(self._notes) + 1)]

    def drawn(self, number: int) -> Iterator[Call]:
        """Yield the requests of one connection, without end."""
        chance = random.Random(f"{self._seed}:{number}")  # noqa: S311  # made-up load
        while True:
            note = chance.choices(self._notes, self._weights)[0]
            kind = chance.random()
            if kind < _WRITES:
                yield _change(note, chance.randrange(1_000_000))
            elif kind < _WRITES + _LISTS:
                yield Call("list", f"/api/v1/notes?userId={note['user_id']}")
            elif kind < _WRITES + _LISTS + _PROFILES:
                yield Call("profile", f"/api/v1/profiles/{note['user_id']}")
            else:
                yield Call("note", f"/api/v1/notes/{note['id']}")


def _change(note: Mapping[str, Any], number: int) -> Call:
    headers = {"X-User-Id": str(note["user_id"]), "Content-Type": "application/json"}
    body = json.dumps({"content": f"changed, {number}"})
    return Call("change", f"/api/v1/notes/{note['id']}", "PATCH", headers, body)


def _read(site: Site) -> Meters:
    with connected(site.url) as connection:
        cache = json.loads(send(connection, Call("", "/api/v1/metrics/cache"), 0, 0).body)
        text = send(connection, Call("", "/metrics"), 0, 0).body.decode()
    sums = Counters()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith(("_sum", "_count")):
                label = next(iter(sample.labels.values()), "")
                sums[sample.name, label] = sample.value
    return Meters(time.perf_counter(), cache["hits"], cache["misses"], sums)


def _mean_ms(passed: Counters, name: str, labels: set[str]) -> float:
    seconds = sum(passed.get((f"{name}_sum", label), 0.0) for label in labels)
    count = sum(passed.get((f"{name}_count", label), 0.0) for label in labels)
    return 1000 * seconds / count
