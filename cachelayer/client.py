"""The connection to Redis: used through a breaker, and by each reply it is known which server gave it."""

import functools
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from django_redis import get_redis_connection
from redis.maint_notifications import MaintNotificationsConfig
from redis.sentinel import SentinelConnectionPool

from cachelayer import metrics, server_identity
from cachelayer.circuit_breaker import Breaker

T = TypeVar("T")

_STAMP_BYTES = 8  # random, never reused

# Called after each operation with its name, its start (time.perf_counter()) and its seconds: for a
# site that traces its requests. They must not raise.
observers: list[Callable[[str, float, float], None]] = []


class CacheDown(Exception):
    """Redis did not answer, or is not called while the breaker is open."""


class OtherServer(CacheDown):
    """The reply came from another server than the one that it was required of."""


class _Local(threading.local):
    """The server to which the connection leads that this thread took last from the pool."""

    server = ""


_local = _Local()


class _KnowsServers(redis.ConnectionPool):
    """
    A pool each of whose connections has the server that it met when it connected, by its identity.

    A server that is a replica is refused: no client speaks to one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # With them redis-py lends a connection whose last reply nobody has read: the next would get it.
        kwargs["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
        super().__init__(*args, **kwargs, redis_connect_func=meet_server)

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Take a connection that is connected; remember its server for this thread."""
        connection: Any = super().get_connection(*args, **kwargs)
        _local.server = connection.server
        return connection


class Pool(_KnowsServers):
    """The pool of the default cache, named in settings.CACHES."""


class SentinelPool(_KnowsServers, SentinelConnectionPool):
    """The same where the primary is found by Sentinel."""


def execute(
    operation: str,
    command: Callable[[redis.Redis], T],
    *,
    past_breaker: bool = False,
    server: str | None = None,
) -> T:
    """
    Run a command on Redis; count its time and its outcome. Raises CacheDown.

    past_breaker: for the relay and the keeper of the lease, which must find out for themselves.
    server: no reply of another one counts; it raises OtherServer.
    """
    if breaker.is_open and not past_breaker:
        raise CacheDown(operation)
    started = time.perf_counter()
    try:
        reply = command(client())
    except redis.RedisError as exc:
        # A refused or broken connection is certain; a slow answer may be an accident.
        breaker.failed(exc, opens=isinstance(exc, redis.ConnectionError))
        raise CacheDown(operation) from exc
    finally:
        seconds = time.perf_counter() - started
        for observe in observers:
            observe(operation, started, seconds)
        metrics.operation_seconds(operation).observe(seconds)
    if server is not None and server != _local.server:
        # Where new connections lead to it as well, the breaker keeps them from being made for each read.
        forget_idle_connections()
        other = OtherServer(operation)
        breaker.failed(other, opens=False)
        raise other
    breaker.succeeded()
    return reply


def replied() -> str:
    """Return the server of the reply that this thread had last."""
    return _local.server


def forget_idle_connections() -> None:
    """Close them: they lead to a server that is another by now, or not the one that is needed."""
    client().connection_pool.disconnect(inuse_connections=False)


def ping() -> None:
    """Check that Redis answers, past the breaker. Raises redis.RedisError where it does not."""
    client().ping()


@functools.cache
def client() -> redis.Redis:
    """Return this process's client, whose connections Django's default cache shares."""
    connection: redis.Redis = get_redis_connection("default")
    return connection


def meet_server(connection: Any) -> None:
    """
    Set up a new connection, and give it the identity of its server as its attribute server.

    Raises redis.ConnectionError where that is a replica.
    """
    connection.on_connect_check_health(check_health=True)
    connection.send_packed_command(
        connection.pack_commands(server_identity.COMMANDS), check_health=False
    )
    replies = [connection.read_response() for _ in server_identity.COMMANDS]
    connection.server = server_identity.identity_of(replies)


def new_stamp() -> bytes:
    """Return a stamp that was never there before."""
    return secrets.token_bytes(_STAMP_BYTES)


breaker = Breaker("Cache", ping, first_seconds=0.25, longest_seconds=1.0)
breaker.when_changed = metrics.breaker_changed
