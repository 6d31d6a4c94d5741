"""Base views of every endpoint: strict queries, and reads of a value through the cache."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cachelayer import http
from cachelayer.entries import Bypass, Cached, Source
from cachelayer.http import Representation
from cachelayer.read import CachedRead
from config.web.authentication import UserOrStaffAuthentication
from config.web.parsers import media_types
from config.web.query import Parameters

FOR_OWNER_OR_STAFF = [UserOrStaffAuthentication]


def bypass_of(request: Request) -> Bypass:
    """Return whether the request bypasses the cache."""
    return http.bypass_of(request.headers, cache_parameter=request.query_params.get("cache"))


class View(APIView):
    """
    An endpoint: 405 for an unknown method, whoever calls; 400 for an unknown parameter of a write.

    Reads parse their own query strings. query_of_writes are the parameters of its writes.
    """

    query_of_writes: tuple[str, ...] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        method = str(request.method)
        if not hasattr(self, method.lower()):
            self.http_method_not_allowed(request)
        super().initial(request, *args, **kwargs)
        if method not in SAFE_METHODS:
            Parameters(request.query_params, known=self.query_of_writes).end()

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Describe the endpoint, and the media types of its PATCH (RFC 5789, 3.1)."""
        response = super().options(request, *args, **kwargs)
        if hasattr(self, "patch"):
            response.headers["Accept-Patch"] = media_types(self.parser_classes)
        return response


class CachedView(View):
    """
    An endpoint whose GET reads one value through the cache.

    Authentication, permissions and throttles come before the read, so they hold on a hit too. The
    reply, also an error, says what the cache had to do with it.
    """

    cached: Cached[Representation] | None = None  # what the handler has read
    is_plain_hit = False  # whether a GET that says nothing about caches was a hit

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Do as DRF does, but send a plain hit as it is stored, without what DRF adds to a reply."""
        if request.method != "GET":
            return super().dispatch(request, *args, **kwargs)
        self.args, self.kwargs = args, kwargs
        self.request = drf_request = self.initialize_request(request, *args, **kwargs)
        try:
            self.initial(drf_request, *args, **kwargs)
            response = self.get(drf_request, *args, **kwargs)  # type: ignore[attr-defined]  # each has one
        except Exception as exc:  # noqa: BLE001  # handle_exception raises again what it has no answer to
            self.is_plain_hit = False
            response = self.handle_exception(exc)
        if self.is_plain_hit and self.cached is not None:
            response.headers["Cache-Status"] = http.cache_status(self.cached)
            return response
        self.headers = self.default_response_headers
        self.response = self.finalize_response(drf_request, response, *args, **kwargs)
        return self.response

    def read(self, request: Request, source: CachedRead[Representation]) -> Representation | None:
        """Return the value that source reads; only the head of it if the client has that copy."""
        http_request = request._request
        fields = http_request.META  # request.headers costs more to build than a hit needs
        if_none_match = fields.get("HTTP_IF_NONE_MATCH")
        has_copy = None
        if if_none_match is not None:
            present = self.presenter(http_request)
            has_copy = lambda stored: http.not_modified(if_none_match, present(stored).etag)  # noqa: E731
        bypass, is_default = Bypass.NO, True
        if "HTTP_CACHE_CONTROL" in fields or (
            fields.get("QUERY_STRING") and "cache" in http_request.GET
        ):
            bypass, is_default = bypass_of(request), False
        self.cached = cached = source.get(bypass=bypass, accepts_head=has_copy)
        if (
            is_default
            and cached.source in (Source.HIT, Source.FIRST_LEVEL)
            and cached.value is not None
        ):
            self.is_plain_hit = has_copy is None or cached.head_only
        return cached.value

    def presenter(self, request: HttpRequest) -> Callable[[Representation], Representation]:
        """Return a function from the stored representation to the one that is sent."""
        return lambda stored: stored

    def respond(self, request: HttpRequest, stored: Representation) -> HttpResponse:
        """Return the reply."""
        return http.answer(self.presenter(request)(stored))

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        if self.cached is not None:
            final.headers["Cache-Status"] = http.cache_status(self.cached)
        return final
