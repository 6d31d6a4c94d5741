"""What surrounds every request: its id, its clock, the time spent in each store, one log line."""

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse

from cachelayer import timings
from config.postgres import metrics

log = structlog.get_logger("request")
_SAFE_ID = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")


class RequestContextMiddleware:
    """Give each request an id and a ledger of store times, and report both on its response."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        request_id = _request_id(request)
        request.request_id = request_id  # type: ignore[attr-defined]  # read by problems and logs
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        with timings.ledger() as spent, connection.execute_wrapper(_timed_statement):
            response = self.get_response(request)
        elapsed_ms = (time.perf_counter() - started) * 1000
        response.headers["X-Request-ID"] = request_id
        response.headers["Server-Timing"] = ", ".join(
            [f"{store};dur={seconds * 1000:.2f}" for store, seconds in spent.items()]
            + [f"app;dur={elapsed_ms:.2f}"]
        )
        log.info(
            "request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            duration_ms=round(elapsed_ms, 2),
            cache=response.headers.get("Cache-Status"),
        )
        return response


def _request_id(request: HttpRequest) -> str:
    """Return the caller's X-Request-ID where it is safe to echo and to log, else a new one."""
    given = request.headers.get("X-Request-ID", "")
    return given if _SAFE_ID.fullmatch(given) else uuid.uuid4().hex


def _timed_statement(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Run one statement on PostgreSQL; add its time to the request's, and warn where it is slow."""
    started = time.perf_counter()
    try:
        return execute(sql, params, many, context)
    except DatabaseError as exc:
        metrics.ERRORS.labels(type(exc).__name__).inc()
        raise
    finally:
        seconds = time.perf_counter() - started
        timings.add("postgres", seconds)
        metrics.STATEMENT_SECONDS.observe(seconds)
        if seconds * 1000 > settings.SLOW_QUERY_MS:
            # sql holds placeholders; parameters are people's data and stay out of the logs.
            log.warning(
                "slow query", duration_ms=round(seconds * 1000, 1), sql=sql, store="postgres"
            )
