"""What the cache must forget when its stores were restored to an earlier time."""

from typing import Any

import structlog
from django.core.cache import caches
from redis.exceptions import RedisError

from cachelayer import outbox
from cachelayer.client import CacheDown
from cachelayer.namespace import declared

log = structlog.get_logger("cachelayer")


def forget(cursor: Any) -> None:
    """
    Write into a restored database, before it is used, that no entry of any namespace is valid.

    An outbox row: delivered by deliver, or else before the cache is trusted at the next start.
    """
    outbox.add_by(cursor, [namespace.tag for namespace in declared()])


def deliver() -> bool:
    """
    Deliver what waits, and forget what Django caches: sessions are read from the database.

    Return False where Redis does not answer.
    """
    try:
        while outbox.deliver(also_not_due=True):
            pass
        for cache in caches.all(initialized_only=False):
            cache.clear()
    except (CacheDown, RedisError) as exc:
        log.info("cache not cleared", reason=str(exc).split("\n")[0])
        return False
    return True
