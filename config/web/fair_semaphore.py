"""A semaphore that lets threads in by the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class FairSemaphore:
    """
    At most so many threads at once in its with block.

    A thread that leaves hands its place on to the one that has waited longest. threading.Semaphore lets whoever
    comes at that moment go first, so that under load some wait many times as long as most.
    """

    def __init__(self, value: int) -> None:
        self._lock = threading.Lock()  # of the two below
        self._free = value
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
