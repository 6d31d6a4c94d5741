"""What a failing server means: stop asking it, try it in the background, trust it again."""

import random
import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

log = structlog.get_logger("cachelayer")

_CONSECUTIVE_FAILURES = 3  # a server that hangs answers nothing at all
_WINDOW = 20  # calls over which the ratio is taken
_RATIO = 0.5  # of failures in the window, for a server that answers now and then
_SETTLED_SECONDS = 60.0  # closed for so long, the next opening starts at the minimum again


class Breaker:
    """
    Closed: calls go to the server. Open: they do not, and cost nothing.

    No request ever probes. While open, a thread of this process runs recover() after
    first_seconds, twice that, ... longest_seconds (each with jitter), and closes the breaker
    when that succeeds. recover must raise where the server does not answer.
    """

    def __init__(
        self,
        name: str,
        recover: Callable[[], None],
        *,
        first_seconds: float = 1.0,
        longest_seconds: float = 30.0,
    ) -> None:
        self._name = name
        self._recover = recover
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._lock = threading.Lock()
        self._outcomes: deque[bool] = deque(maxlen=_WINDOW)
        self._consecutive = 0
        self._open_seconds = self._first_seconds
        self._closed_at = 0.0
        self._wake = threading.Event()
        self.is_open = False
        self.opened_count = 0

    def succeeded(self) -> None:
        """Count a call that the server answered."""
        self._consecutive = 0
        self._outcomes.append(True)

    def failed(self, reason: Exception, *, opens: bool) -> None:
        """Count a call that the server did not answer; opens: do not wait for further ones."""
        with self._lock:
            if self.is_open:
                return
            self._consecutive += 1
            self._outcomes.append(False)
            failures = self._outcomes.count(False)
            full = len(self._outcomes) == _WINDOW
            if not (
                opens
                or self._consecutive >= _CONSECUTIVE_FAILURES
                or (full and failures >= _WINDOW * _RATIO)
            ):
                return
            self._open(reason)

    def reset(self) -> None:
        """Close, and forget the failures."""
        with self._lock:
            self._consecutive = 0
            self._outcomes.clear()
            self._closed_at = time.monotonic()
            self.is_open = False

    def _open(self, reason: Exception) -> None:
        if time.monotonic() - self._closed_at > _SETTLED_SECONDS:
            self._open_seconds = self._first_seconds
        self.is_open = True
        self.opened_count += 1
        self._wake.clear()
        event = f"{self._name} unavailable"
        log.warning(event, operation="breaker", state="open", reason=str(reason).split("\n")[0])
        threading.Thread(target=self._probe, name=f"{self._name} breaker", daemon=True).start()

    def _probe(self) -> None:
        while True:
            pause = self._open_seconds * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
            self._wake.wait(pause)
            self._open_seconds = min(self._open_seconds * 2, self._longest_seconds)
            try:
                self._recover()
            except Exception as exc:  # noqa: BLE001  # a dead probe would leave it open for good
                log.debug("probe failed", operation="breaker", reason=str(exc))
                continue
            self.reset()
            event = f"{self._name} available again"
            log.warning(event, operation="breaker", state="closed")
            return
