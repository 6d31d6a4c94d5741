"""Single flight in a process: of those who miss the same key, one loads."""

import threading
from collections.abc import Hashable
from typing import Any


class Flight:
    """One load under way. Followers wait for it; what they may take is the leader's to say."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self.result: Any = None
        self.shared = False
        self.error: BaseException | None = None

    def finish(self, result: Any, *, shared: bool) -> None:
        """Wake the followers; shared: they may take the result, else they look again."""
        self.result, self.shared = result, shared
        self._done.set()

    def fail(self, error: BaseException) -> None:
        """Wake the followers with the leader's error."""
        self.error = error
        self._done.set()

    def wait(self, seconds: float) -> bool:
        """Wait for the leader; return False where the deadline passed first."""
        return self._done.wait(seconds)


class Flights:
    """
    While Redis answers: followers join a load that runs, until it is closed.

    The leader closes the flight before it reports the end of its load to Redis. Whoever comes
    later, perhaps after an invalidation, starts over; so a result that Redis accepted is
    newer than every invalidation that a follower can have waited for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, Flight] = {}

    def join(self, name: Hashable) -> tuple[Flight, bool]:
        """Return the flight of that name, and whether the caller leads it."""
        with self._lock:
            flight = self._running.get(name)
            if flight is not None:
                return flight, False
            flight = self._running[name] = Flight()
            return flight, True

    def close(self, name: Hashable, flight: Flight) -> None:
        """Let nobody join any more; harmless when repeated."""
        with self._lock:
            if self._running.get(name) is flight:
                del self._running[name]


class Batches:
    """
    While Redis does not answer: a caller shares only a load that began after it arrived.

    Nothing tells then whether a running load is older than a write, so arrivals gather for
    the next one, which starts when the running one is over.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Flight] = {}
        self._gathering: dict[str, Flight] = {}

    def join(self, name: str) -> tuple[Flight, Flight | None, bool]:
        """Return the caller's flight, the one to wait for first (if any), and whether it leads."""
        with self._lock:
            running = self._running.get(name)
            if running is None:
                flight = self._running[name] = Flight()
                return flight, None, True
            gathering = self._gathering.get(name)
            if gathering is not None:
                return gathering, None, False
            flight = self._gathering[name] = Flight()
            return flight, running, True

    def depart(self, name: str, flight: Flight) -> None:
        """Close the gathering: the leader's load begins now."""
        with self._lock:
            if self._gathering.get(name) is flight:
                del self._gathering[name]
                self._running[name] = flight

    def land(self, name: str, flight: Flight) -> None:
        """Take the flight out; the next gathering's leader is woken by its finish."""
        with self._lock:
            if self._running.get(name) is flight:
                del self._running[name]
