"""The trace of every request: its id, its duration, what it does in each store, one log line."""

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

import structlog
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse

from config import tracing
from config.observability import logs, query_stats, statements, traces
from config.postgres import metrics, repeating, replica
from config.postgres.base import PreparingCursor
from config.web.request_ids import request_id_of
from config.web.reuse import Reusable
from config.web.trace_context import log_fields, trace_id_of

log = structlog.get_logger("request")

_NO_ENDPOINT: Final = "none"


class RequestContextMiddleware:
    """Give each request an id and a trace of its work in the stores, and report both."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        request_id = request_id_of(request.META)
        request.request_id = request_id  # type: ignore[attr-defined]  # read by problems and logs
        trace_id = trace_id_of(request.META)
        request.trace_id = trace_id  # type: ignore[attr-defined]  # likewise
        logs.request_fields.set(log_fields(request_id, trace_id))
        statements_wrapper = _Statements(request, request_id)
        with (
            tracing.trace_request(request_id, lambda: tracing.endpoint_of(request)) as trace,
            connection.execute_wrapper(statements_wrapper),
            replica.execute_wrapper(statements_wrapper),
        ):
            request.trace_so_far = partial(traces.so_far, trace)  # type: ignore[attr-defined]  # for pages
            response = self.get_response(request)
        # Request and trace refer to each other by it: all that came of the request would wait for the collector.
        del request.trace_so_far  # type: ignore[attr-defined]
        elapsed_ms = (time.perf_counter() - started) * 1000
        response.headers["X-Request-ID"] = request_id
        response.headers["Server-Timing"] = ", ".join(
            [f"{store};dur={seconds * 1000:.2f}" for store, seconds in trace.items()]
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
        traces.keep_trace(request, response, trace, elapsed_ms)
        response.route = trace.endpoint()  # type: ignore[attr-defined]  # read by config.web.durations
        reusable: Reusable | None = getattr(response, "reusable", None)
        if reusable is not None:
            reusable.endpoint = trace.endpoint()
        return response


class _Statements:
    """Wraps each statement of a request: adds its comment, measures it, counts its failure."""

    __slots__ = ("_comment", "_request", "_request_id")

    def __init__(self, request: HttpRequest, request_id: str) -> None:
        self._request = request
        self._request_id = request_id
        self._comment = ""

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        """Run a statement on PostgreSQL, marked with the endpoint and the request's id."""
        if isinstance(context["cursor"].cursor, PreparingCursor):
            marked = sql + _prepared_comment(tracing.endpoint_of(self._request))
        else:
            marked = sql + self._current_comment() if isinstance(sql, str) else sql
        started = time.perf_counter()
        try:
            return repeating.run(execute, marked, params, many, context)
        except DatabaseError as exc:
            metrics.ERRORS.labels(type(exc).__name__).inc()
            raise
        finally:
            seconds = time.perf_counter() - started
            tracing.add_statement("postgres", sql, started, seconds)
            metrics.statement_seconds.append(seconds)
            query_stats.count(tracing.endpoint_of(self._request), sql, seconds)

    def _current_comment(self) -> str:
        """Return the comment, cached from the first statement after the route is resolved."""
        if self._comment:
            return self._comment
        endpoint = tracing.endpoint_of(self._request)
        comment = statements.comment(endpoint or _NO_ENDPOINT, self._request_id)
        if endpoint:
            self._comment = comment
        return comment


@cache
def _prepared_comment(endpoint: str) -> str:
    """Return the comment of a prepared statement, whose text must be the same for all requests."""
    return statements.comment(endpoint or _NO_ENDPOINT)
