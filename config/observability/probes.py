"""What probes and scrapers may do: reach /health* and /metrics by any Host, and only read."""

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
    Let probes name the site as they like.

    A balancer asks by address, a pod's address changes, HTTP/1.0 sends no Host at all: none of
    that can be listed in ALLOWED_HOSTS. Every other path keeps Django's check.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info in PATHS:
            request.get_host = lambda: "localhost"  # type: ignore[method-assign]  # nor is theirs echoed
        return self.get_response(request)


class ProbeView(View):
    """A view to mix in: any method but GET, HEAD and OPTIONS is a 405, whatever its CSRF token."""

    http_method_names = ["get", "head", "options"]

    @method_decorator(csrf_exempt)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(request, *args, **kwargs)

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the 405, or, where the view is asynchronous, what is awaited for it."""
        allowed = ", ".join(name.upper() for name in self.http_method_names)
        response = problems.problem_response(
            request, HTTPStatus.METHOD_NOT_ALLOWED, f"Only {allowed} are allowed here."
        )
        response.headers["Allow"] = allowed
        return _awaitable(response) if self.view_is_async else response


async def _awaitable(response: HttpResponse) -> HttpResponse:
    return response
