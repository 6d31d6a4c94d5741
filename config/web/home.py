"""The home page at /: links to the API, the admin, health and metrics."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

# The page runs no script, and loads its own style sheet alone.
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@csrf_exempt  # so that a POST is a 405, not a 403
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Return the page, without using any store."""
    response = render(request, "home.html")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response
