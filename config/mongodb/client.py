"""The MongoDB client of the site: fails at once while the server is down, and counts its commands."""

import threading
import time
from typing import Any, Final

import mongoengine
import pymongo
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from pymongo import monitoring
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
)

from cachelayer import failures
from cachelayer.circuit_breaker import Breaker
from config import tracing
from config.mongodb import metrics

_PROBE_TIMEOUT_MS: Final = 1000
# pymongo's names of the failures in which the server sent no reply.
_SILENCE: Final = ("NetworkTimeout", "AutoReconnect", "ConnectionFailure")


def _recover() -> None:
    """Ping on a new connection. Raises PyMongoError if no primary answers."""
    options: dict[str, Any] = {
        "timeoutMS": _PROBE_TIMEOUT_MS,
        "serverSelectionTimeoutMS": _PROBE_TIMEOUT_MS,
        "connectTimeoutMS": _PROBE_TIMEOUT_MS,
    }
    with pymongo.MongoClient[dict[str, Any]](settings.MONGODB_URI, **options) as client:
        client.admin.command("ping")


# Without it every request for a profile would hold a thread until its timeout while MongoDB is
# down, and notes need those threads too.
breaker = Breaker("MongoDB", _recover, first_seconds=0.05, longest_seconds=1.0)
breaker.when_changed = metrics.BREAKER_OPEN.set


_UNAVAILABLE: Final = (
    ConnectionFailure,  # refused, lost, no server selected, no connection free
    ExecutionTimeout,
    WriteConcernError,  # not on enough members, in time: it may be undone
)
# On what the server says while its set has no primary, or has just elected another; the driver has
# tried it again already.
_RETRYABLE: Final = "RetryableWriteError"
# Codes (src/mongo/base/error_codes.yml) of the server's state that come without that label, as on reads: HostUnreachable,
# HostNotFound, LockTimeout, NetworkTimeout, ShutdownInProgress, ReadConcernMajorityNotAvailableYet, KeyNotFound (a member
# that has just started has no key for the cluster's time until there is a primary), ExceededTimeLimit, SocketException,
# OutOfDiskSpace.
_OF_THE_SERVER: Final = frozenset({6, 7, 24, 89, 91, 134, 211, 262, 9001, 14031})


def _is_unavailable(exc: BaseException) -> bool:
    """Return whether MongoDB does not answer, or takes no writes."""
    return (
        isinstance(exc, _UNAVAILABLE)
        or (isinstance(exc, PyMongoError) and exc.has_error_label(_RETRYABLE))
        or (isinstance(exc, OperationFailure) and exc.code in _OF_THE_SERVER)
    )


failures.stores["mongodb"] = _is_unavailable


class CircuitOpen(ServerSelectionTimeoutError):
    """MongoDB has not answered recently; the breaker probes it in the background."""


class Client(pymongo.MongoClient):
    """A client that does not wait for a server known to be down."""

    def _select_server(self, *args: Any, **kwargs: Any) -> Any:
        # Every operation passes through here; private, which is why pymongo is pinned.
        if breaker.is_open:
            metrics.ERRORS.labels(CircuitOpen.__name__).inc()
            raise CircuitOpen("MongoDB does not answer")
        try:
            return super()._select_server(*args, **kwargs)
        except ServerSelectionTimeoutError as exc:
            breaker.failed(exc, opens=True)
            raise


class Commands(monitoring.CommandListener):
    """Adds each command to the request's trace and to the metrics, in the thread that sent it."""

    def __init__(self) -> None:
        self._of_this_thread = threading.local()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Remember the command, which the event of its end does not contain."""
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
            return  # a change stream's waits on purpose
        seconds = event.duration_micros / 1e6
        metrics.COMMAND_SECONDS.labels(event.command_name).observe(seconds)
        command = self._of_this_thread.__dict__.pop("command", {event.command_name: 1})
        tracing.add_statement("mongodb", command, time.perf_counter() - seconds, seconds)


class Pool(monitoring.ConnectionPoolListener):
    """Updates the gauges of the pool (CMAP events)."""

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
        if event.reason == monitoring.ConnectionCheckOutFailedReason.CONN_ERROR:
            # No command was sent, so Commands has seen nothing: a frozen server, and no idle connection.
            breaker.failed(ServerSelectionTimeoutError(event.reason), opens=False)

    def connection_checked_out(self, event: Any) -> None:
        metrics.WAITING.dec()
        metrics.ACQUIRE_SECONDS.observe(event.duration)
        metrics.IN_USE.inc()

    def connection_checked_in(self, event: Any) -> None:
        metrics.IN_USE.dec()

    def connection_ready(self, event: Any) -> None:
        """Do nothing: a connection counts once created."""

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
    Create the client of this process without connecting: no socket and no thread before a fork.

    Raises ImproperlyConfigured if the DNS has no records for a mongodb+srv:// URI.
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
        # So that one document with a year past 9999 or invalid UTF-8 does not fail a read of others.
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
