"""The admin's first page: the state of the data layer in tiles, each a link to its page."""

import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat, pluralize
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.text import slugify
from django.views.decorators.http import require_safe

from activity import services as activity
from activity.models import Event
from cachelayer import outbox, popularity, prometheus, stats
from cachelayer.client import CacheDown
from cachelayer.metrics import MISSES
from cachelayer.models import Clearance
from config.models import SlowStatement, Store
from config.observability import database_metrics, slow_queries

REFRESH_SECONDS: Final = 5
RECENT_MINUTES: Final = 5
# What was announced is delivered by then, or its process is dead and the relay is late.
_OUTBOX_LATE_SECONDS: Final = 2 * outbox.INTENT_SECONDS
# The page loads the site's own scripts and style sheets, and has none within it.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SILENT: Final = "does not answer"


class Tile(NamedTuple):
    """A figure: its name, value and explanation, the page that it leads to, and whether it needs attention."""

    name: str
    value: str
    note: str
    url: str
    is_bad: bool = False

    @property
    def id(self) -> str:
        return f"tile-{slugify(self.name)}"


def index(request: HttpRequest) -> HttpResponse:
    """Show the tiles above the admin's list of apps."""
    response = admin.site.index(request, _context(request))
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@require_safe
def tiles_view(request: HttpRequest) -> HttpResponse:
    """Return the tiles alone, for the script of the first page."""
    response = TemplateResponse(request, "admin/config/tiles.html", _context(request))
    response.headers["Content-Security-Policy"] = _POLICY
    return response


def urls() -> list[URLPattern]:
    """Return the routes of the first page, which go before the admin's own."""
    return [
        path("", admin.site.admin_view(index), name="index"),
        path("tiles/", admin.site.admin_view(tiles_view), name="tiles"),
    ]


def tiles(request: HttpRequest) -> list[Tile]:
    """
    Return the tiles of those pages that the user may view; what they do not need is not queried.

    A store that does not answer costs at most its probe's time, and has tiles that say so.
    """
    views_cache, views_stores = _may_view(request, Clearance), _may_view(request, Store)
    shown: list[Tile] = []
    if views_cache or views_stores:
        samples = prometheus.samples()  # of all processes, which takes longer than all else
        cache = stats.cache_figures(with_sizes=False, samples=samples)
        if views_cache:
            shown += _cache_tiles(cache)
        if views_stores:
            shown += _store_tiles(cache, database_metrics.snapshot(samples))
    if _may_view(request, SlowStatement):
        shown.append(_slow_queries_tile())
    if _may_view(request, Event):
        shown.append(_spool_tile())
    return shown


def _context(request: HttpRequest) -> dict[str, Any]:
    return {
        "tiles": tiles(request),
        "refresh_seconds": REFRESH_SECONDS,
        "as_of": timezone.now(),
    }


def _may_view(request: HttpRequest, model: type[models.Model]) -> bool:
    return bool(admin.site.get_model_admin(model).has_view_permission(request))


def _page(model: type[models.Model], section: str = "") -> str:
    meta = model._meta
    name = f"admin:{meta.app_label}_{meta.model_name}_changelist"
    return reverse(name, fragment=section or None)


def _cache_tiles(figures: dict[str, Any]) -> Iterator[Tile]:
    yield Tile(
        "hit rate",
        _percent(figures["hit_rate"]),
        f"{figures['hits']} hits, {figures['misses']} misses in all; {_recent_rate()}",
        _page(Clearance, "hit-rate"),
    )
    first = figures["first_level"]
    copies = f"of {filesizeformat(first['bound_bytes'])}; {first['copies']} copies"
    yield Tile(
        "first level",
        filesizeformat(first["bytes"]) if first["on"] else "off",
        copies if first["on"] else first["reason"],
        _page(Clearance),
    )
    memory = figures["memory_usage"]
    yield Tile(
        "Redis",
        _SILENT if memory is None else filesizeformat(memory),
        "reads go to the databases"
        if memory is None
        else f"of {_limit(figures['memory_limit'])}; {figures['evictions']} evictions",
        _page(Clearance),
        memory is None,
    )
    yield _trust_tile(figures["trust"])
    depth, age_seconds = figures["outbox"]["depth"], figures["outbox"]["age_seconds"]
    counted = f"{depth} or more" if depth == outbox.DEPTH_MAX else depth
    yield Tile(
        "outbox",
        _SILENT if depth is None else f"{counted} row{pluralize(depth)}",
        "its table is in PostgreSQL" if depth is None else _waiting(depth, age_seconds),
        _page(Clearance),
        depth is None or age_seconds > _OUTBOX_LATE_SECONDS,
    )


def _trust_tile(trust: dict[str, Any]) -> Tile:
    states = {True: "held", False: "lost", None: "not in use"}
    renewal = (
        "" if trust["renewal_ms"] is None else f"; a renewal takes {trust['renewal_ms']:.1f} ms"
    )
    return Tile(
        "trust",
        states[trust["held"]],
        f"{trust['changes']} change{pluralize(trust['changes'])} in all{renewal}",
        _page(Clearance, "trust"),
        trust["held"] is False,
    )


def _store_tiles(cache: dict[str, Any], databases: dict[str, Any]) -> Iterator[Tile]:
    postgres, mongodb = databases["postgres"], databases["mongodb"]
    breakers = {
        "Redis": cache["breaker"]["open"],
        "PostgreSQL": postgres["breaker_open"],
        "MongoDB": mongodb["breaker_open"],
    }
    changes = cache["breaker"]["changes"]
    opened = ", ".join(name for name, is_open in breakers.items() if is_open)
    yield Tile(
        "breakers",
        f"open: {opened}" if opened else "closed",
        f"Redis: {changes} change{pluralize(changes)} in all",
        _page(Store, "breakers"),
        bool(opened),
    )
    pools = {"PostgreSQL": postgres, "MongoDB": mongodb}
    waiting = sum(pool["waiting_requests"] for pool in pools.values())
    yield Tile(
        "pools",
        f"{waiting} waiting",
        "; ".join(
            f"{name}: {pool['active_connections']} in use, {pool['idle_connections']} idle"
            for name, pool in pools.items()
        ),
        _page(Store, "pools"),
        waiting > 0,
    )
    versions = versions_of(cache, databases)
    silent = ", ".join(name for name, version in versions.items() if version is None)
    yield Tile(
        "stores",
        f"{silent}: no answer" if silent else "all answer",
        ", ".join(filter(None, versions.values())),
        _page(Store),
        bool(silent),
    )


def versions_of(cache: dict[str, Any], databases: dict[str, Any]) -> dict[str, str | None]:
    """Return each server's product and version by the store's name; None where it does not answer."""
    servers = {
        "PostgreSQL": databases["postgres"]["server"],
        "MongoDB": databases["mongodb"]["server"],
    }
    versions = {name: server and f"{name} {server['version']}" for name, server in servers.items()}
    return versions | {"Redis": cache["server_version"]}


def _slow_queries_tile() -> Tile:
    url = _page(SlowStatement)
    try:
        count, newest = slow_queries.count_and_newest()
    except CacheDown:
        return Tile("slow queries", "unknown", "Redis, which has them, does not answer", url, True)
    if newest is None:
        return Tile("slow queries", str(count), "none is stored", url)
    ago_seconds = max(0, time.time() - newest["at"])
    note = (
        f"the newest {_ago(ago_seconds)} ago: {newest['duration_ms']:.0f} ms in {newest['store']}"
    )
    return Tile("slow queries", str(count), note, url)


def _spool_tile() -> Tile:
    url = _page(Event, "spool")
    problem = activity.spool_problem()
    try:
        spool = activity.spool_state()
    except OSError as exc:
        return Tile("spool", "unreadable", str(exc.strerror), url, True)
    depth = spool["depth_events"]
    waiting = _waiting(depth, spool["oldest_age_seconds"])
    return Tile(
        "spool",
        f"{depth} event{pluralize(depth)}",
        problem or f"{filesizeformat(spool['depth_bytes'])}; {waiting}",
        url,
        problem is not None,
    )


def _waiting(depth: int, age_seconds: float) -> str:
    return f"the oldest waits for {age_seconds:.1f} s" if depth else "nothing waits"


def _recent_rate() -> str:
    try:
        minutes = popularity.minutes(RECENT_MINUTES)
    except CacheDown:
        return "the latest are unknown"
    results = [item for _, counts in minutes for item in counts.items()]
    hits = sum(count for (_, result), count in results if result == "hit")
    misses = sum(count for (_, result), count in results if result in MISSES)
    rate = hits / (hits + misses) if hits + misses else None
    return f"last {RECENT_MINUTES} minutes: {_percent(rate)}"


def _percent(rate: float | None) -> str:
    return "no reads" if rate is None else f"{rate:.1%}"


def _limit(limit_bytes: int) -> str:
    return filesizeformat(limit_bytes) if limit_bytes else "no limit"


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


admin.site.index_template = "admin/config/index.html"
