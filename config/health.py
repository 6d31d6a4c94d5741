"""Is the process alive, is it ready, and how are the three stores."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from mongoengine.connection import get_connection

from activity.services import spool_problem
from cachelayer import client
from config.postgres.deadlines import DeadlineConnection

log = structlog.get_logger("health")

ANSWER_SECONDS = 1.5  # for all checks together, below the 2 s that a load balancer is promised

# One thread for each store: while a check hangs, further ones wait behind it, and time out.
_executors = {
    name: ThreadPoolExecutor(1, thread_name_prefix=f"health-{name}")
    for name in ("postgres", "mongodb", "redis")
}


def _ask_postgres() -> None:
    # A connection of its own: the pool may be the very thing that is exhausted.
    with DeadlineConnection.connect(settings.DATABASE_URL, connect_timeout=2) as asked:
        asked.execute("SELECT 1")


def _ask_mongodb() -> None:
    get_connection().admin.command("ping")


_CHECKS: dict[str, Callable[[], None]] = {
    "postgres": _ask_postgres,
    "mongodb": _ask_mongodb,
    "redis": client.ping,
}


def _timed(check: Callable[[], None]) -> float:
    started = time.perf_counter()
    check()
    return (time.perf_counter() - started) * 1000


def _result(name: str, future: Future[float], deadline: float) -> dict[str, Any]:
    started = time.monotonic()
    try:
        latency_ms = future.result(timeout=max(0.0, deadline - started))
    except FutureTimeoutError:
        future.cancel()
        return {
            "status": "down",
            "latency_ms": ANSWER_SECONDS * 1000,
            "reason": "no answer in time",
        }
    except Exception as exc:  # noqa: BLE001  # whatever a driver raises means "down"
        # The class alone: messages of drivers hold hosts and users.
        log.debug("health check failed", store=name, reason=str(exc))
        elapsed_ms = round((time.monotonic() - deadline + ANSWER_SECONDS) * 1000, 2)
        return {"status": "down", "latency_ms": elapsed_ms, "reason": type(exc).__name__}
    return {"status": "ok", "latency_ms": round(latency_ms, 2)}


def ask_stores(*names: str) -> dict[str, dict[str, Any]]:
    """Return {store: {status, latency_ms[, reason]}}, asked side by side, within ANSWER_SECONDS."""
    deadline = time.monotonic() + ANSWER_SECONDS
    futures = {name: _executors[name].submit(_timed, _CHECKS[name]) for name in names}
    return {name: _result(name, future, deadline) for name, future in futures.items()}


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """
    Report each store; 200 while PostgreSQL answers, else 503. ?strict=1: 503 where any is down.

    status is ok, degraded (another store is down, or events were dropped: the site answers all
    the same), or down.
    """
    stores = ask_stores("postgres", "mongodb", "redis")
    problem = spool_problem()
    if problem is not None:
        stores["activity"] = {"status": "down", "reason": problem}
    everything = all(result["status"] == "ok" for result in stores.values())
    essential = stores["postgres"]["status"] == "ok"
    status = "ok" if everything else "degraded" if essential else "down"
    good = everything if request.GET.get("strict") == "1" else essential
    return _uncached(
        {"status": status, **stores}, HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    )


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """Answer, and ask nobody: a restart would mend no store."""
    return _uncached({"status": "ok"}, HTTPStatus.OK)


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 where PostgreSQL and MongoDB answer and every migration is applied, else 503."""
    stores = ask_stores("postgres", "mongodb")
    answering = all(result["status"] == "ok" for result in stores.values())
    migrated = answering and _is_migrated()
    return _uncached(
        {"status": "ok" if migrated else "down", **stores, "migrations_applied": migrated},
        HTTPStatus.OK if migrated else HTTPStatus.SERVICE_UNAVAILABLE,
    )


def _is_migrated() -> bool:
    global _migrated  # once true it stays so while this code runs
    if not _migrated:
        executor = MigrationExecutor(connection)
        _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _migrated


_migrated = False


def _uncached(body: dict[str, Any], status: HTTPStatus) -> JsonResponse:
    return JsonResponse(body, status=status, headers={"Cache-Control": "no-store"})
