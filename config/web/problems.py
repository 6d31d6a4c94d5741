"""Errors as application/problem+json (RFC 9457), inside DRF and outside of it."""

import sys
from http import HTTPStatus
from typing import Any, Final

import msgspec
from django.conf import settings
from django.core.exceptions import DisallowedHost, TooManyFieldsSent
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.encoding import escape_uri_path
from django.utils.http import escape_leading_slashes
from pymongo.errors import WaitQueueTimeoutError

from cachelayer.failures import READ_ONLY, unavailable_store
from config.postgres.base import PoolExhausted
from config.web.rate_limits import Refusal

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1
PRECONDITION_FAILED = "precondition-failed"
ERRORS_MAX = 100  # that a problem names: a body has room for a hundred thousand unknown fields
# Of every page but the admin's: it runs no script, has no style of its own, and loads its own style sheet alone.
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


def problem(
    request: HttpRequest,
    status: HTTPStatus,
    detail: str,
    *,
    kind: str | None = None,
    **members: Any,
) -> dict[str, Any]:
    """
    Return a problem's members.

    kind is the last part of type, for programs, such as not-owner; without it the type is
    about:blank, which says no more than the status does. trace_id is a member where the caller
    has sent a valid traceparent.
    """
    trace_id: str | None = getattr(request, "trace_id", None)
    return {
        "type": f"urn:trilith:problem:{kind}" if kind else "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        # A URI reference (RFC 9457, 3.1.5), and of this site: //host would name another host.
        "instance": escape_leading_slashes(escape_uri_path(request.path)),
        "request_id": getattr(request, "request_id", None),
        **({} if trace_id is None else {"trace_id": trace_id}),
        **members,
    }


def problem_response(
    request: HttpRequest,
    status: HTTPStatus,
    detail: str,
    *,
    kind: str | None = None,
    **members: Any,
) -> HttpResponse:
    """Return a problem as a response, for requests that never reach DRF."""
    return _respond(problem(request, status, detail, kind=kind, **members))


def _respond(body: dict[str, Any]) -> HttpResponse:
    status = HTTPStatus(body["status"])
    response = HttpResponse(msgspec.json.encode(body), status=status, content_type=CONTENT_TYPE)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def too_many_requests(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Return the reply to a request beyond its rate limit (RFC 6585, 4)."""
    response = problem_response(
        request,
        HTTPStatus.TOO_MANY_REQUESTS,
        str(refusal),
        kind="rate-limited",
        scope=refusal.scope,
    )
    response.headers["Retry-After"] = str(refusal.retry_after_seconds)
    return response


def of_unavailable_store(
    request: HttpRequest, store: str, exc: BaseException | None
) -> dict[str, Any]:
    """Return the problem of a store that does not answer, is read-only, or has no free connection."""
    if _has_cause(exc, (PoolExhausted, WaitQueueTimeoutError)):
        detail = f"Every connection to {store} is in use."
    elif _has_cause(exc, (READ_ONLY,)):
        detail = f"The store {store} is read-only at present: reads go on, writes do not."
    else:
        detail = f"The store {store} does not answer."
    return problem(
        request,
        HTTPStatus.SERVICE_UNAVAILABLE,
        detail,
        kind="store-unavailable",
        store=store,
    )


def _has_cause(exc: BaseException | None, kinds: tuple[type[Exception], ...]) -> bool:
    while exc is not None and not isinstance(exc, kinds):
        exc = exc.__cause__
    return exc is not None


def is_for_programs(request: HttpRequest) -> bool:
    """Return whether the path belongs to the API, which never answers in HTML."""
    return request.path.startswith(("/api/", "/health", "/metrics"))


class BodyEndsEarly(Exception):
    """The connection ended before the body had the length that Content-Length says."""


# What is refused before any view has read the request, with the field that is at fault.
_MALFORMED: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (BodyEndsEarly, "body", "The body is shorter than Content-Length says."),
    (DisallowedHost, "Host", "This is no host of this site (ALLOWED_HOSTS)."),
    (
        TooManyFieldsSent,
        "query",
        f"There may be at most {settings.DATA_UPLOAD_MAX_NUMBER_FIELDS} parameters.",
    ),
)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    field, detail = next(
        ((field, detail) for kind, field, detail in _MALFORMED if isinstance(exception, kind)),
        ("request", "The request is malformed."),
    )
    if not is_for_programs(request):
        return _page(HTTPStatus.BAD_REQUEST, detail)
    errors = [{"field": field, "message": detail, "code": "invalid"}]
    return problem_response(request, HTTPStatus.BAD_REQUEST, detail, errors=errors)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if not is_for_programs(request):
        return _page(HTTPStatus.FORBIDDEN, "This is not allowed.")
    return problem_response(request, HTTPStatus.FORBIDDEN, "This is not allowed.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return the reply to a form without its token, or with another browser's; for settings.CSRF_FAILURE_VIEW."""
    detail = (
        f"{reason.rstrip('.')}. Nothing was written. Go back, copy what you typed, reload the page and "
        "send it again; your browser must accept this site's cookies."
    )
    if not is_for_programs(request):
        return _page(HTTPStatus.FORBIDDEN, detail)
    return problem_response(request, HTTPStatus.FORBIDDEN, detail)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if not is_for_programs(request):
        return _page(HTTPStatus.NOT_FOUND, f"There is nothing at {escape_uri_path(request.path)}.")
    return problem_response(request, HTTPStatus.NOT_FOUND, f"There is nothing at {request.path}.")


def server_error(request: HttpRequest) -> HttpResponse:
    exc = sys.exc_info()[1]
    store = unavailable_store(exc)
    if store is not None:
        return _respond(of_unavailable_store(request, store, exc))
    if not is_for_programs(request):
        return _page(HTTPStatus.INTERNAL_SERVER_ERROR, "This is our mistake.")
    return problem_response(request, HTTPStatus.INTERNAL_SERVER_ERROR, "This is our mistake.")


def _page(status: HTTPStatus, detail: str) -> HttpResponse:
    """Return an error for people. Made without the request, whose session may be what has failed."""
    context = {"title": f"{status.value} {status.phrase}", "detail": detail}
    response = HttpResponse(render_to_string("error.html", context), status=status)
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response
