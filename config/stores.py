"""The databases in figures, over all processes: pools, latencies, errors, and the spool before MongoDB."""

from collections.abc import Iterable
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from activity import services as activity
from cachelayer import counts
from cachelayer.counts import Samples
from config import mongodb
from config.postgres.outages import breaker as postgres_breaker


def store_figures() -> dict[str, Any]:
    """
    Return the figures of /api/v1/metrics/db.

    Times in milliseconds, ages in seconds, sizes in bytes. Connections are those of the site's
    own pools. breaker_open: this process does not ask the store at present.
    """
    samples = counts.samples()
    return {
        "postgres": {
            **_pool(samples, "postgres"),
            "latency_ms": _latency(samples, "postgres_statement_seconds"),
            "errors": _by_kind(samples, "postgres_errors_total"),
            "breaker_open": postgres_breaker.is_open,
        },
        "mongodb": {
            **_pool(samples, "mongodb"),
            "latency_ms": _latency(samples, "mongodb_command_seconds"),
            "commands": counts.timings(samples, "mongodb_command_seconds", "command"),
            "errors": _by_kind(samples, "mongodb_errors_total"),
            "breaker_open": mongodb.breaker.is_open,
            "spool": {**activity.spool_state(), **_events(samples)},
        },
    }


def _pool(samples: Samples, store: str) -> dict[str, int]:
    connections = counts.total(samples, f"{store}_pool_connections")
    in_use = counts.total(samples, f"{store}_pool_in_use")
    return {
        "active_connections": int(in_use),
        "idle_connections": int(max(0, connections - in_use)),
        "waiting_requests": int(counts.total(samples, f"{store}_pool_waiting")),
    }


def _latency(samples: Samples, metric: str) -> dict[str, float] | None:
    """Return {count, p50, p95, p99} over whatever labels there are; None: nothing was measured."""
    merged = [one._replace(labels={**one.labels, "all": ""}) for one in samples[f"{metric}_bucket"]]
    return counts.timings({f"{metric}_bucket": merged}, metric, "all").get("")


def _by_kind(samples: Samples, metric: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in samples[metric]:
        found[one.labels["kind"]] = found.get(one.labels["kind"], 0) + int(one.value)
    return found


def _events(samples: Samples) -> dict[str, int]:
    names = ("recorded", "shipped", "repeated", "rejected", "dropped", "failed")
    return {name: int(counts.total(samples, f"activity_{name}_total")) for name in names}


class SpoolState(Collector):
    """The spool as gauges for Prometheus."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for name, value in activity.spool_state().items():
            yield GaugeMetricFamily(f"activity_spool_{name}", f"Spool: {name}", value=value)
