"""
The site as a measurement wants it: dying between commit and unlink, or with a naive cache.

A WSGI entry that stands in for config.wsgi, and the one module here that reaches into the site.
LOADTESTS_PROTOCOL=naive: entries are served whatever their stamps, stored whatever happened
during the load, and deleted after the commit, as most caches do.
LOADTESTS_DIE_ONE_IN=n: one of n invalidations is preceded by SIGKILL of its process.
LOADTESTS_LAG_ONE_IN=n: one of n loads is held for LAG_SECONDS between its query and its end, as a
busy process or a slow network holds it.
LOADTESTS_PROFILE=file: the process profiles its requests for notes into that file.
X-Recording: off, in a request: no event of it is recorded, as if there were no recording.
X-Single-Flight: off, in a request: where it misses, it loads for itself, whoever else does. process:
it waits for another one in its process, and for none in another process.
X-Load-Ms: n, in a request: its load takes n ms longer, which PostgreSQL sleeps.
GET /bare/KEY: the least that a view behind the same middleware can do with Redis, one GET.
GET /hold/MS: a request that holds a connection of PostgreSQL's pool for so long, by pg_sleep.
GET /pool/SIZE/MS: the pool has SIZE connections from now on, and is waited for MS at most; answers
its own counts. As POSTGRES_POOL_MIN, POSTGRES_POOL_MAX and POSTGRES_POOL_ACQUIRE_SECONDS would
have it at a start, so that two sizes can be compared in turn in one process.
"""

import cProfile
import functools
import os
import random
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from cachelayer import client, entries, protocol
from cachelayer.namespace import root_of_names
from config.wsgi import application as site

from activity import middleware  # isort: skip  # the line above sets Django up
from cachelayer import load as load_module  # isort: skip
from config.urls import urlpatterns  # isort: skip

__all__ = ["application"]

_SET_WHATEVER_HAPPENED = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('UNLINK', KEYS[2]) end
return 1
"""
LAG_SECONDS = 0.1
_judge, _unlink, _end_many = entries.judge, protocol.unlink, protocol.end_many


def _trusting(key: Any, entry: Any, stamps: list[Any]) -> Any:
    found = _judge(key, entry, stamps)
    if found.reason not in ("invalidated", "epoch"):
        return found
    fresh = found.remaining_ms > 0
    return entries.Found(None if fresh else "expired", found.value, found.remaining_ms)


def _delete_entries(tags: Sequence[str], *, past_breaker: bool = False) -> None:
    names = [f"{root_of_names()}notes:{tag[5:]}" for tag in tags if tag.startswith("note:")]
    if names:
        client.ask("invalidate", lambda r: r.unlink(*names), past_breaker=past_breaker)


def _or_die(tags: Sequence[str], *, past_breaker: bool = False) -> None:
    if random.random() < 1 / _die_one_in:  # noqa: S311  # a fault, not a secret
        os.kill(os.getpid(), signal.SIGKILL)
    _invalidate(tags, past_breaker=past_breaker)


def _end_late(loaded: Sequence[Any], *, load_ms: float = 0.0) -> list[protocol.Outcome]:
    if random.random() < 1 / _lag_one_in:  # noqa: S311  # a fault, not a secret
        threading.Event().wait(LAG_SECONDS)
    return _end_many(loaded, load_ms=load_ms)


def _record_unless_told(request: HttpRequest, response: HttpResponse, recorded: Any) -> None:
    if request.headers.get("X-Recording") != "off":
        _record(request, response, recorded)


def _bare(request: HttpRequest, name: str) -> HttpResponse:
    stored = client.client().get(f"{root_of_names()}{name}")
    return HttpResponse(stored, content_type="application/json")


def _hold(request: HttpRequest, milliseconds: int) -> HttpResponse:
    _sleep(milliseconds / 1000)
    return HttpResponse()


def _sleep(seconds: float) -> None:
    """Sleep in PostgreSQL, on the connection that this thread uses."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def _resize(request: HttpRequest, size: int, acquire_ms: int) -> JsonResponse:
    pool = connection.pool  # type: ignore[attr-defined]  # of PostgreSQL's backend alone
    pool.resize(size, size)
    pool.timeout = acquire_ms / 1000
    for _ in range(_POOL_MOST):  # by itself it lets one go every POSTGRES_POOL_IDLE_SECONDS
        pool._shrink_pool()
    return JsonResponse(pool.get_stats())


def _load_as_told(key: Any, load: Callable[[], Any], found: Any) -> Any:
    if _told("HTTP_X_LOAD_MS"):
        load = functools.partial(_after_sleep, float(_told("HTTP_X_LOAD_MS")) / 1000, load)
    if _told("HTTP_X_SINGLE_FLIGHT") != "off":
        return _load_together(key, load, found)
    begun = protocol.begin(key)
    value, load_ms = load_module._timed(key, load, begun)
    return load_module._answer(key, value, load_module._end(key, begun, value, load_ms))


def _after_sleep(seconds: float, load: Callable[[], Any]) -> Any:
    _sleep(seconds)
    return load()


def _begin_as_told(key: Any, deadline: float, reason: str) -> tuple[protocol.Begun, bool]:
    if _told("HTTP_X_SINGLE_FLIGHT") == "process":
        begun = protocol.begin(key, reason=reason)
        if begun.leased and begun.found.fresh:
            protocol.release(key, begun)
        return begun, False
    return _begin_with_lease(key, deadline, reason)


def _told(header: str) -> str:
    """Return what this thread's request says, empty in a thread that serves none."""
    return str(getattr(_serving, "environ", {}).get(header, ""))


_POOL_MOST = 100
_serving = threading.local()
_load_together, _begin_with_lease = load_module.load_together, load_module._begin_with_lease
load_module.load_together, load_module._begin_with_lease = _load_as_told, _begin_as_told
_record = middleware._record
middleware._record = _record_unless_told
urlpatterns += [
    path("bare/<str:name>", _bare),
    path("hold/<int:milliseconds>", _hold),
    path("pool/<int:size>/<int:acquire_ms>", _resize),
]
_naive = os.environ.get("LOADTESTS_PROTOCOL") == "naive"
_die_one_in = int(os.environ.get("LOADTESTS_DIE_ONE_IN", "0"))
_lag_one_in = int(os.environ.get("LOADTESTS_LAG_ONE_IN", "0"))
_invalidate = _delete_entries if _naive else _unlink
if _naive:
    entries.judge = _trusting
    protocol._END = _SET_WHATEVER_HAPPENED
    protocol.unlink = _delete_entries
if _die_one_in:
    protocol.unlink = _or_die
if _lag_one_in:
    protocol.end_many = _end_late


_profile_file = os.environ.get("LOADTESTS_PROFILE")
_profile = cProfile.Profile()
_PROFILED_AT_ONCE = 500  # requests between two writes of the file
_served = 0


def _serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    _serving.environ = environ
    answer: Iterable[bytes] = site(environ, start_response)
    return answer


def _profiled(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    global _served
    answer: Iterable[bytes] = _profile.runcall(site, environ, start_response)
    _served += 1
    if _served % _PROFILED_AT_ONCE == 0:
        _profile.dump_stats(str(_profile_file))
    return answer


application = _profiled if _profile_file else _serve
