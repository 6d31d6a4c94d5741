"""The Cache page of the admin: what the cache does, keys listed, one looked up, namespaces cleared."""

from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode

from cachelayer import key_listing, popularity, stats
from cachelayer.client import CacheDown
from cachelayer.invalidation import clear
from cachelayer.metrics import MISSES
from cachelayer.models import Clearance
from cachelayer.namespace import declared, named
from config.admin.comparison import compare
from config.charts import Axis, Line, LineChart, Point
from config.web.admin_pages import ReadOnlyPage, mistakes

MINUTES = 60
HOT_KEYS = 10
LOG_LINES = 20
_PREFIX_MAX_CHARACTERS: Final = 300


class KeySearch(forms.Form):
    """The search for keys: a namespace, the beginning of their names, the cursor of an earlier part."""

    namespace = forms.ChoiceField(choices=lambda: [(n.name, n.name) for n in declared()])
    key_prefix = forms.CharField(max_length=_PREFIX_MAX_CHARACTERS, required=False)
    cursor = forms.IntegerField(min_value=0, max_value=key_listing.CURSOR_MAX, required=False)


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
            "comparison": compare(name, request.user) if name else None,
            **_listed(request),
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


def _listed(request: HttpRequest) -> dict[str, Any]:
    """Return the search form, and the keys that it finds; its mistakes as errors of the page."""
    form = KeySearch(request.GET)
    context: dict[str, Any] = {
        "namespaces": [namespace.name for namespace in declared()],
        "namespace": request.GET.get("namespace", ""),
        "key_prefix": request.GET.get("key_prefix", ""),
    }
    if "namespace" not in request.GET:
        return context
    if not form.is_valid():
        return {**context, "errors": mistakes(form)}
    chosen = form.cleaned_data
    namespace = named(chosen["namespace"])
    try:
        listing = key_listing.list_keys(
            namespace, chosen["key_prefix"], cursor=chosen["cursor"] or 0
        )
    except CacheDown:
        return {**context, "errors": [("keys", "Redis does not answer.")]}
    query = {
        "namespace": namespace.name,
        "key_prefix": chosen["key_prefix"],
        "cursor": listing.cursor,
    }
    return {
        **context,
        "listing": listing,
        "keys_max": key_listing.KEYS_MAX,
        "continued": urlencode(query) if listing.cursor else None,
        "is_continuation": bool(chosen["cursor"]),
    }


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
