"""Recording each successful request; it never fails, delays or changes one."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from activity import metrics, services
from activity.actions import RECORDED, RecordedRequest
from config.web.idempotency import REPLAYED
from config.web.reuse import Repeat, Reusable, resources_of

log = structlog.get_logger("activity")

UNRECORDED = "activity.unrecorded"  # a key of WSGI's environ, which no client can set: leave it out
_VALUE_MAX_CHARACTERS = 200  # of a query parameter that is recorded


class ActivityMiddleware:
    """Appends an event to the spool once the view has answered, and has the edge do so on a hit."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        match = request.resolver_match
        if match is None:
            return response
        recorded = RECORDED.get((str(match.url_name), str(request.method)))
        if recorded is None or REPLAYED in response.headers:  # the earlier request was recorded
            return response
        reusable: Reusable | None = getattr(response, "reusable", None)
        if _is_success(response) and UNRECORDED not in request.META:
            record = _recorder(request, response, recorded, response.status_code)
            user_id = request.user.get_username()
            record(request.META, user_id, getattr(request, "request_id", ""))
            if reusable is not None:
                reusable.on_reuse.append(record)
        elif reusable is not None:  # a 304, which is none: others will be answered in full
            reusable.on_reuse.append(_recorder(request, response, recorded, HTTPStatus.OK))
        return response


def _is_success(response: HttpResponse) -> bool:
    """Return whether the request did what it was for: a page answers a write by leading to another."""
    return 200 <= response.status_code < 300 or response.status_code == HTTPStatus.SEE_OTHER


def _recorder(
    request: HttpRequest, response: HttpResponse, recorded: RecordedRequest, status: int
) -> Repeat:
    """Return a function that records such a request, an event for each resource: of its environ, its user and its id."""
    try:
        details: dict[str, Any] = {"status": status}
        if recorded.knows_query and request.META.get("QUERY_STRING"):
            details["query"] = _query(request)
        records = [
            services.recorder(recorded.action, recorded.resource, resource_id, details)
            for resource_id in _resource_ids(request, response, recorded)
        ]
    except Exception as exc:  # noqa: BLE001  # a recording failure must not fail the request
        reason = str(exc)
        return lambda *_: _failed(recorded.action, reason)

    def repeat(environ: Mapping[str, Any], user_id: str, request_id: str) -> None:
        if UNRECORDED in environ:
            return
        for record in records:
            try:
                record(
                    user_id, client_address(environ), environ.get("HTTP_USER_AGENT", ""), request_id
                )
            except Exception as exc:  # noqa: BLE001  # as above
                _failed(recorded.action, str(exc))

    return repeat


def _failed(action: str, reason: str) -> None:
    metrics.FAILED.inc()
    log.warning("event not recorded", action=action, reason=reason)


def _resource_ids(
    request: HttpRequest, response: HttpResponse, recorded: RecordedRequest
) -> Sequence[str | None]:
    named = resources_of(response)
    return [_resource_id(request, response, recorded)] if named is None else named


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


def _query(request: HttpRequest) -> dict[str, Any]:
    """Return the query of a list, whose names the view has validated."""
    return {
        name: value[:_VALUE_MAX_CHARACTERS]
        for name, value in request.GET.items()
        if name not in ("cursor", "cache")
    }


def client_address(environ: Mapping[str, Any]) -> str | None:
    """
    Return the client's address: the peer of the outermost of TRUSTED_PROXIES proxies.

    Addresses further left in X-Forwarded-For come from the client and cannot be trusted. Some proxies
    write the port as well, which is left out.
    """
    peer: str | None = environ.get("REMOTE_ADDR")
    if not settings.TRUSTED_PROXIES:
        return peer
    forwarded: str = environ.get("HTTP_X_FORWARDED_FOR", "")
    if not forwarded.strip():
        return peer
    addresses = [address.strip() for address in forwarded.split(",")]
    return _without_port(addresses[-min(settings.TRUSTED_PROXIES, len(addresses))])


def _without_port(address: str) -> str:
    """Return an address of A.B.C.D:PORT, [IPV6]:PORT, or neither."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
