"""What a failing server means: stop asking it, try it in the background, trust it again."""

import functools
import random
import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

from cachelayer.supervision import supervise

log = structlog.get_logger("cachelayer")

_CONSECUTIVE_FAILURES = 3  # a server that hangs answers nothing at all
_WINDOW = 20  # calls over which the ratio is computed
_RATIO = 0.5  # of failures in the window, for a server that answers now and then
_SETTLED_SECONDS = 60.0  # closed for so long, the next opening starts at the minimum again


class Breaker:
    """
    Closed: calls go to the server. Open: they do not, and cost nothing.

    No request ever probes. While open, a thread of this process runs recover() after
    first_seconds, twice that, ... longest_seconds (each with jitter), and closes the breaker
    when that succeeds and no call failed meanwhile. recover must raise where the server does not
    answer. At most one thread probes, also where the breaker was reset and opened anew meanwhile.
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
        self._disturbed = False
        self._closed = threading.Event()  # set once what opened last is over
        self.is_open = False
        self.when_changed: Callable[[bool], None] = lambda is_open: None

    def succeeded(self) -> None:
        """Count a call that the server answered."""
        self._consecutive = 0
        self._outcomes.append(True)

    def failed(self, reason: Exception, *, opens: bool) -> None:
        """Count a call that the server did not answer; opens: do not wait for further ones."""
        with self._lock:
            if self.is_open:
                self._disturbed = True
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
            self._close()
            self.when_changed(False)

    def _close(self) -> None:
        self._consecutive = 0
        self._outcomes.clear()
        self._closed_at = time.monotonic()
        self.is_open = False
        self._closed.set()

    def _open(self, reason: Exception) -> None:
        if time.monotonic() - self._closed_at > _SETTLED_SECONDS:
            self._open_seconds = self._first_seconds
        closed = threading.Event()
        probe = functools.partial(self._probe, self._open_seconds, closed)
        try:
            supervise(f"{self._name} breaker", probe, stopping=closed)
        except RuntimeError:  # the system starts no thread: nothing would close it again
            log.exception("breaker not opened", operation="breaker")
            return
        self.is_open = True
        self._closed = closed
        self._announce("unavailable", "open", reason=str(reason).split("\n")[0])

    def _announce(self, event: str, state: str, **facts: str) -> None:
        self.when_changed(state == "open")
        message = f"{self._name} {event}"
        log.warning(message, operation="breaker", state=state, **facts)

    def _probe(self, seconds: float, closed: threading.Event) -> None:
        while not closed.wait(seconds * random.uniform(0.5, 1.0)):  # noqa: S311  # jitter
            if self._recovered(closed):
                return
            if closed.is_set():
                return
            seconds = self._open_seconds = min(self._open_seconds * 2, self._longest_seconds)

    def _recovered(self, closed: threading.Event) -> bool:
        """Probe once; close and return True, unless the probe or any call meanwhile failed."""
        with self._lock:
            if closed.is_set():
                return False  # closed by hand meanwhile
            self._disturbed = False
        try:
            self._recover()
        except Exception as exc:  # noqa: BLE001  # whatever it is, the server is not to be trusted
            log.debug("probe failed", operation="breaker", reason=str(exc))
            failed = True
        else:
            failed = False
        with self._lock:
            if closed.is_set():
                return False  # what was opened since has a probe of its own
            if failed or self._disturbed:
                return False
            self._close()
            self._announce("available again", "closed")
        return True
