"""System checks that report at start what would make the cache wrong or slow."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import redis
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.utils.module_loading import import_string
from django_redis.cache import RedisCache
from redis.connection import parse_url

from cachelayer import client
from cachelayer.conf import config
from cachelayer.namespace import PURGE, Namespace, declared

_TIMEOUT_SECONDS_MAX: Final = 0.5  # a longer one is felt by each request before the breaker opens


def check_namespaces(namespaces: Sequence[Namespace[Any]]) -> Iterator[checks.CheckMessage]:
    """Yield what is wrong with declared namespaces: lifetimes (E001), names (E002, E003), tags (E010)."""
    for namespace in namespaces:
        if namespace.ttl_seconds <= 0 or namespace.absent_ttl_seconds <= 0:
            yield checks.Error(
                f"Namespace {namespace.name}: its lifetimes must be positive.", id="cachelayer.E001"
            )
        if not namespace.has(namespace.example):
            yield checks.Error(
                f"Namespace {namespace.name}: its example {namespace.example} does not fit its prefix and member.",
                id="cachelayer.E002",
            )
        elif any(
            tag.startswith(PURGE)
            for tag in namespace.tags_of(namespace.example.removeprefix(namespace.prefix))
        ):
            yield checks.Error(
                f"Namespace {namespace.name}: a tag of {namespace.example} begins with {PURGE!r}, so to "
                f"invalidate it would purge an entry and leave its stamp.",
                id="cachelayer.E010",
            )
    for namespace, other in itertools.permutations(namespaces, 2):
        if namespace.has(other.example):
            yield checks.Error(
                f"Namespaces {namespace.name} and {other.name} overlap: {other.example} is a key of both.",
                id="cachelayer.E003",
            )


def check_connections(caches: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    """Yield what is wrong with CACHES: pickle (E004), a shared pool (E005), another pool (E013), patience (W006, W007)."""
    options = caches["default"].get("OPTIONS", {})
    for alias, cache in caches.items():
        serializer = cache.get("OPTIONS", {}).get("SERIALIZER", "the default, pickle")
        backend = import_string(cache["BACKEND"])
        if issubclass(backend, RedisCache) and "pickle" in serializer.lower():
            yield checks.Error(
                f"CACHES[{alias!r}] stores {serializer}: whoever writes to Redis would run code here.",
                id="cachelayer.E004",
            )
    locations = [str(cache.get("LOCATION", "")) for cache in caches.values()]
    if locations.count(locations[0]) > 1 or len(set(locations)) < len(locations):
        yield checks.Error(
            "Two CACHES have the same LOCATION: django-redis gives both one pool, with the options "
            "of whichever is used first. Give each its own database.",
            id="cachelayer.E005",
        )
    pool = import_string(options.get("CONNECTION_POOL_CLASS", "redis.ConnectionPool"))
    if not issubclass(pool, client.Pool | client.SentinelPool):
        yield checks.Error(
            f"CACHES['default']: its CONNECTION_POOL_CLASS is {pool.__name__}, which does not know the server of "
            "a reply, so that none could be trusted: name cachelayer.client.Pool, or SentinelPool.",
            id="cachelayer.E013",
        )
    for name in ("SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT"):
        seconds = options.get(name)
        if not seconds or seconds > _TIMEOUT_SECONDS_MAX:
            yield checks.Warning(
                f"CACHES['default']: {name} is {seconds}; a Redis that hangs would hold each request "
                f"longer than {_TIMEOUT_SECONDS_MAX} s.",
                id="cachelayer.W006",
            )
    retry = options.get("CONNECTION_POOL_KWARGS", {}).get("retry")
    if retry is None or retry.get_retries():
        yield checks.Warning(
            "CACHES['default']: reads are retried, which multiplies the timeout.",
            id="cachelayer.W007",
        )


def check_database(databases: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    """Yield where transactions would keep the cache unused: ATOMIC_REQUESTS (E008)."""
    if databases[DEFAULT_DB_ALIAS].get("ATOMIC_REQUESTS"):
        yield checks.Error(
            "ATOMIC_REQUESTS is on: every request would need PostgreSQL, also one answered from "
            "the cache, and inside a transaction the cache is not used.",
            id="cachelayer.E008",
        )


def check_vendor(vendor: str) -> Iterator[checks.CheckMessage]:
    """Yield a default database other than PostgreSQL (E012)."""
    if vendor != "postgresql":
        yield checks.Error(
            f"DATABASES['default'] is {vendor}: cachelayer needs PostgreSQL, which holds its outbox, its lease "
            "and the lock of its relay.",
            id="cachelayer.E012",
        )


def check_urls(caches: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    """Yield a LOCATION that is no URL of a Redis (E009)."""
    for alias, cache in caches.items():
        try:
            parse_url(str(cache.get("LOCATION", "")))  # type: ignore[no-untyped-call]  # redis-py has no types here
        except (ValueError, redis.RedisError) as exc:
            yield checks.Error(f"CACHES[{alias!r}]: {exc}", id="cachelayer.E009")


def check_settings() -> Iterator[checks.CheckMessage]:
    """Yield what is wrong with CACHELAYER (E011)."""
    try:
        config()
    except ImproperlyConfigured as exc:
        yield checks.Error(str(exc), id="cachelayer.E011")


@checks.register("cachelayer")
def check_cache(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Return every message of the checks above."""
    return [
        *check_settings(),
        *check_vendor(connection.vendor),
        *check_namespaces(declared()),
        *check_urls(settings.CACHES),
        *check_connections(settings.CACHES),
        *check_database(connections.settings),
    ]
