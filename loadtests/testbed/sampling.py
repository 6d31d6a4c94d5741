"""A value read again and again while something else goes on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def sampled(read: Callable[[], T], *, every_seconds: float) -> Iterator[list[T]]:
    """Yield a list to which a thread adds what read returns, at once and then at intervals, for the block."""
    samples: list[T] = []
    over = threading.Event()

    def sample() -> None:
        while True:
            samples.append(read())
            if over.wait(every_seconds):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()
