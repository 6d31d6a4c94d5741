"""Middleware for every request: bodies that no endpoint reads, and the preconditions of reads."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from cachelayer.http import PreconditionFailed, not_modified, preconditions_of
from config.web import problems
from config.web.gateway import ENDS_EARLY


class RequestBodyMiddleware:
    """
    Refuse bodies that are too long, encoded or cut off, whatever the endpoint.

    config/web/gateway.py has made CONTENT_LENGTH the length of the body.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        length = request.META.get("CONTENT_LENGTH")
        if ENDS_EARLY in request.META:
            return problems.bad_request(request, problems.BodyEndsEarly())
        refusal = _refusal(request, int(length)) if length else None
        return self.get_response(request) if refusal is None else refusal


def _refusal(request: HttpRequest, length: int) -> HttpResponse | None:
    """Return the refusal of a body, None where it may be read."""
    if length > settings.REQUEST_BODY_MAX_BYTES:
        return problems.problem_response(
            request,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body is longer than {settings.REQUEST_BODY_MAX_BYTES} bytes.",
        )
    transfer_coding = request.META.get("HTTP_TRANSFER_ENCODING", "chunked")
    if transfer_coding.strip().lower() != "chunked":
        return problems.problem_response(  # RFC 9112, 6.1
            request,
            HTTPStatus.NOT_IMPLEMENTED,
            f"The transfer coding {transfer_coding} is not understood; chunked is.",
        )
    codings = [
        coding.strip() for coding in request.META.get("HTTP_CONTENT_ENCODING", "").split(",")
    ]
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


class DebugMiddleware:
    """While DEBUG is on: keep Django's tracebacks from the API, be they HTML or, to who accepts none, text."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_problem = response.headers.get("Content-Type") == problems.CONTENT_TYPE
        if response.status_code < HTTPStatus.BAD_REQUEST or is_problem:
            return response
        if not request.path.startswith("/api/"):
            return response
        match response.status_code:
            case HTTPStatus.NOT_FOUND:
                return problems.not_found(request)
            case HTTPStatus.BAD_REQUEST:
                return problems.bad_request(request)
            case _:
                return problems.server_error(request)


class PreconditionsMiddleware:
    """
    Apply the preconditions of every read of the API: a 412 or 304 in place of a 200.

    In the order of RFC 9110, 13.2.2; by 13.2.1 only where the reply would be a 200. A write
    compares them while it holds its row.
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


# What a read says of where it came from, and of who may keep it, whatever its status.
_OF_READS: Final = ("Cache-Status", "Cache-Control", "Vary")


def _conditional(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Return the reply to a read, or the 412 or 304 that its preconditions ask for."""
    preconditions = preconditions_of(request.META)
    etag = response.headers.get("ETag", "")
    try:
        preconditions.require_match(etag)
    except PreconditionFailed as exc:
        refusal = problems.problem_response(
            request,
            HTTPStatus.PRECONDITION_FAILED,
            str(exc),
            kind=problems.PRECONDITION_FAILED,
        )
        for name in _OF_READS:
            if name in response.headers:
                refusal.headers[name] = response.headers[name]
        refusal.cache_source = getattr(response, "cache_source", None)  # type: ignore[attr-defined]  # ours
        return refusal
    if preconditions.if_none_match is not None and not_modified(preconditions.if_none_match, etag):
        response.status_code = HTTPStatus.NOT_MODIFIED
        response.content = b""
        del response.headers["Content-Type"]
    return response
