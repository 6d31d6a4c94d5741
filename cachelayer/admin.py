"""The Cache page of the admin: what the cache does, one key looked up, namespaces cleared."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from cachelayer import explain, popularity, protocol, stats
from cachelayer.client import CacheDown
from cachelayer.invalidation import clear
from cachelayer.metrics import MISSES
from cachelayer.models import Clearance
from cachelayer.namespace import NoSuchKey, declared, key_named, loader_of

MINUTES = 60
HOT_KEYS = 10
LOG_LINES = 20
SHOWN_CHARACTERS = 2_000  # of a value


@admin.register(Clearance)
class CacheAdmin(admin.ModelAdmin):
    """
    The cache, where the admin would list the log of clearances.

    Viewing needs the permission to view clearances, clearing the permission to add them.
    """

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.clear_view)
        return [path("clear/", view, name="cachelayer_clear"), *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # clearances are made by clearing

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        name = request.GET.get("key", "").strip()
        context = {
            **self.admin_site.each_context(request),
            "title": "Cache",
            "opts": self.opts,
            "figures": stats.cache_figures(),
            "reasons": MISSES,
            "chart": _chart(),
            "minutes": MINUTES,
            "hot": _hot(),
            "key": name,
            "looked_up": look_up(name) if name else None,
            "may_clear": _may_clear(request),
            "log": Clearance.objects.all()[:LOG_LINES],
        }
        return TemplateResponse(request, "admin/cachelayer/cache.html", context)

    def clear_view(self, request: HttpRequest) -> HttpResponse:
        """Show what clearing costs; with POST, clear."""
        if not _may_clear(request):
            raise PermissionDenied
        name = request.POST.get("namespace") or request.GET.get("namespace") or ""
        chosen = [namespace for namespace in declared() if name in ("", namespace.name)]
        page = reverse("admin:cachelayer_clearance_changelist")
        if not chosen:
            messages.error(request, f"There is no namespace {name}.")
            return HttpResponseRedirect(page)
        if request.method == "POST":
            cleared = clear(chosen, cleared_by=request.user.get_username())
            messages.success(request, f"Cleared: {', '.join(cleared)}.")
            return HttpResponseRedirect(page)
        figures = stats.cache_figures()["namespaces"]
        context = {
            **self.admin_site.each_context(request),
            "title": "Clear the cache?",
            "opts": self.opts,
            "namespace": name,
            "costs": [(namespace.name, figures[namespace.name]) for namespace in chosen],
        }
        return TemplateResponse(request, "admin/cachelayer/clear.html", context)


def look_up(name: str) -> dict[str, Any]:
    """Return what explain says of a key, its cached value, and its value in the store."""
    try:
        key = key_named(name)
        explanation = explain.explain(name)
        lookup = protocol.look_many([key])[0]
    except NoSuchKey as exc:
        return {"error": str(exc)}
    except CacheDown:
        return {"error": "Redis does not answer."}
    loader = loader_of(key.namespace)
    can_load = loader is not None and (lookup.origin or key.namespace.warms)
    stored = loader([(key, lookup.origin)])[0] if loader and can_load else None
    return {
        "explanation": explanation,
        "cached": _shown(lookup.value) if lookup.fresh else None,
        "stored": _shown(stored) if can_load else "cannot be loaded from its name alone",
        "agree": lookup.value == stored if lookup.fresh and can_load else None,
    }


def _shown(value: Any) -> str:
    if value is None:
        return "does not exist"
    body = getattr(value, "body", None)
    return (body.decode() if body is not None else repr(value))[:SHOWN_CHARACTERS]


def _may_clear(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("cachelayer.add_clearance"))


def _hot() -> list[tuple[str, list[tuple[str, float]]]]:
    try:
        return [
            (namespace.name, popularity.hottest(namespace.name, HOT_KEYS))
            for namespace in declared()
        ]
    except CacheDown:
        return []


def _chart() -> dict[str, Any]:
    """Return points of an SVG, 600 by 120: the hit rate by minute, one line for each namespace."""
    try:
        minutes = popularity.minutes(MINUTES)
    except CacheDown:
        return {"lines": []}
    lines = []
    for namespace in declared():
        points = []
        for number, (_, counts) in enumerate(minutes):
            hits = counts.get((namespace.name, "hit"), 0)
            misses = sum(counts.get((namespace.name, reason), 0) for reason in MISSES)
            if hits + misses:
                x = number * 600 / (MINUTES - 1)
                points.append(f"{x:.0f},{120 - 120 * hits / (hits + misses):.0f}")
        if points:
            lines.append({"name": namespace.name, "points": " ".join(points)})
    return {"lines": lines}
