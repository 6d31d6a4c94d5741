"""System checks: pools that do not fit server or threads, an unfit pooler, callers that nobody checks, proxies that nobody counts."""

from collections.abc import Iterator
from typing import Any

import psycopg
from django.conf import settings
from django.core import checks

from config.postgres import pooler
from config.postgres.pool_sizing import BACKGROUND
from config.postgres.server import capacity


def check_pool(
    *, workers: int, threads: int, pool_max: int, usable: int | None
) -> Iterator[checks.CheckMessage]:
    """Yield W001 where the pools exceed usable (None: unknown), W002 where the threads exceed a pool."""
    total = workers * (pool_max + BACKGROUND)
    if usable is not None and total > usable:
        yield checks.Warning(
            f"WEB_WORKERS x (POSTGRES_POOL_MAX + {BACKGROUND} in the background) is "
            f"{workers} x {pool_max + BACKGROUND} = {total}, but the PostgreSQL server leaves this "
            f"user {usable} connections.",
            hint="See manage.py pool_advice; or raise max_connections.",
            id="config.W001",
        )
    if threads > pool_max:
        yield checks.Warning(
            f"WEB_THREADS is {threads} and POSTGRES_POOL_MAX {pool_max}: under load requests wait "
            "for a connection, and some get a 503.",
            hint="See manage.py pool_advice.",
            id="config.W002",
        )


@checks.register("config")
def check_pools(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """
    Check the settings, without the server's limit where PostgreSQL does not answer.

    Nor where a pooler is in front of it, whose own settings decide how many connections it opens.
    """
    try:
        usable = None if pooler.is_configured() else capacity().usable_connections
    except psycopg.Error:
        usable = None
    return list(
        check_pool(
            workers=settings.WEB_WORKERS,
            threads=settings.WEB_THREADS,
            pool_max=settings.POSTGRES_POOL_MAX,
            usable=usable,
        )
    )


@checks.register("config", deploy=True)
def check_identity(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Warn (W004) where callers are whoever they say they are."""
    if settings.AUTHENTICATION != "stub":
        return []
    return [
        checks.Warning(
            "AUTHENTICATION is stub: whoever reaches the API is the user that X-User-Id names.",
            hint="Set AUTHENTICATION=jwt or session; or have a proxy, and nobody else, set X-User-Id (docs/operations.md, "
            "Who calls).",
            id="config.W004",
        )
    ]


@checks.register("config", deploy=True)
def check_proxies(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Warn (W005) where TLS ends at a proxy that is not counted: each client then has its address."""
    if not settings.HTTPS or settings.TRUSTED_PROXIES:
        return []
    return [
        checks.Warning(
            "HTTPS is set, so a proxy is in front, and TRUSTED_PROXIES is 0: every client has the proxy's address, "
            "in METRICS_NETWORKS and in what is recorded.",
            hint="Set TRUSTED_PROXIES to the number of proxies.",
            id="config.W005",
        )
    ]


@checks.register("config")
def check_pooler(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check DATABASE_URL and DATABASE_DIRECT_URL; not at all where a server does not answer."""
    try:
        return list(pooler.check_urls())
    except psycopg.Error:
        return []
