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
from config.charts import Axis, Line, LineChart, Point
from config.web.admin_pages import ReadOnlyPage

MINUTES = 60
HOT_KEYS = 10
LOG_LINES = 20
SHOWN_CHARACTERS = 2_000  # of a value


@admin.register(Clearance)
class CacheAdmin(ReadOnlyPage):
    """
    The cache, where the admin would list the log of clearances.

    Viewing needs the permission to view clearances, clearing the permission to add them.
    """

    template = "admin/config/cache.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.clear_view)
        return [path("clear/", view, name="cachelayer_clear"), *super().get_urls()]

    def contents(self, request: HttpRequest) -> dict[str, Any]:
        name = request.GET.get("key", "").strip()
        return {
            "title": "Cache",
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
        return TemplateResponse(request, "admin/config/clear_cache.html", context)


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


def _chart() -> LineChart | None:
    """Return the hit rate by minute, one line for each namespace; None if nothing was read."""
    try:
        minutes = popularity.minutes(MINUTES)
    except CacheDown:
        return None
    lines = []
    for namespace in declared():
        points = []
        for ago, (_, counts) in zip(range(1 - MINUTES, 1), minutes, strict=True):
            hits = counts.get((namespace.name, "hit"), 0)
            misses = sum(counts.get((namespace.name, reason), 0) for reason in MISSES)
            if hits + misses:
                points.append(Point(x=ago, y=100 * hits / (hits + misses)))
        if points:
            lines.append(Line(name=namespace.name, points=tuple(points)))
    title = f"Hit rate by minute, last {MINUTES} minutes"
    x, y = Axis(label="minutes (0 is now)"), Axis(label="hit rate (%)")
    return LineChart(title=title, x=x, y=y, lines=tuple(lines)) if lines else None
