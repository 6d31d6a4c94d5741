"""The error table of the API, and the exception handler that answers every error as a problem."""

from collections.abc import Iterator
from http import HTTPStatus
from itertools import islice
from typing import Any

import structlog
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler as drf_exception_handler

from cachelayer import idempotency
from cachelayer.entries import Overloaded
from cachelayer.failures import unavailable_store
from cachelayer.http import PreconditionFailed
from config.web import problems
from config.web.callers import Unauthorized
from config.web.parsers import media_types
from notes import services as notes
from profiles import services as profiles
from profiles.stores import AlreadyExists

log = structlog.get_logger("api")

# Every error of a service or of the cache, with its status and the kind of its problem; a test
# compares the table with what the services raise.
DOMAIN_ERRORS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    notes.NoteNotFound: (HTTPStatus.NOT_FOUND, "note-not-found"),
    notes.NotOwner: (HTTPStatus.FORBIDDEN, "not-owner"),
    profiles.ProfileNotFound: (HTTPStatus.NOT_FOUND, "profile-not-found"),
    profiles.NotOwnProfile: (HTTPStatus.FORBIDDEN, "not-own-profile"),
    AlreadyExists: (HTTPStatus.CONFLICT, "taken"),
    PreconditionFailed: (HTTPStatus.PRECONDITION_FAILED, problems.PRECONDITION_FAILED),
    idempotency.KeyInUse: (HTTPStatus.CONFLICT, "idempotency-key-in-use"),
    idempotency.KeyReused: (HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency-key-reused"),
    Overloaded: (HTTPStatus.SERVICE_UNAVAILABLE, "overloaded"),
}


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the problem for exc, or None for a bug of the site, which becomes a 500."""
    request = context["request"]._request
    if type(exc) in DOMAIN_ERRORS:
        status, kind = DOMAIN_ERRORS[type(exc)]
        return _respond(
            problems.problem(request, status, str(exc), kind=kind, **_field_errors(exc))
        )
    store = unavailable_store(exc)
    if store is not None:
        log.warning("store unavailable", store=store, reason=str(exc).split("\n")[0])
        return _respond(problems.of_unavailable_store(request, store, exc))
    response = drf_exception_handler(exc, context)
    if response is None:
        return None
    headers = dict(response.headers)
    if isinstance(exc, exceptions.UnsupportedMediaType):
        # RFC 9110, 15.5.16, and RFC 5789, 2.2.
        headers["Accept"] = media_types(context["view"].parser_classes)
        if request.method == "PATCH":
            headers["Accept-Patch"] = headers["Accept"]
    if isinstance(exc, Unauthorized):
        headers["WWW-Authenticate"] = exc.challenge
    return _respond(_of_drf(request, exc, HTTPStatus(response.status_code)), headers)


def _field_errors(exc: Exception) -> dict[str, Any]:
    """Return the errors member of a domain error that concerns a single field."""
    if not isinstance(exc, AlreadyExists):
        return {}
    return {"errors": [{"field": exc.field, "message": str(exc), "code": "taken"}]}


def _of_drf(request: Any, exc: Exception, status: HTTPStatus) -> dict[str, Any]:
    if isinstance(exc, exceptions.ValidationError):
        errors = list(islice(_flat(exc.detail), problems.ERRORS_MAX + 1))
        named = errors[: problems.ERRORS_MAX]
        fields = ", ".join(dict.fromkeys(error["field"] for error in named))
        more = " There are more mistakes." if len(errors) > len(named) else ""
        return problems.problem(
            request, status, f"Not valid: {fields}.{more}", kind="validation-error", errors=named
        )
    detail = getattr(exc, "detail", None)
    text = str(detail) if detail else status.description
    if status is HTTPStatus.BAD_REQUEST:
        error = {"field": "body", "message": text, "code": getattr(exc, "default_code", "invalid")}
        return problems.problem(request, status, text, kind="parse-error", errors=[error])
    return problems.problem(request, status, text, kind=getattr(exc, "kind", None))


def _flat(detail: Any, path: str = "") -> Iterator[dict[str, str]]:
    """Yield DRF's nested details as {field, message, code}, fields joined by dots, an empty name as ""."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            steps = [path] if path else []
            if name != api_settings.NON_FIELD_ERRORS_KEY or _is_named_so(inner):
                steps.append(str(name) or '""')
            yield from _flat(inner, ".".join(steps))
    elif isinstance(detail, list):
        for inner in detail:
            yield from _flat(inner, path)
    else:
        code = getattr(detail, "code", None) or "invalid"
        yield {"field": path or "body", "message": str(detail), "code": code}


def _is_named_so(errors: Any) -> bool:
    """Return whether a client has sent something by the name under which DRF keeps errors of no field."""
    return any(getattr(error, "code", "") in ("unknown", "repeated") for error in errors)


def _respond(body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    sent = {
        name: value
        for name, value in (headers or {}).items()
        if name in ("Retry-After", "WWW-Authenticate", "Allow", "Accept", "Accept-Patch")
    }
    if body["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
        sent.setdefault("Retry-After", str(problems.RETRY_AFTER_SECONDS))
    return Response(body, status=body["status"], headers=sent, content_type=problems.CONTENT_TYPE)
