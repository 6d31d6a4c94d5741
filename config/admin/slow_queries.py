"""The Slow queries page of the admin: the slow statements by shape, each with its plan."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from cachelayer.client import CacheDown
from config.models import SlowStatement
from config.observability import slow_queries
from config.observability.generic_plans import NoPlan, generic_plan
from config.web.admin_pages import ReadOnlyPage

SHAPES_SHOWN = 100


@admin.register(SlowStatement)
class SlowStatementAdmin(ReadOnlyPage):
    """
    The slow statements by shape, in place of the rows of a table.

    The page needs the permission to view slow queries, a plan the permission to explain them.
    """

    template = "admin/config/slow_queries.html"

    def get_urls(self) -> list[URLPattern]:
        plan = self.admin_site.admin_view(self.explain_view)
        return [
            *super().get_urls(),
            path("<str:fingerprint>/explain/", plan, name="config_slowstatement_explain"),
        ]

    def contents(self, request: HttpRequest) -> dict[str, Any]:
        shapes = _shapes()
        return {
            "title": "Slow queries",
            "threshold_ms": settings.SLOW_QUERY_MS,
            "shapes": None if shapes is None else shapes[:SHAPES_SHOWN],
            "left_out": max(0, len(shapes or ()) - SHAPES_SHOWN),
            "may_explain": _may_explain(request),
        }

    def explain_view(self, request: HttpRequest, fingerprint: str) -> HttpResponse:
        """Show the plan of a stored shape, found by its fingerprint: no SQL is accepted from the client."""
        if not _may_explain(request):
            raise PermissionDenied
        shape = next((row for row in _shapes() or () if row["fingerprint"] == fingerprint), None)
        if shape is None or shape["store"] != "postgres":
            raise Http404("No stored statement of PostgreSQL has this fingerprint.")
        plan, reason = None, None
        try:
            plan = generic_plan(shape["statement"])
        except NoPlan as exc:
            reason = str(exc)
        context = {
            **self.admin_site.each_context(request),
            "title": "Plan of a slow query",
            "opts": self.opts,
            "shape": shape,
            "plan": plan,
            "reason": reason,
        }
        return TemplateResponse(request, "admin/config/plan.html", context)


def _shapes() -> list[dict[str, Any]] | None:
    """Return the shapes, each with its last time as a datetime; None if Redis does not answer."""
    try:
        shapes = slow_queries.slow_statements()
    except CacheDown:
        return None
    for shape in shapes:
        shape["last"] = datetime.fromtimestamp(shape["last_at"], UTC)
        shape["explains"] = shape["store"] == "postgres" and shape["kind"] == "SELECT"
    return shapes


def _may_explain(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("config.explain_slowstatement"))
