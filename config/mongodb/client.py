"""The MongoDB client of the site: it fails at once while the server is silent, and counts what it does."""

import threading
import time
from typing import Any, Final

import mongoengine
import pymongo
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from pymongo import monitoring
from pymongo.errors import ConfigurationError, ServerSelectionTimeoutError

from cachelayer.circuit_breaker import Breaker
from config.mongodb import metrics
from config.observability import tracing

_PROBE_TIMEOUT_MS: Final = 1000
# What pymongo calls the failures in which the server itself said nothing.
_SILENCE: Final = ("NetworkTimeout", "AutoReconnect", "ConnectionFailure")


def _recover() -> None:
    """Ask on a connection of its own. Raises PyMongoError where no primary answers."""
    options: dict[str, Any] = {
        "timeoutMS": _PROBE_TIMEOUT_MS,
        "serverSelectionTimeoutMS": _PROBE_TIMEOUT_MS,
        "connectTimeoutMS": _PROBE_TIMEOUT_MS,
    }
    with pymongo.MongoClient[dict[str, Any]](settings.MONGODB_URI, **options) as asked:
        asked.admin.command("ping")


# A silent MongoDB would hold a thread of the site for each profile asked for, until its timeout,
# and notes need those threads too.
breaker = Breaker("MongoDB", _recover, first_seconds=0.05, longest_seconds=1.0)


class NotAsked(ServerSelectionTimeoutError):
    """MongoDB did not answer lately, and is asked again in the background."""


class Client(pymongo.MongoClient):
    """A client that does not wait for a server which is known to be silent."""

    def _select_server(self, *args: Any, **kwargs: Any) -> Any:
        # The one door through which every operation goes; private, so pymongo is pinned.
        if breaker.is_open:
            metrics.ERRORS.labels(NotAsked.__name__).inc()
            raise NotAsked("MongoDB does not answer")
        try:
            return super()._select_server(*args, **kwargs)
        except ServerSelectionTimeoutError as exc:
            breaker.failed(exc, opens=True)
            raise


class Commands(monitoring.CommandListener):
    """Adds each command's time to the request's and to the counts; published in its own thread."""

    def __init__(self) -> None:
        self._of_this_thread = threading.local()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Remember the command until its end, which does not tell it."""
        self._of_this_thread.command = event.command

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        breaker.succeeded()
        self._count(event)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        kind = str(event.failure.get("codeName") or event.failure.get("errtype") or "unknown")
        metrics.ERRORS.labels(kind).inc()
        if kind in _SILENCE:
            breaker.failed(ServerSelectionTimeoutError(kind), opens=False)
        self._count(event)

    def _count(
        self, event: monitoring.CommandSucceededEvent | monitoring.CommandFailedEvent
    ) -> None:
        if event.command_name == "getMore":
            return  # that of a change stream waits on purpose
        seconds = event.duration_micros / 1e6
        metrics.COMMAND_SECONDS.labels(event.command_name).observe(seconds)
        command = self._of_this_thread.__dict__.pop("command", {event.command_name: 1})
        tracing.add_statement("mongodb", command, time.perf_counter() - seconds, seconds)


class Pool(monitoring.ConnectionPoolListener):
    """Keeps the gauges of the pool (CMAP events)."""

    def connection_created(self, event: Any) -> None:
        metrics.CONNECTIONS.inc()

    def connection_closed(self, event: Any) -> None:
        metrics.CONNECTIONS.dec()

    def connection_check_out_started(self, event: Any) -> None:
        metrics.WAITING.inc()

    def connection_check_out_failed(self, event: Any) -> None:
        metrics.WAITING.dec()
        metrics.ACQUIRE_SECONDS.observe(event.duration)
        exhausted = event.reason == monitoring.ConnectionCheckOutFailedReason.TIMEOUT
        metrics.ERRORS.labels("PoolExhausted" if exhausted else f"check out: {event.reason}").inc()

    def connection_checked_out(self, event: Any) -> None:
        metrics.WAITING.dec()
        metrics.ACQUIRE_SECONDS.observe(event.duration)
        metrics.IN_USE.inc()

    def connection_checked_in(self, event: Any) -> None:
        metrics.IN_USE.dec()

    def connection_ready(self, event: Any) -> None:
        """Do nothing: a connection counts from when it was created."""

    def pool_created(self, event: Any) -> None:
        """Do nothing: connections are counted."""

    def pool_ready(self, event: Any) -> None:
        """Do nothing: connections are counted."""

    def pool_cleared(self, event: Any) -> None:
        """Do nothing: connections are counted."""

    def pool_closed(self, event: Any) -> None:
        """Do nothing: connections are counted."""


def connect() -> None:
    """
    Open the one client of this process, lazily: no socket and no thread before a fork.

    Raises ImproperlyConfigured where the DNS has nothing behind a mongodb+srv:// URI.
    """
    try:
        _connect()
    except ConfigurationError as exc:
        raise ImproperlyConfigured(f"MONGODB_URI: {str(exc).splitlines()[0]}") from exc


def _connect() -> None:
    mongoengine.connect(
        host=settings.MONGODB_URI,
        mongo_client_class=Client,
        connect=False,
        uuidRepresentation="standard",
        tz_aware=True,
        # One document with a year past 9999 or bytes that are no UTF-8 fails no read of others.
        datetime_conversion="DATETIME_AUTO",
        unicode_decode_error_handler="replace",
        appname="trilith",
        timeoutMS=settings.MONGODB_TIMEOUT_MS,
        serverSelectionTimeoutMS=settings.MONGODB_TIMEOUT_MS,
        connectTimeoutMS=settings.MONGODB_TIMEOUT_MS,
        # The wait for a connection is part of timeoutMS, which leaves waitQueueTimeoutMS unused.
        minPoolSize=settings.MONGODB_POOL_MIN,
        maxPoolSize=settings.MONGODB_POOL_MAX,
        maxIdleTimeMS=settings.MONGODB_POOL_IDLE_SECONDS * 1000,
        event_listeners=[Commands(), Pool()],
    )
