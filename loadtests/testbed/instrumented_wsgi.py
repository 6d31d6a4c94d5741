"""
The site with instruments and faults: a WSGI entry that stands in for config.wsgi.

It is the one module here that imports the site. It uses cachelayer.hooks and a key of WSGI's environ;
only the naive protocol replaces functions of the cache.

Environment:
- LOADTESTS_PROTOCOL=naive: entries are served whatever their stamps, stored whatever happened during
  the load, and deleted after the commit, as most caches do.
- LOADTESTS_LAG_ONE_IN=n: one of n loads pauses for LAG_SECONDS between its query and the storing of
  the value, as in a busy process or over a slow network.

Request headers:
- X-Recording: off. No event of the request is recorded, as if there were no recording.
- X-Single-Flight: off. A miss loads for itself, whoever else is loading. process: it shares loads
  within its process, but not with other processes.
- X-Load-Ms: n. Before its query of notes PostgreSQL sleeps for n ms.

URLs:
- GET /arm/HOOK/SIGNAL: the process sends itself SIGSTOP or SIGKILL before its next invalidation
  (HOOK unlink) or before it stores its next value (store); /arm/HOOK/nothing takes that back.
- GET /hold/MS: holds a connection of PostgreSQL's pool for so long, by pg_sleep.
- GET /pool/SIZE/MS: resizes the pool to SIZE connections with an acquire timeout of MS, as
  POSTGRES_POOL_MIN, POSTGRES_POOL_MAX and POSTGRES_POOL_ACQUIRE_SECONDS do at a start, and returns
  its statistics. So two sizes can be compared in turn in one process.
"""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from cachelayer import client, entries, hooks, protocol
from cachelayer.namespace import root_of_names
from config.wsgi import application as site
from loadtests.testbed.statement_log import reads_notes

from activity.middleware import UNRECORDED  # isort: skip  # the line above sets Django up
from config.urls import urlpatterns  # isort: skip

__all__ = ["application"]

LAG_SECONDS = 0.1
_SCOPES: Mapping[str | None, hooks.Scope] = {"off": "none", "process": "process"}
_POOL_MAX = 100
_SIGNALS: Mapping[str, signal.Signals] = {"stop": signal.SIGSTOP, "kill": signal.SIGKILL}
# What the naive protocol deletes, by what a tag is of: a note, a user's first page, a profile.
_ENTRIES = {"note": "notes", "notes:user": "notes:list:user", "profile": "user:profile"}
_armed: dict[str, signal.Signals | None] = {}  # by hook
_judge = entries.judge


def _judge_without_stamps(key: Any, entry: Any, stamps: list[Any]) -> Any:
    lookup = _judge(key, entry, stamps)
    if lookup.reason not in ("invalidated", "epoch"):
        return lookup
    fresh = lookup.remaining_ms > 0
    return entries.Lookup(None if fresh else "expired", lookup.value, lookup.remaining_ms)


def _store_unconditionally(
    loaded: Sequence[tuple[Any, Any, Any]], *, load_ms: float = 0.0
) -> list[protocol.Outcome]:
    for hook in hooks.before_store:
        hook()
    for key, ticket, value in loaded:
        fresh_ms = 1000 * key.namespace.ttl_seconds
        entry = entries.encode(key, value, stamps=ticket.stamps, fresh_ms=fresh_ms, load_ms=load_ms)
        _set(key.entry_name, entry, fresh_ms)
        protocol.release(key, ticket)
    return ["stored"] * len(loaded)


def _set(name: str, entry: bytes, fresh_ms: int) -> None:
    client.execute("end", lambda r: r.set(name, entry, px=fresh_ms))


def _delete_entries(tags: Sequence[str], *, past_breaker: bool = False) -> str:
    for hook in hooks.before_unlink:
        hook(tags)
    parts = [tag.rpartition(":") for tag in tags]
    names = [f"{root_of_names()}{_ENTRIES[of]}:{name}" for of, _, name in parts if of in _ENTRIES]
    if names:
        client.execute("invalidate", lambda r: r.unlink(*names), past_breaker=past_breaker)
    return client.replied()


def _arm(request: HttpRequest, hook: str, name: str) -> HttpResponse:
    _armed[hook] = _SIGNALS.get(name)
    return HttpResponse()


def _fire(hook: str) -> None:
    number = _armed.pop(hook, None)
    if number is not None:
        os.kill(os.getpid(), number)


def _lag_by_chance() -> None:
    if random.random() < 1 / _lag_one_in:  # noqa: S311  # a fault, not a secret
        threading.Event().wait(LAG_SECONDS)


def _hold(request: HttpRequest, milliseconds: int) -> HttpResponse:
    _sleep_in_postgres(milliseconds)
    return HttpResponse()


def _sleep_in_postgres(milliseconds: float) -> None:
    with connection.cursor() as cursor:  # of this thread
        cursor.execute("SELECT pg_sleep(%s)", [milliseconds / 1000])


def _resize(request: HttpRequest, size: int, acquire_ms: int) -> JsonResponse:
    pool = connection.pool  # type: ignore[attr-defined]  # of PostgreSQL's backend alone
    pool.resize(size, size)
    pool.timeout = acquire_ms / 1000
    for _ in range(_POOL_MAX):  # by itself it closes one every POSTGRES_POOL_IDLE_SECONDS
        pool._shrink_pool()
    return JsonResponse(pool.get_stats())


def _slow_notes(load_ms: float) -> Callable[..., Any]:
    """Return a wrapper of Django's execute that sleeps before a query of notes."""

    def execute_slowly(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if reads_notes(sql):
            _sleep_in_postgres(load_ms)
        return execute(sql, params, many, context)

    return execute_slowly


def _serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    hooks.single_flight_scope.set(_SCOPES.get(environ.get("HTTP_X_SINGLE_FLIGHT"), "all"))
    if environ.get("HTTP_X_RECORDING") == "off":
        environ[UNRECORDED] = True
    load_ms = float(environ.get("HTTP_X_LOAD_MS", 0))
    with connection.execute_wrapper(_slow_notes(load_ms)) if load_ms else nullcontext():
        body: Iterable[bytes] = site(environ, start_response)
    return body


_lag_one_in = int(os.environ.get("LOADTESTS_LAG_ONE_IN", "0"))
if os.environ.get("LOADTESTS_PROTOCOL") == "naive":
    entries.judge, protocol.unlink = _judge_without_stamps, _delete_entries
    protocol.end_many = _store_unconditionally
hooks.before_unlink.append(lambda tags: _fire("unlink"))
hooks.before_store.append(lambda: _fire("store"))
if _lag_one_in:
    hooks.before_store.append(_lag_by_chance)
urlpatterns += [
    path("arm/<str:hook>/<str:name>", _arm),
    path("hold/<int:milliseconds>", _hold),
    path("pool/<int:size>/<int:acquire_ms>", _resize),
]
application = _serve
