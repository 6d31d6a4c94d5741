"""What surrounds every request: its id, its clock, what it does in each store, one log line."""

import re
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse

from cachelayer import timings
from cachelayer.http import PreconditionFailed, not_modified, preconditions_of
from config.observability import query_stats, slow_queries, statements
from config.postgres import metrics, repeating
from config.web import problems

log = structlog.get_logger("request")
SAFE_ID_PATTERN: Final = r"^[A-Za-z0-9._~:/+=@-]{1,128}$"


class RequestContextMiddleware:
    """Give each request an id and a ledger of what it does in the stores, and report both."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        request_id = _request_id(request)
        request.request_id = request_id  # type: ignore[attr-defined]  # read by problems and logs
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        with (
            timings.ledger(request_id, lambda: slow_queries.endpoint_of(request)) as spent,
            connection.execute_wrapper(_Statements(request, request_id)),
        ):
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
        slow_queries.keep_trace(request, response, spent, elapsed_ms)
        return response


def _request_id(request: HttpRequest) -> str:
    """Return the caller's X-Request-ID where it is safe to echo and to log, else a new one."""
    given = request.headers.get("X-Request-ID", "")
    return given if re.fullmatch(SAFE_ID_PATTERN, given) else uuid.uuid4().hex


class RequestBodyMiddleware:
    """
    Refuse the bodies that no endpoint reads, whatever the endpoint: too long ones and coded ones.

    A gateway has seen to it that CONTENT_LENGTH is the length of the body (config/web/gateway.py).
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        length = request.META.get("CONTENT_LENGTH")
        refusal = _body_refused(request, int(length)) if length else None
        return self.get_response(request) if refusal is None else refusal


def _body_refused(request: HttpRequest, length: int) -> HttpResponse | None:
    """Return the answer to a body that is not to be read, None for every other."""
    if length > settings.REQUEST_BODY_MAX_BYTES:
        return problems.problem_response(
            request,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body is longer than {settings.REQUEST_BODY_MAX_BYTES} bytes.",
        )
    transfer_coding = request.headers.get("Transfer-Encoding", "chunked")
    if transfer_coding.strip().lower() != "chunked":
        return problems.problem_response(  # RFC 9112, 6.1
            request,
            HTTPStatus.NOT_IMPLEMENTED,
            f"The transfer coding {transfer_coding} is not understood; chunked is.",
        )
    codings = [one.strip() for one in request.headers.get("Content-Encoding", "").split(",")]
    if length and any(coding.lower() not in ("", "identity") for coding in codings):
        refusal = problems.problem_response(  # RFC 9110, 15.5.16
            request,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"The content coding {', '.join(filter(None, codings))} is not understood; "
            "send the body as it is.",
        )
        refusal.headers["Accept-Encoding"] = "identity"  # RFC 9110, 12.5.3
        return refusal
    return None


class PreconditionsMiddleware:
    """
    Hold every read of the API to its preconditions: 412 or 304 for an answer that is not wanted.

    In the order of RFC 9110, 13.2.2; by 13.2.1 only where it would be a 200 otherwise. A write
    compares them where it holds its row.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if (
            ("HTTP_IF_NONE_MATCH" in request.META or "HTTP_IF_MATCH" in request.META)
            and response.status_code == HTTPStatus.OK
            and request.method in ("GET", "HEAD")
            and request.path.startswith("/api/")
        ):
            return _conditional(request, response)
        return response


def _conditional(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Return the answer to a read, or what its preconditions make of it."""
    preconditions = preconditions_of(request.headers)
    etag = response.headers.get("ETag", "")
    try:
        preconditions.require_match(etag)
    except PreconditionFailed as exc:
        return problems.problem_response(
            request,
            HTTPStatus.PRECONDITION_FAILED,
            str(exc),
            kind=problems.PRECONDITION_FAILED,
        )
    if preconditions.if_none_match is not None and not_modified(preconditions.if_none_match, etag):
        response.status_code = HTTPStatus.NOT_MODIFIED
        response.content = b""
        del response.headers["Content-Type"]
    return response


class _Statements:
    """Surrounds each statement of one request: its comment, its time, its failure."""

    __slots__ = ("_comment", "_request", "_request_id")

    def __init__(self, request: HttpRequest, request_id: str) -> None:
        self._request = request
        self._request_id = request_id
        self._comment = ""

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        """Run one statement on PostgreSQL, marked with the endpoint and the request's id."""
        marked = sql + self._comment_of_now() if isinstance(sql, str) else sql
        started = time.perf_counter()
        try:
            return repeating.run(execute, marked, params, many, context)
        except DatabaseError as exc:
            metrics.ERRORS.labels(type(exc).__name__).inc()
            raise
        finally:
            seconds = time.perf_counter() - started
            timings.add("postgres", sql, started, seconds)
            metrics.STATEMENT_SECONDS.observe(seconds)
            query_stats.ran(slow_queries.endpoint_of(self._request), sql, seconds)

    def _comment_of_now(self) -> str:
        """Return the comment, made once: at the first statement that has an endpoint."""
        if self._comment:
            return self._comment
        endpoint = slow_queries.endpoint_of(self._request)
        made = statements.comment(endpoint or "none", self._request_id)
        if endpoint:
            self._comment = made
        return made
