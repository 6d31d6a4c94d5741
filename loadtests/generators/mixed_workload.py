"""
python -m loadtests mix: what the site's own counters say of the users of locustfile.py.

The figures are differences of counters over all processes of the site; clients time nothing.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from loadtests.generators import cli as load_cli
from loadtests.generators.http_load import Call, fetch, send_once
from loadtests.quantities import as_json as quantities_as_json
from loadtests.testbed.site import THREADS, WORKERS, Site

USERS: Final = 20
NOTES: Final = 2_000
_POOL_MAX: Final = 20  # POSTGRES_POOL_MAX, by default
# The commands of requests and of the shipper; not the driver's handshakes.
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
    """
    Run the users against the site; return the figures, names with units. Raises StackError.

    They run twice: first to warm the cache up, with other choices, then to be measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        _run_users(site, seconds, seed + 1_000_000, folder)
        before = _read(site)
        _run_users(site, seconds, seed, folder)
        after = _read(site)
        requests = json.loads((Path(folder) / "requests.json").read_text())
    counts = {
        "requests": float(sum(entry["num_requests"] for entry in requests)),
        "failures": float(sum(entry["num_failures"] for entry in requests)),
    }
    return counts | figures(before, after)


def _run_users(site: Site, seconds: float, seed: int, folder: str) -> None:
    parser = argparse.ArgumentParser()
    load_cli.add_options(parser)
    options = parser.parse_args(
        [
            *("--seconds", str(seconds), "--users", str(USERS), "--seed", str(seed)),
            *("--p95-ms", "60000", "--html", f"{folder}/report.html"),
        ]
    )
    load_cli.run_users(site, options, "--json-file", f"{folder}/requests")


def figures(before: Meters, after: Meters) -> dict[str, float]:
    """Return what happened between two readings. Raises ZeroDivisionError if nothing did."""
    hits, misses = after.hits - before.hits, after.misses - before.misses
    elapsed = Counters(
        {name: value - before.sums.get(name, 0.0) for name, value in after.sums.items()}
    )
    hold_seconds = elapsed["postgres_hold_seconds_sum", ""]
    return {
        "cache_hit_rate_percent": 100 * hits / (hits + misses),
        "postgres_average_query_ms": _mean_ms(elapsed, "postgres_statement_seconds", {""}),
        "mongodb_average_query_ms": _mean_ms(elapsed, "mongodb_command_seconds", _COMMANDS),
        "cache_average_response_ms": _mean_ms(elapsed, "cachelayer_operation_seconds", {"look"}),
        "postgres_pool_utilization_percent": 100
        * hold_seconds
        / ((after.at - before.at) * WORKERS * _POOL_MAX),
    }


def as_json(quantities: Mapping[str, float], *, command: str) -> str:
    """Return the figures for programs."""
    circumstances = f"{USERS} users, {WORKERS} workers of {THREADS} threads, {NOTES} notes"
    return quantities_as_json(quantities, command=command, circumstances=circumstances)


def _read(site: Site) -> Meters:
    cache = fetch(site.url, "/api/v1/metrics/cache")
    text = send_once(site.url, Call("", "/metrics")).body.decode()
    sums = Counters()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith(("_sum", "_count")):
                label = next(iter(sample.labels.values()), "")
                sums[sample.name, label] = sample.value
    return Meters(time.perf_counter(), cache["hits"], cache["misses"], sums)


def _mean_ms(elapsed: Counters, name: str, labels: set[str]) -> float:
    seconds = sum(elapsed.get((f"{name}_sum", label), 0.0) for label in labels)
    count = sum(elapsed.get((f"{name}_count", label), 0.0) for label in labels)
    return 1000 * seconds / count
