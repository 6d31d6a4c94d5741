"""Health endpoints: liveness, readiness, and the state of the stores, the spool and the threads."""

import contextlib
import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import structlog
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import HttpHeaders
from health_check.base import HealthCheck, HealthCheckResult
from health_check.exceptions import HealthCheckException, ServiceUnavailable, ServiceWarning
from health_check.views import HealthCheckView
from mongoengine.connection import get_connection

from activity import services as activity
from cachelayer import client, supervision, trust
from config import tracing
from config.observability.probes import ProbeView
from config.postgres import server
from config.postgres.deadlines import DeadlineConnection

T = TypeVar("T")

log = structlog.get_logger("health")

ANSWER_SECONDS: Final = (
    1.5  # for all checks together, below the 2 s that a load balancer is promised
)
# The first is the default, even if the client accepts none: probes read the status or the JSON.
_MEDIA_TYPES: Final = (
    "application/json",
    "text/html",
    "text/plain",
    "application/openmetrics-text",
    "application/atom+xml",
    "application/rss+xml",
)


@dataclasses.dataclass
class Check(HealthCheck):
    """
    A single check.

    A failure is a ServiceWarning (the site still works: degraded) or ServiceUnavailable (down).
    """

    name: ClassVar[str]
    failure: type[HealthCheckException] = dataclasses.field(default=ServiceWarning, repr=False)
    timeout = timedelta(seconds=ANSWER_SECONDS - 1)  # get_result allows a second more

    @abstractmethod
    def probe(self) -> None:
        """Return if healthy. Raises HealthCheckException, or what the driver raises."""

    def run(self) -> None:
        """Probe; report other exceptions by their class alone: drivers' messages hold hosts and users."""
        try:
            self.probe()
        except HealthCheckException:
            raise
        except Exception as exc:
            log.debug("health check failed", check=self.name, reason=str(exc))
            raise self.failure(type(exc).__name__) from exc

    async def get_result(self, executor: Executor | None = None) -> HealthCheckResult:
        """Return the library's result; a timeout fails like any other error."""
        result = await super().get_result(executor)
        if result.error is not None and result.time_taken >= ANSWER_SECONDS:
            result.error = self.failure("no answer in time")
        return result

    def members(self, result: HealthCheckResult) -> dict[str, Any]:
        """Return this check's part of the JSON: empty if healthy."""
        error = result.error
        return {self.name: {"status": "down", "reason": error.message}} if error else {}


class Impaired(ServiceWarning):
    """The store answers, but with limits."""


@dataclasses.dataclass
class StoreCheck(Check):
    """Whether a store answers; always part of the JSON."""

    def members(self, result: HealthCheckResult) -> dict[str, Any]:
        answers = result.error is None or isinstance(result.error, Impaired)
        state = {
            "status": "ok" if answers else "down",
            "latency_ms": round(result.time_taken * 1000, 2),
        }
        return {self.name: state | ({"reason": result.error.message} if result.error else {})}


@dataclasses.dataclass
class PostgreSQL(StoreCheck):
    """
    Whether PostgreSQL answers and accepts writes.

    Probed on a new connection, since the pool may be exhausted.
    """

    name = "postgres"
    failure: type[HealthCheckException] = dataclasses.field(default=ServiceUnavailable, repr=False)

    def probe(self) -> None:
        with server.connect(DeadlineConnection) as session:
            if server.is_read_only(session):
                raise Impaired("read-only")


@dataclasses.dataclass
class MongoDB(StoreCheck):
    """Whether MongoDB answers; notes work without it."""

    name = "mongodb"

    def probe(self) -> None:
        get_connection().admin.command("ping")


@dataclasses.dataclass
class Redis(StoreCheck):
    """Whether Redis answers, and may be believed; everything works without that, but slower."""

    name = "redis"

    def probe(self) -> None:
        client.ping()
        if trust.lease.is_missed:
            raise Impaired("not trusted at present: no lease")


@dataclasses.dataclass
class ActivitySpool(Check):
    """Whether the spool has lost no event."""

    name = "activity"

    def probe(self) -> None:
        problem = activity.spool_problem()
        if problem is not None:
            raise self.failure(problem)


@dataclasses.dataclass
class BackgroundThreads(Check):
    """Whether a background thread of any process has died recently (it is restarted)."""

    name = "threads"

    def probe(self) -> None:
        failures = supervision.recent_failures()
        if failures:
            raise self.failure(
                ", ".join(
                    f"{thread} failed {seconds:.0f} s ago" for thread, seconds in failures.items()
                )
            )


@dataclasses.dataclass
class Migrations(Check):
    """Whether every migration is applied."""

    name = "migrations"
    failure: type[HealthCheckException] = dataclasses.field(default=ServiceUnavailable, repr=False)

    def probe(self) -> None:
        if not _is_migrated():
            raise self.failure("not every migration is applied")

    def members(self, result: HealthCheckResult) -> dict[str, Any]:
        return {"migrations_applied": result.error is None}


@dataclasses.dataclass
class Serving(Check):
    """Whether this process is to get requests: not once it is about to stop."""

    name = "serving"
    failure: type[HealthCheckException] = dataclasses.field(default=ServiceUnavailable, repr=False)

    def probe(self) -> None:
        if settings.DRAINING_FILE and Path(settings.DRAINING_FILE).exists():
            raise self.failure("about to stop")


def _is_migrated() -> bool:
    global _migrated  # once true, it stays true while this code runs
    if not _migrated:
        try:
            executor = MigrationExecutor(connection)
            _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        finally:
            connection.close()  # the check's thread lives on, and must not hold a connection of the pool
    return _migrated


_migrated = False


class _OwnThreads(Executor):
    """Runs each kind of check in its own thread, so that a hanging check delays only its own kind."""

    def __init__(self, *kinds: type[Check]) -> None:
        self._threads = {
            kind: ThreadPoolExecutor(1, thread_name_prefix=f"health-{kind.name}") for kind in kinds
        }

    def submit(self, run: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Queue the run method of a check."""
        kind = type(run.__self__)  # type: ignore[attr-defined]  # it is a method
        return self._threads[kind].submit(run, *args, **kwargs)


_executor = _OwnThreads(
    PostgreSQL, MongoDB, Redis, ActivitySpool, BackgroundThreads, Migrations, Serving
)


class HealthView(ProbeView, HealthCheckView):
    """
    The checks as JSON {status, name: {status, latency_ms[, reason]}}, or in the library's formats.

    status is ok, degraded (something failed, but the site answers), or down: 503. With ?strict=1
    degraded is a 503 too. The format is chosen by ?format= (json, text, openmetrics, atom, rss) or by Accept;
    the last three are always 200, as their readers expect.
    """

    def get_executor(self) -> contextlib.AbstractContextManager[Executor]:
        """Return threads that outlive the request, so that no reply waits for a hanging check."""
        return contextlib.nullcontext(_executor)

    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # The library prefers HTML, and fails on a malformed Accept.
        request.headers = HttpHeaders(request.META | {"HTTP_ACCEPT": _media_type(request)})
        response: HttpResponse = await super().get(request, *args, **kwargs)
        for result in self.results:
            if isinstance(result.check, StoreCheck):  # in a thread that knows no request
                tracing.add_seconds(result.check.name, result.time_taken)
        if (
            response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
        ):  # the library's status for any error
            response.status_code = self._status_code()
        return response

    def render_to_response_json(self, status: int) -> JsonResponse:
        body = {"status": self._status()}
        for result in self.results:
            body |= result.check.members(result)
        return JsonResponse(body, status=status)

    def _status(self) -> str:
        errors = [result.error for result in self.results if result.error]
        if not errors:
            return "ok"
        return "degraded" if all(isinstance(e, ServiceWarning) for e in errors) else "down"

    def _status_code(self) -> HTTPStatus:
        strict = self.request.GET.get("strict") == "1"
        if self._status() == "degraded" and not strict:
            return HTTPStatus.OK
        return HTTPStatus.SERVICE_UNAVAILABLE


def _media_type(request: HttpRequest) -> str:
    """Return the media type that the client prefers, ignoring parameters such as version."""
    for accepted in request.accepted_types:
        for offered in _MEDIA_TYPES:
            main_type, sub_type = offered.split("/")
            if (
                accepted.quality > 0
                and accepted.main_type in ("*", main_type)
                and accepted.sub_type in ("*", sub_type)
            ):
                return offered
    return _MEDIA_TYPES[0]


health = HealthView.as_view(checks=[PostgreSQL, MongoDB, Redis, ActivitySpool, BackgroundThreads])
# No checks: a restart would repair no store.
live = HealthView.as_view(checks=[])
ready = HealthView.as_view(
    checks=[PostgreSQL, (MongoDB, {"failure": ServiceUnavailable}), Migrations, Serving]
)
