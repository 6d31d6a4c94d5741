"""Statistics of the cache over all processes, from their counters and from Redis."""

from collections.abc import Iterable
from typing import Any, Final

from django.db import DatabaseError, InterfaceError
from prometheus_client import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cachelayer import client, first_level, outbox, prometheus, slots
from cachelayer.client import CacheDown, execute
from cachelayer.conf import config
from cachelayer.metrics import MISSES, RESULTS
from cachelayer.namespace import declared, root_of_names

_SCANNED_MAX: Final = 5_000  # keys looked at to count entries and bytes; beyond that, estimated
_REDIS_FACTS: Final = {
    "used_memory": "memory_usage",
    "maxmemory": "memory_limit",
    "evicted_keys": "evictions",
}


def as_prometheus() -> bytes:
    """Return the same figures in Prometheus' text format; quantiles are left to its histograms."""
    text: bytes = generate_latest(prometheus.registry()) + generate_latest(_PresentState())
    return text


class _PresentState(Collector):
    """Gauges of the present state, read when scraped: sizes, memory, evictions, the outbox."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        figures = cache_figures()
        single = {f"redis_{name}": figures[name] for name in _REDIS_FACTS.values()}
        single |= {f"outbox_{name}": value for name, value in figures["outbox"].items()}
        single["first_level_bound_bytes"] = figures["first_level"]["bound_bytes"]
        for name, value in single.items():
            if value is not None:  # of a store that does not answer
                yield GaugeMetricFamily(f"cachelayer_{name}", f"{name} at present", value=value)
        for what in ("entries", "bytes"):
            family = GaugeMetricFamily(f"cachelayer_{what}", f"Cached {what}", labels=["namespace"])
            for namespace, row in figures["namespaces"].items():
                if what in row:
                    family.add_metric([namespace], row[what])
            yield family


def cache_figures(
    *, with_sizes: bool = True, samples: prometheus.Samples | None = None
) -> dict[str, Any]:
    """
    Return the figures of /api/v1/metrics/cache.

    with_sizes: with the entries and bytes of each namespace, for which keys are scanned; without
    them the cost is one INFO and one statement. samples: those of prometheus.samples(), where the
    caller has them.

    Times in milliseconds, sizes in bytes, ages in seconds. hit_rate is hits / (hits + misses),
    null where both are 0; reads = hits + misses + stale + bypasses + degraded. What
    a store that does not answer would say is null.
    """
    samples = prometheus.samples() if samples is None else samples
    sizes = _sizes() if with_sizes else None
    by_namespace = {
        namespace.name: _of_namespace(namespace.name, samples)
        | (sizes or {}).get(namespace.name, {})
        for namespace in declared()
    }
    total = _sums(samples["cachelayer_reads_total"])
    return {
        **_counts(total),
        **_redis_facts(),
        "namespaces": by_namespace,
        "operations": prometheus.timings(samples, "cachelayer_operation_seconds", "operation"),
        "breaker": {
            "open": client.breaker.is_open
            or prometheus.total(samples, "cachelayer_breaker_open") > 0,
            "changes": int(prometheus.total(samples, "cachelayer_breaker_changes_total")),
        },
        "trust": _trust(samples),
        "outbox": _outbox(),
        "epochs": int(prometheus.total(samples, "cachelayer_epochs_total")),
        "first_level": _first_level(samples),
        "overloads": int(prometheus.total(samples, "cachelayer_overloads_total")),
        "relayed": int(prometheus.total(samples, "cachelayer_relayed_rows_total")),
    }


def _sums(samples: Iterable[Any]) -> dict[str, float]:
    sums: dict[str, float] = dict.fromkeys(RESULTS, 0)
    for sample in samples:
        sums[sample.labels["result"]] += sample.value
    return sums


def _counts(results: dict[str, float]) -> dict[str, Any]:
    hits = int(results["hit"])
    misses = {reason: int(results[reason]) for reason in MISSES}
    missed = sum(misses.values())
    return {
        "reads": int(sum(results.values())),
        "hits": hits,
        "misses": missed,
        "hit_rate": hits / (hits + missed) if hits + missed else None,
        "misses_by_reason": misses,
        "stale": int(results["stale"]),
        "bypasses": int(results["bypass"]),
        "degraded": int(results["degraded"]),
    }


def _of_namespace(name: str, samples: prometheus.Samples) -> dict[str, Any]:
    mine = {
        metric: [sample for sample in family if sample.labels.get("namespace") == name]
        for metric, family in samples.items()
    }
    loads = {
        sample.labels["outcome"]: int(sample.value)
        for sample in mine.get("cachelayer_loads_total", [])
    }
    return {
        **_counts(_sums(mine.get("cachelayer_reads_total", []))),
        "waits": int(sum(sample.value for sample in mine.get("cachelayer_waits_total", []))),
        "loads": sum(loads.values()),
        "loads_by_outcome": loads,
        "fenced": loads.get("fenced", 0),
        "load_ms": prometheus.timings(mine, "cachelayer_load_seconds", "namespace").get(name),
    }


def _redis_facts() -> dict[str, Any]:
    try:
        info = execute("info", lambda r: r.info())
    except CacheDown:
        return dict.fromkeys((*_REDIS_FACTS.values(), "server_version"))
    return {
        **{ours: info.get(theirs) for theirs, ours in _REDIS_FACTS.items()},
        "server_version": _version(info),
    }


def _version(info: dict[str, Any]) -> str:
    """Return the server's product and version, such as Valkey 8.1.1 or Redis 7.4.0."""
    product = str(info.get("server_name", "redis"))  # Redis does not say what it is
    version = info.get(f"{product}_version") or info.get("redis_version", "")
    return f"{product.capitalize()} {version}"


def _trust(samples: prometheus.Samples) -> dict[str, Any]:
    """
    Return {held, changes, renewals, renewal_ms, waits, wait_ms}: of the trust lease.

    held: by every process that takes part; null where none does. waits are writes that
    waited for the end of a lease; renewals and waits with their mean in milliseconds, null without any.
    """
    held = [sample.value for sample in samples.get("cachelayer_lease_held", [])]
    changes = int(prometheus.total(samples, "cachelayer_lease_changes_total"))
    return {
        "held": all(held) if changes else None,
        "changes": changes,
        **_counted("renewal", samples, "cachelayer_lease_renewal_seconds"),
        **_counted("wait", samples, "cachelayer_write_wait_seconds"),
    }


def _counted(name: str, samples: prometheus.Samples, metric: str) -> dict[str, Any]:
    count = prometheus.total(samples, f"{metric}_count")
    mean_ms = prometheus.total(samples, f"{metric}_sum") / count * 1000 if count else None
    return {
        f"{name}s": int(count),
        f"{name}_ms": None if mean_ms is None else round(mean_ms, 3),
    }


def _first_level(samples: prometheus.Samples) -> dict[str, Any]:
    """
    Return {on, reason, hits, copies, bytes, bound_bytes, evictions, processes, hosts_on,
    acknowledgements, acknowledgement_ms} of all workers together.

    hosts_on: in the register. acknowledgements are writes that waited for other hosts', with their
    mean in milliseconds, null without any.
    """
    switches = samples.get("cachelayer_first_level_on", [])
    is_on = bool(switches) and all(sample.value for sample in switches)
    slots.attach()
    reason = first_level.reason_off() or "a worker has no lease, or no file of slots"
    processes = int(prometheus.total(samples, "cachelayer_first_level_processes"))
    return {
        "on": is_on,
        "reason": None if is_on else reason,
        "hits": int(prometheus.total(samples, "cachelayer_first_level_hits_total")),
        "copies": int(prometheus.total(samples, "cachelayer_first_level_copies")),
        "bytes": int(prometheus.total(samples, "cachelayer_first_level_bytes")),
        "bound_bytes": processes * config().FIRST_LEVEL_BYTES,
        "evictions": int(prometheus.total(samples, "cachelayer_first_level_evictions_total")),
        "processes": processes,
        "hosts_on": int(prometheus.total(samples, "cachelayer_hosts_on")),
        **_counted("acknowledgement", samples, "cachelayer_acknowledgement_seconds"),
    }


def _outbox() -> dict[str, Any]:
    try:
        depth, age_seconds = outbox.depth_and_age()
    except (DatabaseError, InterfaceError):
        return {"depth": None, "age_seconds": None}
    return {"depth": depth, "age_seconds": round(age_seconds, 3)}


def _sizes() -> dict[str, dict[str, int]] | None:
    """
    Return {namespace: {entries, bytes}}: exact up to _SCANNED_MAX keys, beyond that an estimate.

    SCAN goes through the keys in the order of their hashes, so its beginning is a fair sample.
    """
    try:
        return execute("scan", _measure)
    except CacheDown:
        return None


def _measure(r: Any) -> dict[str, dict[str, int]]:
    root = root_of_names().encode()
    cursor, names, scanned = 0, [], 0
    while True:
        cursor, page = r.scan(cursor, count=1000)
        scanned += len(page)
        names += [name for name in page if name.startswith(root)]
        if cursor == 0 or scanned >= _SCANNED_MAX:
            break
    factor = r.dbsize() / scanned if cursor and scanned else 1.0
    entries = [(name, namespace) for name in names if (namespace := _namespace_of(name, root))]
    pipe = r.pipeline(transaction=False)
    for name, _ in entries:
        pipe.strlen(name)
    sizes = {namespace.name: {"entries": 0, "bytes": 0} for namespace in declared()}
    for (_, namespace), size in zip(entries, pipe.execute(), strict=True):
        sizes[namespace]["entries"] += 1
        sizes[namespace]["bytes"] += size
    return {
        name: {what: round(number * factor) for what, number in sums.items()}
        for name, sums in sizes.items()
    }


def _namespace_of(name: bytes, root: bytes) -> str | None:
    logical = name[len(root) :].decode(errors="replace")
    return next((namespace.name for namespace in declared() if namespace.has(logical)), None)
