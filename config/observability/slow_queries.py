"""The slow statements of all processes: logged, stored in Redis, and listed by shape."""

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import structlog

from config import tracing
from config.observability import statements
from config.observability.capped_list import CappedList
from config.tracing import RequestTrace, Step

log = structlog.get_logger("request")

SLOW: Final = CappedList("slow", rows_max=1_000)
_LOGGED_AS: Final = {"postgres": "sql", "mongodb": "command", "redis": "operation"}


def record(trace: RequestTrace | None, step: Step) -> None:
    """Log a statement slower than SLOW_QUERY_MS, and store it where it was part of a request."""
    statement = statements.described(step)
    duration_ms = round(step.seconds * 1000, 1)
    logged: dict[str, Any] = {_LOGGED_AS[step.store]: statement}
    log.warning("slow query", duration_ms=duration_ms, store=step.store, **logged)
    if trace is None:
        return
    row = {
        "at": time.time(),
        "store": step.store,
        "kind": statements.kind(step),
        "fingerprint": statements.fingerprint(step.store, statement),
        "statement": statement,
        "endpoint": trace.endpoint(),
        "request_id": trace.request_id,
        "duration_ms": duration_ms,
    }
    SLOW.add(row)


tracing.when_slow = record


def slow_statements(store: str | None = None) -> list[dict[str, Any]]:
    """
    Return the stored statements by shape, the highest total time first.

    Each: {store, kind, fingerprint, statement, count, total_ms, mean_ms, max_ms, endpoints,
    request_id (of the slowest), last_at (epoch seconds)}. Raises CacheDown.
    """
    shapes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in SLOW.rows():
        if store in (None, row["store"]):
            shapes[row["fingerprint"]].append(row)
    grouped = [_group(rows) for rows in shapes.values()]
    return sorted(grouped, key=lambda shape: shape["total_ms"], reverse=True)


def count_and_newest() -> tuple[int, dict[str, Any] | None]:
    """Return how many statements are stored, and the newest as record stored it. Raises CacheDown."""
    return SLOW.count_and_newest()


def _group(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    slowest = max(rows, key=lambda row: row["duration_ms"])
    total_ms = sum(row["duration_ms"] for row in rows)
    return {
        **{name: slowest[name] for name in ("store", "kind", "fingerprint", "statement")},
        "count": len(rows),
        "total_ms": round(total_ms, 1),
        "mean_ms": round(total_ms / len(rows), 1),
        "max_ms": slowest["duration_ms"],
        "endpoints": sorted({row["endpoint"] for row in rows}),
        "request_id": slowest["request_id"],
        "last_at": max(row["at"] for row in rows),
    }
