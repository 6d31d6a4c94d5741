"""Access for probes and scrapers: /health* and /metrics answer any Host, and only reads."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from config.web import problems

PATHS: Final = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})


class AnyHostMiddleware:
    """
    Let probes send any Host.

    A load balancer sends an address, a pod's address changes, HTTP/1.0 sends no Host at all: none
    of these can be listed in ALLOWED_HOSTS. Every other path keeps Django's check.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info in PATHS:
            request.get_host = lambda: "localhost"  # type: ignore[method-assign]  # which also keeps theirs out of replies
        return self.get_response(request)


class ProbeView(View):
    """A view to mix in: any method but GET, HEAD and OPTIONS is a 405, whatever its CSRF token."""

    http_method_names = ["get", "head", "options"]

    @method_decorator(csrf_exempt)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(request, *args, **kwargs)

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the 405, as an awaitable where the view is asynchronous."""
        allowed = ", ".join(name.upper() for name in self.http_method_names)
        response = problems.problem_response(
            request, HTTPStatus.METHOD_NOT_ALLOWED, f"Only {allowed} are allowed here."
        )
        response.headers["Allow"] = allowed
        return _awaitable(response) if self.view_is_async else response


async def _awaitable(response: HttpResponse) -> HttpResponse:
    return response
