"""Recording each successful request; it never fails, delays or changes one."""

from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from activity import metrics, services
from activity.actions import RECORDED, RecordedRequest

log = structlog.get_logger("activity")

UNRECORDED = "activity.unrecorded"  # a key of WSGI's environ, which no client can set: leave it out
_VALUE_MAX_CHARACTERS = 200  # of a query parameter that is recorded


class ActivityMiddleware:
    """Appends an event to the spool once the view has answered."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        match = request.resolver_match
        if match is not None and 200 <= response.status_code < 300:
            recorded = RECORDED.get((str(match.url_name), str(request.method)))
            if recorded is not None and UNRECORDED not in request.META:
                _record(request, response, recorded)
        return response


def _record(request: HttpRequest, response: HttpResponse, recorded: RecordedRequest) -> None:
    try:
        record = services.recorder(
            recorded.action,
            recorded.resource,
            _resource_id(request, response, recorded),
            _details(request, response),
        )
        record(
            request.user.get_username(),
            client_address(request),
            request.META.get("HTTP_USER_AGENT", ""),
            getattr(request, "request_id", ""),
        )
    except Exception as exc:  # noqa: BLE001  # a recording failure must not fail the request
        metrics.FAILED.inc()
        log.warning("event not recorded", action=recorded.action, reason=str(exc))


def _resource_id(
    request: HttpRequest, response: HttpResponse, recorded: RecordedRequest
) -> str | None:
    match = request.resolver_match
    if recorded.argument is not None and match is not None:
        named = str(match.kwargs[recorded.argument])
        return named.lower() if recorded.resource == "note" else named  # of UUIDs, as they are sent
    location = response.headers.get("Location")
    if location:
        return location.rpartition("/")[2]
    return request.GET.get("namespace") if recorded.resource == "cache" else None


def _details(request: HttpRequest, response: HttpResponse) -> dict[str, Any]:
    """Return the status and the query of a list; the view has validated the parameters' names."""
    details: dict[str, Any] = {"status": response.status_code}
    if request.META.get("QUERY_STRING"):
        details["query"] = {
            name: value[:_VALUE_MAX_CHARACTERS]
            for name, value in request.GET.items()
            if name not in ("cursor", "cache")
        }
    return details


def client_address(request: HttpRequest) -> str | None:
    """
    Return the client's address: the peer of the outermost of TRUSTED_PROXIES proxies.

    Addresses further left in X-Forwarded-For come from the client and cannot be trusted.
    """
    peer = request.META.get("REMOTE_ADDR")
    if not settings.TRUSTED_PROXIES:
        return peer
    forwarded: str = request.headers.get("X-Forwarded-For", "")
    addresses = [address.strip() for address in forwarded.split(",") if address]
    return addresses[-min(settings.TRUSTED_PROXIES, len(addresses))] if addresses else peer
