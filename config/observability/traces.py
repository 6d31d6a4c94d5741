"""The requests whose traces are stored: the slow ones, a share of all, and those that staff mark."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse

from config.observability import statements
from config.observability.capped_list import CappedList
from config.tracing import RequestTrace, endpoint_of
from config.web.callers import bearer_token, is_admin_token
from config.web.trace_context import is_recorded_by_caller

# A list for each reason: a flood of slow requests does not push out those that staff marked.
TRACES: Final = {
    reason: CappedList(f"traces:{reason}", rows_max=100)
    for reason in ("requested", "slow", "sampled")
}
_STEP_CHARACTERS: Final = 300  # of a statement in a trace
_SAMPLED: Final = "trilith.sampled"  # a key of WSGI's environ, which no client can set


def keep_trace(
    request: HttpRequest, response: HttpResponse, trace: RequestTrace, elapsed_ms: float
) -> None:
    """Store the trace of a request that is slow, sampled, or marked by staff (X-Trace: 1)."""
    reason = _reason(request, elapsed_ms)
    if reason is None:
        return
    row = {
        "at": time.time(),
        "request_id": trace.request_id,
        "method": request.method,
        "path": request.path,
        "endpoint": endpoint_of(request),
        "status": response.status_code,
        "duration_ms": round(elapsed_ms, 3),
        "steps": _steps(trace),
        "left_out": trace.left_out,
    }
    TRACES[reason].add(row)


def so_far(trace: RequestTrace) -> dict[str, Any]:
    """Return what a request has done until now, as a stored trace has it."""
    return {
        "request_id": trace.request_id,
        "elapsed_ms": round((time.perf_counter() - trace.started_at) * 1000, 3),
        "steps": _steps(trace),
        "left_out": trace.left_out,
    }


def keep_slow_hit(
    environ: Mapping[str, Any], endpoint: str, status: int, request_id: str, elapsed_ms: float
) -> None:
    """Store the trace of a slow request that the edge has answered, without Django or a store."""
    row = {
        "at": time.time(),
        "request_id": request_id,
        "method": environ["REQUEST_METHOD"],
        "path": environ["SCRIPT_NAME"] + environ["PATH_INFO"],
        "endpoint": endpoint,
        "status": status,
        "duration_ms": round(elapsed_ms, 3),
        "steps": [],
        "left_out": 0,
    }
    TRACES["slow"].add(row)


def _steps(trace: RequestTrace) -> list[list[Any]]:
    return [
        [
            round((step.started_at - trace.started_at) * 1000, 3),
            round(step.seconds * 1000, 3),
            step.store,
            statements.described(step)[:_STEP_CHARACTERS],
        ]
        for step in trace.steps
    ]


def _reason(request: HttpRequest, elapsed_ms: float) -> str | None:
    if "HTTP_X_TRACE" in request.META and _is_marked_by_staff(request):
        return "requested"
    if elapsed_ms > settings.SLOW_QUERY_MS:
        return "slow"
    return "sampled" if settings.TRACE_SHARE and is_sampled(request.META) else None


def is_sampled(environ: dict[str, Any]) -> bool:
    """Return whether the request is one of the TRACE_SHARE whose traces are stored; drawn once."""
    if _SAMPLED not in environ:
        environ[_SAMPLED] = random.random() < settings.TRACE_SHARE  # noqa: S311  # no secret
    return bool(environ[_SAMPLED])


def sampler_of_settings() -> Callable[[dict[str, Any]], bool] | None:
    """Return what tells which requests Django has to answer, for their trace or span; None: none has to."""
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return _is_sampled_or_recorded
    return is_sampled if settings.TRACE_SHARE else None


def _is_sampled_or_recorded(environ: dict[str, Any]) -> bool:
    """Return the same as is_sampled, or that its caller has recorded a span that this request's is to be below."""
    return is_recorded_by_caller(environ) or bool(settings.TRACE_SHARE and is_sampled(environ))


def _is_marked_by_staff(request: HttpRequest) -> bool:
    """Return whether X-Trace is 1 and comes with ADMIN_TOKEN or with a session of staff."""
    if request.headers["X-Trace"] != "1":
        return False
    token = bearer_token(request.headers.get("Authorization"))
    if token is not None and settings.ADMIN_TOKEN:
        return is_admin_token(token)
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return False
    try:
        # Not request.user, which DRF has replaced by the caller of X-User-Id.
        return bool(get_user(request).is_staff)
    except (DatabaseError, InterfaceError):
        return False  # a trace is not worth an error


def traces_of(request_id: str) -> list[dict[str, Any]]:
    """Return the traces of the requests with that id, each with its reason, newest first."""
    rows = [
        row | {"reason": reason}
        for reason, stored in TRACES.items()
        for row in stored.rows()
        if row["request_id"] == request_id
    ]
    return sorted(rows, key=lambda row: row["at"], reverse=True)
