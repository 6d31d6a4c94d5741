"""What a write leaves undone when it is answered: collected, and done for many at once by a thread."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from django.db import connections

from cachelayer.supervision import supervise

T = TypeVar("T")

# Well below outbox.OWN_DELIVERY_SECONDS, after which the relay would deliver the rows again.
_COLLECTING_SECONDS: Final = 0.05


class Later(Generic[T]):
    """
    Items that one call handles together: every 50 ms, in a process that serves requests.

    A process that ends takes those of the last 50 ms with it. handle survives the errors that it expects.
    """

    def __init__(self, name: str, handle: Callable[[list[T]], None]) -> None:
        self.is_running = False
        self._name = name
        self._handle = handle
        self._items: deque[T] = deque()
        self._added = threading.Event()

    def add(self, item: T) -> None:
        """Have an item handled: soon where a thread runs, else before this returns."""
        self._items.append(item)
        if not self.is_running:
            self.flush()
        elif not self._added.is_set():
            self._added.set()

    def flush(self) -> None:
        """Handle the items that were added so far."""
        items = []
        with contextlib.suppress(IndexError):  # another thread may take some
            for _ in range(len(self._items)):
                items.append(self._items.popleft())
        self._handle(items)

    def start_in_background(self) -> None:
        """Start the thread of this process."""
        self.is_running = True
        supervise(self._name, self._run)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._added.wait()
            pause.wait(_COLLECTING_SECONDS)
            self._added.clear()
            self.flush()
            connections.close_all()  # requests may be waiting for the pool's
