"""Bounded lists of rows in Redis, written by a background thread."""

import contextlib
import functools
import threading
from collections import deque
from typing import Any, Final

import msgspec
import redis
import structlog
from prometheus_client import Counter

from cachelayer.client import CacheDown, execute
from cachelayer.namespace import record_name
from cachelayer.supervision import supervise

log = structlog.get_logger("cachelayer")

TTL_SECONDS: Final = 7 * 24 * 3600  # after the last addition
_PENDING_MAX: Final = (
    1_000  # rows of this process that wait for Redis; beyond, the oldest are dropped
)
_BATCH: Final = 100
_RETRY_SECONDS: Final = 1.0
DROPPED: Final = Counter(
    "capped_list_rows_dropped", "Rows dropped while Redis did not answer or was full"
)
_decoder: Final = msgspec.json.Decoder(dict[str, Any])


class CappedList:
    """
    The newest rows of all processes, each a JSON object.

    add only queues the row; a thread, started by the first one, writes. While Redis does not
    answer, rows wait in the process and the oldest are dropped and counted, as are those that a
    full Redis refuses. Redis may evict or lose the list; then it starts empty.
    """

    def __init__(self, name: str, *, rows_max: int) -> None:
        self._name = name
        self._rows_max = rows_max

    def add(self, row: dict[str, Any]) -> None:
        """Queue the row for writing. Never fails because of Redis."""
        _writer.add(record_name("kept", self._name), self._rows_max, msgspec.json.encode(row))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows, newest first, without those that are not JSON objects. Raises CacheDown."""
        name = record_name("kept", self._name)
        replies: Any = execute("kept", lambda r: r.lrange(name, 0, self._rows_max - 1))
        rows = []
        for reply in replies:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                rows.append(_decoder.decode(reply))
        return rows

    def count_and_newest(self) -> tuple[int, dict[str, Any] | None]:
        """Return how many rows are stored, and the newest; one round trip. Raises CacheDown."""
        name = record_name("kept", self._name)

        def pipeline(r: redis.Redis) -> Any:
            pipe = r.pipeline(transaction=False)
            pipe.llen(name)
            pipe.lindex(name, 0)
            return pipe.execute()

        count, newest = execute("kept", pipeline)
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            return int(count), _decoder.decode(newest) if newest else None
        return int(count), None


def flush() -> None:
    """Write the queued rows of this process now. Raises CacheDown, and keeps them queued."""
    _writer.flush()


class _Writer:
    def __init__(self) -> None:
        self._pending: deque[tuple[str, int, bytes]] = deque()
        self._lock = threading.Lock()  # of the deque and the thread
        self._writing = threading.Lock()  # held while a batch is under way
        self._has_rows = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, name: str, rows_max: int, row: bytes) -> None:
        with self._lock:
            if len(self._pending) >= _PENDING_MAX:
                self._pending.popleft()
                DROPPED.inc()
            self._pending.append((name, rows_max, row))
            if self._thread is None or not self._thread.is_alive():  # a fork has none
                self._thread = supervise("kept", self._run)
        self._has_rows.set()

    def flush(self) -> None:
        with self._writing:
            while batch := self._take():
                try:
                    replies = execute("keep", functools.partial(_write, batch))
                except Exception:
                    self._put_back(batch)
                    raise
                pushed = replies[: len(batch)]
                DROPPED.inc(sum(isinstance(reply, redis.RedisError) for reply in pushed))

    def _put_back(self, batch: list[tuple[str, int, bytes]]) -> None:
        """Queue the batch again in front of the newer rows, as far as there is room."""
        with self._lock:
            dropped = max(0, len(batch) + len(self._pending) - _PENDING_MAX)
            self._pending.extendleft(reversed(batch[dropped:]))
            DROPPED.inc(min(dropped, len(batch)))

    def _take(self) -> list[tuple[str, int, bytes]]:
        with self._lock:
            return [self._pending.popleft() for _ in range(min(_BATCH, len(self._pending)))]

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._has_rows.wait()
            self._has_rows.clear()
            try:
                self.flush()
            except CacheDown:
                pause.wait(_RETRY_SECONDS)
                self._has_rows.set()


def _write(batch: list[tuple[str, int, bytes]], r: redis.Redis) -> Any:
    pipe = r.pipeline(transaction=False)
    for name, _, row in batch:
        pipe.lpush(name, row)
    for name, rows_max in {(name, rows_max) for name, rows_max, _ in batch}:
        pipe.ltrim(name, 0, rows_max - 1)
        pipe.expire(name, TTL_SECONDS)
    # A full Redis refuses these, which does not mean that it is down.
    return pipe.execute(raise_on_error=False)


_writer = _Writer()
