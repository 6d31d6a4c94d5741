"""Metrics of the databases over all processes: pools, latencies, errors, and the spool of events."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import psycopg
import pymongo
from django.conf import settings
from mongoengine.connection import get_connection
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pymongo.errors import PyMongoError

from activity import services as activity
from cachelayer import prometheus
from cachelayer.prometheus import Samples
from config import tracing
from config.mongodb import client as mongodb_client
from config.postgres import replica, server
from config.postgres.outages import breaker as postgres_breaker

# Sections that serverStatus need not collect.
_LEFT_OUT: Final = dict.fromkeys(("locks", "metrics", "repl", "wiredTiger"), 0)
_PROBE_SECONDS: Final = 1.0  # for serverStatus: no figure is worth the time of an operation


def snapshot(samples: Samples | None = None) -> dict[str, Any]:
    """
    Return the body of /api/v1/metrics/db.

    Times in milliseconds, ages in seconds, sizes in bytes. Connections are those of the site's
    own pools; server has those of all its clients and its version, null where it does not answer.
    breaker_open: some process sends nothing to the store at present. samples: those of
    prometheus.samples(), where the caller has them.
    """
    samples = prometheus.samples() if samples is None else samples
    return {
        "postgres": {
            **_pool(samples, "postgres"),
            "acquire_ms": _latency(samples, "postgres_acquire_seconds"),
            "hold_ms": _latency(samples, "postgres_hold_seconds"),
            "server": _postgres_server(),
            "latency_ms": _latency(samples, "postgres_statement_seconds"),
            "errors": _by_kind(samples, "postgres_errors_total"),
            "replaced_connections": int(
                prometheus.total(samples, "postgres_replaced_connections_total")
            ),
            "repeated_statements": int(
                prometheus.total(samples, "postgres_repeated_statements_total")
            ),
            "breaker_open": postgres_breaker.is_open
            or prometheus.total(samples, "postgres_breaker_open") > 0,
            "replica": _replica(samples),
        },
        "mongodb": {
            **_pool(samples, "mongodb"),
            "acquire_ms": _latency(samples, "mongodb_acquire_seconds"),
            "server": _mongodb_server(),
            "latency_ms": _latency(samples, "mongodb_command_seconds"),
            "commands": prometheus.timings(samples, "mongodb_command_seconds", "command"),
            "errors": _by_kind(samples, "mongodb_errors_total"),
            "breaker_open": mongodb_client.breaker.is_open
            or prometheus.total(samples, "mongodb_breaker_open") > 0,
            "spool": {**_spool(), **_events(samples)},
        },
    }


def _pool(samples: Samples, store: str) -> dict[str, int]:
    connections = prometheus.total(samples, f"{store}_pool_connections")
    in_use = prometheus.total(samples, f"{store}_pool_in_use")
    return {
        "active_connections": int(in_use),
        "idle_connections": int(max(0, connections - in_use)),
        "waiting_requests": int(prometheus.total(samples, f"{store}_pool_waiting")),
    }


def _latency(samples: Samples, metric: str) -> dict[str, float] | None:
    """Return {count, p50, p95, p99} over all labels, None if nothing was measured."""
    merged = [s._replace(labels={**s.labels, "all": ""}) for s in samples[f"{metric}_bucket"]]
    return prometheus.timings({f"{metric}_bucket": merged}, metric, "all").get("")


def _by_kind(samples: Samples, metric: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for sample in samples[metric]:
        counts[sample.labels["kind"]] += int(sample.value)
    return dict(counts)


def _events(samples: Samples) -> dict[str, int]:
    names = ("recorded", "shipped", "repeated", "rejected", "dropped", "failed")
    return {name: int(prometheus.total(samples, f"activity_{name}_total")) for name in names}


def _spool() -> dict[str, Any]:
    """Return what waits in the spool; nothing where its folder cannot be read."""
    try:
        return activity.spool_state()
    except OSError:
        return {}


def _postgres_server() -> dict[str, Any] | None:
    if postgres_breaker.is_open:
        return None
    started = time.perf_counter()
    try:
        return server.capacity()._asdict()
    except psycopg.Error:
        return None
    finally:
        tracing.add_seconds("postgres", time.perf_counter() - started)


def _replica(samples: Samples) -> dict[str, Any] | None:
    """Return whether the replica is used, its lag in seconds, and what was read; None: there is none."""
    state = _replica_state()
    return state and {
        "state": state.kind,
        "lag_seconds": state.lag_seconds,
        "lag_max_seconds": settings.REPLICA_LAG_MAX_SECONDS,
        "reads": _by_kind(samples, "postgres_replica_reads_total"),
    }


def _replica_state() -> replica.State | None:
    """Return its state; "unknown" while the primary, with which it is compared, does not answer."""
    unknown = replica.State("unknown") if replica.is_configured() else None
    if postgres_breaker.is_open:
        return unknown
    try:
        return replica.state()
    except psycopg.Error:
        return unknown


def _mongodb_server() -> dict[str, Any] | None:
    try:
        with pymongo.timeout(_PROBE_SECONDS):
            status = get_connection().admin.command("serverStatus", **_LEFT_OUT)
    except PyMongoError:
        return None
    connections = status["connections"]
    return {
        "connections": connections["current"],
        "max_connections": connections["current"] + connections["available"],
        "version": status["version"],
    }


class PresentState(Collector):
    """Gauges for Prometheus that are read at scrape time: the spool and the servers."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for store, state in (("postgres", _postgres_server()), ("mongodb", _mongodb_server())):
            for name, value in (state or {}).items():  # None: the server does not answer
                if name != "version":
                    yield GaugeMetricFamily(
                        f"{store}_server_{name}", f"{name} of the server", value=value
                    )
        of_replica = _replica_state()
        if of_replica is not None:
            yield GaugeMetricFamily(
                "postgres_replica_used",
                "The replica is used",
                value=of_replica.kind == replica.USED,
            )
            if of_replica.lag_seconds is not None:
                yield GaugeMetricFamily(
                    "postgres_replica_lag_seconds", "Its lag", value=of_replica.lag_seconds
                )
        for name, value in _spool().items():
            yield GaugeMetricFamily(f"activity_spool_{name}", f"Spool: {name}", value=value)
        yield GaugeMetricFamily(
            "activity_spool_max_bytes",
            "Bytes beyond which events are dropped",
            value=settings.ACTIVITY_SPOOL_MAX_BYTES,
        )
