"""Which statements the site sends to PostgreSQL, by endpoint and shape: counted, and kept in Redis."""

import functools
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from config.observability import statements
from config.observability.capped_list import CappedList

STATEMENTS: Final = CappedList("statements", rows_max=5_000)
_EVERY_SECONDS: Final = 30.0
_SHAPES_MAX: Final = 1_000  # counted in one process at a time


@dataclass
class _Count:
    calls: int = 0
    seconds: float = 0.0
    handed_over_at: float | None = None  # by time.monotonic()


_counts: dict[tuple[str, str], _Count] = {}
_lock = threading.Lock()


def ran(endpoint: str, sql: Any, seconds: float) -> None:
    """
    Count a statement of a request, without its values; only where this process is the site.

    A shape is handed over when it is first seen, and then with its calls since, twice a minute at
    the most: a process that ends takes less than half a minute of its counts along.
    """
    if not settings.SERVES_REQUESTS or not isinstance(sql, str):
        return
    statement, fingerprint = _described(sql)
    now = time.monotonic()
    with _lock:
        if len(_counts) >= _SHAPES_MAX:
            _counts.clear()
        count = _counts.setdefault((endpoint, fingerprint), _Count())
        count.calls += 1
        count.seconds += seconds
        if count.handed_over_at is not None and now - count.handed_over_at < _EVERY_SECONDS:
            return
        _counts[endpoint, fingerprint] = _Count(handed_over_at=now)
    row = {
        "at": time.time(),
        "endpoint": endpoint,
        "fingerprint": fingerprint,
        "statement": statement,
        "calls": count.calls,
        "total_ms": round(count.seconds * 1000, 3),
    }
    STATEMENTS.add(row)


@functools.lru_cache(maxsize=_SHAPES_MAX)
def _described(sql: str) -> tuple[str, str]:
    statement = statements.sql_shape(sql)[: statements.STATEMENT_CHARACTERS]
    return statement, statements.fingerprint("postgres", statement)
