"""Calls and total time of the site's statements on PostgreSQL, by endpoint and shape, in Redis."""

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
_SHAPES_MAX: Final = 1_000  # in memory, of one process


@dataclass
class _Count:
    calls: int = 0
    seconds: float = 0.0
    written_at: float | None = None  # by time.monotonic()


_counts: dict[tuple[str, str], _Count] = {}
_lock = threading.Lock()


def count(endpoint: str, sql: Any, seconds: float) -> None:
    """
    Count a statement of a request, without its values; only in processes that serve requests.

    A shape is written at its first call, and then at most every _EVERY_SECONDS with the calls since:
    a process that ends loses less than half a minute of its counts.
    """
    if not settings.SERVES_REQUESTS or not isinstance(sql, str):
        return
    statement, fingerprint = _shape_of(sql)
    now = time.monotonic()
    with _lock:
        if len(_counts) >= _SHAPES_MAX:
            _counts.clear()
        shape = _counts.setdefault((endpoint, fingerprint), _Count())
        shape.calls += 1
        shape.seconds += seconds
        if shape.written_at is not None and now - shape.written_at < _EVERY_SECONDS:
            return
        _counts[endpoint, fingerprint] = _Count(written_at=now)
    row = {
        "at": time.time(),
        "endpoint": endpoint,
        "fingerprint": fingerprint,
        "statement": statement,
        "calls": shape.calls,
        "total_ms": round(shape.seconds * 1000, 3),
    }
    STATEMENTS.add(row)


@functools.lru_cache(maxsize=_SHAPES_MAX)
def _shape_of(sql: str) -> tuple[str, str]:
    statement = statements.sql_shape(sql)[: statements.STATEMENT_CHARACTERS]
    return statement, statements.fingerprint("postgres", statement)
