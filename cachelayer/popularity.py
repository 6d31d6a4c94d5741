"""What is read how often, added up in Redis over all processes, for warming and for the chart."""

import time
from typing import Any, Final

import redis

from cachelayer import counts
from cachelayer.client import execute
from cachelayer.namespace import root_of_names

FLUSH_SECONDS: Final = 5.0
MINUTE_SECONDS: Final = 60
MINUTES_KEPT: Final = 180
_HOT_KEYS_MAX: Final = 1_000  # of each namespace, in Redis
_DECAY_PER_MINUTE: Final = 0.93  # half of a key's count is gone after ten minutes
_HOT_TTL_SECONDS: Final = 24 * 3600


def flush() -> None:
    """Add this process's counts to those in Redis, and forget them. Raises CacheDown."""
    reads, results = counts.take()
    if not results:
        return
    minute = int(time.time()) // MINUTE_SECONDS

    def pipeline(r: redis.Redis) -> Any:
        pipe = r.pipeline(transaction=False)
        for (namespace, name), number in reads.items():
            pipe.zincrby(_hot(namespace), number, name)
        for namespace in {namespace for namespace, _ in reads}:
            pipe.zremrangebyrank(_hot(namespace), 0, -_HOT_KEYS_MAX - 1)
            pipe.expire(_hot(namespace), _HOT_TTL_SECONDS)
        for (namespace, result), number in results.items():
            pipe.hincrby(_minute(minute), f"{namespace} {result}", number)
        pipe.expire(_minute(minute), (MINUTES_KEPT + 1) * MINUTE_SECONDS)
        return pipe.execute(raise_on_error=False)

    execute("count", pipeline)


def decay(namespaces: list[str]) -> None:
    """Let older reads count less; for one process, once a minute. Raises CacheDown."""

    def pipeline(r: redis.Redis) -> Any:
        pipe = r.pipeline(transaction=False)
        for namespace in namespaces:
            name = _hot(namespace)
            pipe.zunionstore(name, {name: _DECAY_PER_MINUTE})
            pipe.expire(name, _HOT_TTL_SECONDS)
        return pipe.execute(raise_on_error=False)

    execute("decay", pipeline)


def hottest(namespace: str, number: int) -> list[tuple[str, float]]:
    """
    Return the most read logical names with their decayed counts. Raises CacheDown.

    Names come as they stand in Redis: not each is one of a key that this version has.
    """
    replies: Any = execute(
        "hot", lambda r: r.zrevrange(_hot(namespace), 0, number - 1, withscores=True)
    )
    return [(name.decode(errors="replace"), float(score)) for name, score in replies]


def minutes(number: int) -> list[tuple[int, dict[tuple[str, str], int]]]:
    """
    Return the counts of the last minutes, oldest first: (Unix time, {(namespace, result): reads}).

    Raises CacheDown.
    """
    now = int(time.time()) // MINUTE_SECONDS
    period = range(now - number + 1, now + 1)

    def pipeline(r: redis.Redis) -> list[Any]:
        pipe = r.pipeline(transaction=False)
        for minute in period:
            pipe.hgetall(_minute(minute))
        return pipe.execute()

    return [
        (minute * MINUTE_SECONDS, {_parsed(field): int(count) for field, count in counts.items()})
        for minute, counts in zip(period, execute("minutes", pipeline), strict=True)
    ]


def _parsed(field: bytes) -> tuple[str, str]:
    namespace, _, result = field.decode(errors="replace").rpartition(" ")
    return namespace, result


def _hot(namespace: str) -> str:
    return f"{root_of_names()}hot:{namespace}"


def _minute(minute: int) -> str:
    return f"{root_of_names()}minute:{minute}"
