"""The connection to Redis: used through a breaker, and checked before its first use."""

import functools
import secrets
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from django_redis import get_redis_connection

from cachelayer import metrics
from cachelayer.circuit_breaker import Breaker
from cachelayer.namespace import declared, stamp_name

T = TypeVar("T")

_STAMP_BYTES = 8  # random, never reused
_RUN_BYTES = 8  # of the server's run_id, at the end of a namespace's stamp

# What must have happened before a Redis that was away is trusted again; cachelayer.outbox adds
# that what could not be delivered meanwhile has been delivered. Each may raise: then it is not.
before_trust: list[Callable[[], Any]] = []

# Called after each operation with its name, its start (time.perf_counter()) and its seconds: for a
# site that traces its requests. They must not raise.
observers: list[Callable[[str, float, float], None]] = []


class CacheDown(Exception):
    """Redis did not answer, or is not called while the breaker is open."""


def ask(operation: str, command: Callable[[redis.Redis], T], *, past_breaker: bool = False) -> T:
    """
    Run a command on Redis; count its time and its outcome. Raises CacheDown.

    past_breaker: for the relay and for writes while the breaker probes, which must find out
    for themselves.
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
    breaker.succeeded()
    return reply


def ping() -> None:
    """Check that Redis answers, past the breaker. Raises redis.RedisError where it does not."""
    client().ping()


@functools.cache
def client() -> redis.Redis:
    """Return this process's client. Every connection of its pool is checked by meet_server."""
    server: redis.Redis = get_redis_connection("default")
    pool = server.connection_pool
    pool.connection_kwargs["redis_connect_func"] = meet_server
    # Django's cache, which shares the pool, may have made connections already: none is kept.
    pool.disconnect(inuse_connections=False)
    pool.reset()
    return server


def meet_server(connection: Any) -> None:
    """
    Check the server of a new connection; if its data was written on another server, abandon it.

    A restored snapshot or a promoted replica may have lost the last invalidations. The stamp of
    each namespace ends with the run_id of the server that it was made on; one with another run_id
    is deleted before anything is read through the connection, and with it goes whatever carries it.
    """
    connection.on_connect_check_health(check_health=True)
    namespaces = declared()
    if not namespaces:
        return
    names = [stamp_name(namespace.tag) for namespace in namespaces]
    connection.send_command("INFO", "server", check_health=False)
    _met.run = run = _run_of(connection.read_response())
    connection.send_command("MGET", *names, check_health=False)
    stamps = connection.read_response()
    foreign = [
        name for name, stamp in zip(names, stamps, strict=True) if stamp and not stamp.endswith(run)
    ]
    if foreign:
        connection.send_command("UNLINK", *foreign, check_health=False)
        connection.read_response()
        metrics.EPOCHS.inc()


def new_stamp(*, of_namespace: bool) -> bytes:
    """Return a stamp that was never there before; a namespace's ends with the server's run."""
    # The run of the connection made last. Where a process speaks to two servers at once, as
    # during a failover, it may be the other's: then the stamp dies with the next connection.
    return secrets.token_bytes(_STAMP_BYTES) + (_met.run if of_namespace else b"")


def _run_of(info: Any) -> bytes:
    """Return the server's run_id, shortened; a new one is drawn at each of its starts."""
    text = info if isinstance(info, bytes) else str(info).encode()
    for line in text.splitlines():
        if line.startswith(b"run_id:"):
            return bytes.fromhex(line.removeprefix(b"run_id:").decode())[:_RUN_BYTES]
    raise redis.ResponseError("INFO has no run_id")


class _Met:
    """The server that the last connection was made to."""

    run = b""


_met = _Met()


def _recover() -> None:
    ping()
    for step in before_trust:
        step()


breaker = Breaker("Cache", _recover)
breaker.when_changed = metrics.breaker_changed
