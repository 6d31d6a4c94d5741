"""Which statements and requests are kept to be looked at: the slow ones, and those asked for."""

import random
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import structlog
from django.conf import settings
from django.contrib.auth import get_user
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare

from cachelayer import timings
from cachelayer.timings import Ledger, Step
from config.observability import statements
from config.observability.capped_list import Kept

log = structlog.get_logger("request")

SLOW: Final = Kept("slow", rows_max=1_000)
# A list for each reason: a flood of slow requests does not push out what somebody asked for.
TRACES: Final = {
    reason: Kept(f"traces:{reason}", rows_max=100) for reason in ("asked", "slow", "sampled")
}
_STEP_CHARACTERS: Final = 300  # of a statement in a trace
_LOGGED_AS: Final = {"postgres": "sql", "mongodb": "command", "redis": "operation"}


def endpoint_of(request: HttpRequest) -> str:
    """Return the name of the request's route; empty before it is resolved, and where none fits."""
    match = getattr(request, "resolver_match", None)
    return match.view_name or match.route if match else ""


def slow_statement(ledger: Ledger | None, step: Step) -> None:
    """Warn of a statement slower than SLOW_QUERY_MS; keep it where it was a request's."""
    statement = statements.described(step)
    duration_ms = round(step.seconds * 1000, 1)
    told = {_LOGGED_AS[step.store]: statement}
    log.warning("slow query", duration_ms=duration_ms, store=step.store, **told)
    if ledger is None:
        return
    row = {
        "at": time.time(),
        "store": step.store,
        "kind": statements.kind(step),
        "fingerprint": statements.fingerprint(step.store, statement),
        "statement": statement,
        "endpoint": ledger.endpoint(),
        "request_id": ledger.request_id,
        "duration_ms": duration_ms,
    }
    SLOW.add(row)


timings.when_slow = slow_statement


def keep_trace(
    request: HttpRequest, response: HttpResponse, ledger: Ledger, elapsed_ms: float
) -> None:
    """Keep the story of a request that is slow, sampled, or asked for by staff (X-Trace: 1)."""
    reason = _reason(request, elapsed_ms)
    if reason is None:
        return
    steps = [
        [
            round((step.started_at - ledger.started_at) * 1000, 3),
            round(step.seconds * 1000, 3),
            step.store,
            statements.described(step)[:_STEP_CHARACTERS],
        ]
        for step in ledger.steps
    ]
    row = {
        "at": time.time(),
        "request_id": ledger.request_id,
        "method": request.method,
        "path": request.path,
        "endpoint": endpoint_of(request),
        "status": response.status_code,
        "duration_ms": round(elapsed_ms, 3),
        "steps": steps,
        "left_out": ledger.left_out,
    }
    TRACES[reason].add(row)


def _reason(request: HttpRequest, elapsed_ms: float) -> str | None:
    if "HTTP_X_TRACE" in request.META and _asked_by_staff(request):
        return "asked"
    if elapsed_ms > settings.SLOW_QUERY_MS:
        return "slow"
    if settings.TRACE_SHARE and random.random() < settings.TRACE_SHARE:  # noqa: S311  # no secret
        return "sampled"
    return None


def _asked_by_staff(request: HttpRequest) -> bool:
    """Whether X-Trace is 1 and comes with ADMIN_TOKEN or with a session of staff."""
    if request.headers["X-Trace"] != "1":
        return False
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and settings.ADMIN_TOKEN:
        return constant_time_compare(token, settings.ADMIN_TOKEN)
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return False
    try:
        # Not request.user, which DRF has replaced by the caller of X-User-Id.
        return bool(get_user(request).is_staff)
    except (DatabaseError, InterfaceError):
        return False  # a trace is not worth an error


def traces_of(request_id: str) -> list[dict[str, Any]]:
    """Return the traces of the requests with that id, each with its reason, newest first."""
    found = [
        row | {"reason": reason}
        for reason, kept in TRACES.items()
        for row in kept.rows()
        if row["request_id"] == request_id
    ]
    return sorted(found, key=lambda row: row["at"], reverse=True)


def slow_statements(store: str | None = None) -> list[dict[str, Any]]:
    """
    Return the kept statements by shape, the most expensive (total time) first.

    Each: {store, kind, fingerprint, statement, count, total_ms, mean_ms, max_ms, endpoints,
    request_id (of the slowest), last_at (epoch seconds)}. Raises CacheDown.
    """
    shapes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in SLOW.rows():
        if store in (None, row["store"]):
            shapes[row["fingerprint"]].append(row)
    grouped = [_group(rows) for rows in shapes.values()]
    return sorted(grouped, key=lambda one: one["total_ms"], reverse=True)


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
