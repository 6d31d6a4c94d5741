"""Base views of every endpoint: strict queries, and reads of a value through the cache."""

import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, Final, Literal

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cachelayer import http
from cachelayer.entries import Bypass, Cached
from cachelayer.first_level import Guard
from cachelayer.http import Representation
from cachelayer.namespace import Key
from cachelayer.read import CachedRead
from config.web.authentication import (
    NotReadable,
    UserIdAuthentication,
    UserOrStaffAuthentication,
    only_readable_user,
)
from config.web.callers import identity_of_settings
from config.web.parsers import JSONOnly, media_types
from config.web.query import Parameters
from config.web.reuse import Reusable, Scope

FOR_OWNER_OR_STAFF = [UserOrStaffAuthentication]


def bypass_of(request: Request) -> Bypass:
    """Return whether the request bypasses the cache."""
    cache_control = request.META.get("HTTP_CACHE_CONTROL", "")
    return http.bypass_of(cache_control, cache_parameter=request.query_params.get("cache"))


class View(APIView):
    """
    An endpoint: 405 for an unknown method, whoever calls; 400 for an unknown parameter of a write.

    Reads parse their own query strings. query_of_writes are the parameters of its writes. readers says who
    may read where READS=owner, besides staff: every caller, the user whom the path names, or nobody.
    """

    query_of_writes: tuple[str, ...] = ()
    readers: ClassVar[Literal["callers", "its user", "staff"]] = "callers"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        method = str(request.method)
        if not hasattr(self, method.lower()):
            self.http_method_not_allowed(request)
        super().initial(request, *args, **kwargs)
        if method not in SAFE_METHODS:
            Parameters(request.query_params, known=self.query_of_writes).end()
        elif method != "OPTIONS" and self.readers != "callers":
            only_user = only_readable_user(request)
            if only_user is not None and self.readers == "staff":
                raise NotReadable("Only staff may read this: it is of all users.")
            if only_user not in (None, kwargs.get("user_id")):
                raise NotReadable

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Describe the endpoint, and the media types of its PATCH (RFC 5789, 3.1)."""
        response = super().options(request, *args, **kwargs)
        if hasattr(self, "patch"):
            response.headers["Accept-Patch"] = media_types(self.parser_classes)
        return response


# What a subclass may not replace where its replies are given to everyone: each may refuse a request.
_GATES: Final = (
    *("dispatch", "initial", "initialize_request", "perform_authentication", "get_authenticators"),
    *("check_permissions", "get_permissions", "check_throttles", "get_throttles"),
    *("perform_content_negotiation", "get_content_negotiator"),
)
_OPEN_AUTHENTICATION: Final[set[Any]] = {UserIdAuthentication, UserOrStaffAuthentication}


class CachedView(View):
    """
    An endpoint whose GET reads one value through the cache.

    Authentication, permissions and throttles come before the read, so they hold on a hit too. The
    reply, also an error, says what the cache had to do with it. reuse_scope says to whom the edge
    may give a reply without asking the view: None, the default, means everyone where the view is open to
    everyone (its own caller where READS=owner), and else nobody.
    """

    reuse_scope: Scope | None = None
    cached: Cached[Representation] | None = None  # what the handler has read
    _key: Key[Representation]  # of it

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Do as DRF does, but send a read as it is stored, without what DRF adds to a reply."""
        if request.method not in ("GET", "HEAD"):
            return super().dispatch(request, *args, **kwargs)
        self.args, self.kwargs = args, kwargs
        self.request = drf_request = self.initialize_request(request, *args, **kwargs)
        try:
            self.initial(drf_request, *args, **kwargs)
            response = self.get(drf_request, *args, **kwargs)  # type: ignore[attr-defined]  # each has one
        except Exception as exc:  # noqa: BLE001  # handle_exception raises again what it has no answer to
            response = self.handle_exception(exc)
        if isinstance(response, Response):  # which DRF is to render
            self.headers = self.default_response_headers
            response = self.finalize_response(drf_request, response, *args, **kwargs)
        cached = self.cached
        if cached is not None:
            response.headers["Cache-Status"] = http.cache_status(cached)
            response.headers.setdefault("Cache-Control", http.CACHE_CONTROL)  # of a 404, too
            if settings.READS == "owner":
                patch_vary_headers(response, identity_of_settings().vary.split(", "))
            response.cache_source = cached.source  # read by config.web.durations
            if cached.guard is not None and response.status_code == HTTPStatus.OK:
                self._mark_reusable(response, cached, cached.guard)
        if not isinstance(response, Response):  # which is rendered later, and may need the view
            # View, request and context refer to each other: all that came of it would wait for the collector.
            drf_request.parser_context.clear()
            self.__dict__.clear()
        return response

    def _mark_reusable(self, response: HttpResponse, cached: Cached[Any], guard: Guard) -> None:
        scope = self.reuse_scope
        if scope is None and self._is_open():
            scope = Scope.CALLER if settings.READS == "owner" else Scope.EVERYONE
        if scope is not None:
            response.reusable = Reusable(  # type: ignore[attr-defined]  # read by config.web.edge
                guard=guard,
                fresh_ms=cached.fresh_ms,
                remaining_seconds=cached.remaining_seconds,
                scope=scope,
                namespace=self._key.namespace.name,
                name=self._key.name,
                body=response.content,
                content_type=response.headers["Content-Type"],
                content_type_position=list(response.headers).index("Content-Type"),
            )

    def _is_open(self) -> bool:
        """Return whether every caller whom authentication lets through gets the same reply."""
        return (
            not self.permission_classes
            and not self.throttle_classes
            and _OPEN_AUTHENTICATION.issuperset(self.authentication_classes)
            and self.content_negotiation_class is JSONOnly
            and _keeps_its_gates(type(self))  # type: ignore[arg-type]  # classes are hashable
        )

    def read(
        self, request: Request, source: CachedRead[Representation], *, needs_body: bool = False
    ) -> Representation | None:
        """Return the value that source reads; only the head of it if the client has that copy, unless needs_body."""
        http_request = request._request
        fields = http_request.META  # request.headers costs more to build than a hit needs
        if_none_match = fields.get("HTTP_IF_NONE_MATCH")
        has_copy = None
        if if_none_match is not None and not needs_body:
            present = self.presenter(http_request)
            has_copy = lambda stored: http.not_modified(if_none_match, present(stored).etag)  # noqa: E731
        bypass = Bypass.NO
        if "HTTP_CACHE_CONTROL" in fields or (
            fields.get("QUERY_STRING") and "cache" in http_request.GET
        ):
            bypass = bypass_of(request)
        self._key = source.key
        self.cached = source.get(bypass=bypass, accepts_head=has_copy)
        return self.cached.value

    def presenter(self, request: HttpRequest) -> Callable[[Representation], Representation]:
        """Return a function from the stored representation to the one that is sent."""
        return lambda stored: stored

    def respond(self, request: HttpRequest, stored: Representation) -> HttpResponse:
        """Return the reply."""
        return http.answer(self.presenter(request)(stored))


@functools.cache
def _keeps_its_gates(view: Any) -> bool:
    """Return whether a view's class leaves to this module who may call it."""
    return all(getattr(view, name) is getattr(CachedView, name) for name in _GATES)
