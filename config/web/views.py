"""The base views of every endpoint: strict queries, and cache hits answered before DRF runs."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cachelayer import http
from cachelayer.answers import Bypass, Cached
from cachelayer.entries import Found
from cachelayer.http import Representation
from cachelayer.read import Accepts, Tried
from config.web.authentication import UserOrStaffAuthentication
from config.web.parsers import media_types
from config.web.query import Parameters

FOR_OWNER_OR_STAFF = [UserOrStaffAuthentication]


def bypass_of(request: Request) -> Bypass:
    """Return what the request says about asking past the cache."""
    return http.bypass_of(request.headers, cache_parameter=request.query_params.get("cache"))


class View(APIView):
    """
    An endpoint: 405 for a method that it has not, whoever calls; 400 for a query that a write has not.

    Reads parse their own query strings. query_of_writes are the parameters that its writes know.
    """

    query_of_writes: tuple[str, ...] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not hasattr(self, str(request.method).lower()):
            self.http_method_not_allowed(request)
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS:
            Parameters(request.query_params, known=self.query_of_writes).end()

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Describe the endpoint; where it has PATCH, the media types, too (RFC 5789, 3.1)."""
        response = super().options(request, *args, **kwargs)
        if hasattr(self, "patch"):
            response.headers["Accept-Patch"] = media_types(self.parser_classes)
        return response


class CachedView(View):
    """
    An endpoint whose GET is answered from the cache, where it can be, before DRF is set in motion.

    Whatever is out of the ordinary (a miss, an error, a wish to bypass) is left to the handler.
    On its answer, also on an error, stands what the cache had to do with it. A subclass says by
    try_cache where to look; left_to_handler are the errors of its own that doing so may raise.
    """

    left_to_handler: tuple[type[Exception], ...] = (APIException,)
    cached: Cached[Any] | None = None  # set by a handler that has read through the cache
    looked: Found[Representation] | None = None  # what the attempt has found, for the handler

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.method == "GET" and "Cache-Control" not in request.headers:
            try:
                response = self._from_cache(request, **kwargs)
            except self.left_to_handler:
                response = None  # the handler will meet it again, and answer
            if response is not None:
                return response
        return super().dispatch(request, *args, **kwargs)

    def _from_cache(self, request: HttpRequest, **kwargs: str) -> HttpResponse | None:
        if_none_match = request.headers.get("If-None-Match")
        present = self.presenter(request)

        def accepts(stored: Representation) -> bool:
            return if_none_match is None or http.not_modified(if_none_match, present(stored).etag)

        for authenticator in self.get_authenticators():
            told: Any = authenticator.authenticate(request)  # type: ignore[arg-type]  # headers alone
            request.user = told[0]  # for what comes after the view, as DRF would leave it
        cached, self.looked = self.try_cache(
            request, accepts=accepts, head_only=if_none_match is not None, **kwargs
        )
        if cached is None or cached.value is None:
            return None
        response = self.respond(request, cached.value)
        response.headers["Cache-Status"] = http.cache_status(cached)
        return response

    def try_cache(
        self, request: HttpRequest, *, accepts: Accepts, head_only: bool, **kwargs: str
    ) -> Tried:
        """Look for a fresh copy of what is asked for. Raises what parsing it raises."""
        raise NotImplementedError

    def presenter(self, request: HttpRequest) -> Callable[[Representation], Representation]:
        """Return what makes of the stored what is sent."""
        return lambda stored: stored

    def respond(self, request: HttpRequest, stored: Representation) -> HttpResponse:
        """Return the answer."""
        return http.answer(self.presenter(request)(stored))

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        if self.cached is not None:
            final.headers["Cache-Status"] = http.cache_status(self.cached)
        return final
