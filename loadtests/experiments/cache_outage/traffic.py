"""The requests of clients at a fixed rate, and the site's log."""

import http.client
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Final

from config.stack.process import wait_until
from loadtests.generators.http_load import (
    Call,
    Sample,
    UnexpectedResponse,
    connected,
    create_note,
    fetch,
    send_now,
)
from loadtests.testbed.site import Site

READ, PAGE, WRITE, HEALTH = "read", "page", "write", "health"
# Of ten requests, in this order; reads of notes that are cached while Redis is up.
_MIX: Final = (READ, READ, PAGE, READ, READ, WRITE, READ, READ, HEALTH, READ)
HOT_NOTES: Final = 20
CACHE_DOWN: Final = "fwd=miss; detail=cache-down"
_WARM_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 0.05
WATCHED_NOTES: Final = 40  # cached beforehand, and read again after the outage only
_OWNER: Final = {"X-User-Id": "outage", "Content-Type": "application/json"}


class Traffic:
    """Endless requests. Each has an id with its phase and kind, which is its name and stands in the logs."""

    def __init__(self, site: Site) -> None:
        self._url = site.url
        self._run = secrets.token_hex(4)
        self._numbers = count()
        self.phase = "up"
        page = fetch(site.url, f"/api/v1/notes?cursor=&limit={HOT_NOTES + WATCHED_NOTES}")
        notes = [note["id"] for note in page["results"]]
        self._hot, self._watched = notes[:HOT_NOTES], notes[HOT_NOTES:]
        self._own = create_note(site.url, _OWNER["X-User-Id"], "Outage")

    def calls(self) -> Iterator[Call]:
        """Yield requests of the present phase."""
        while True:
            number = next(self._numbers)
            kind = _MIX[number % len(_MIX)]
            name = self.marker(self.phase, kind) + str(number)
            headers = _OWNER | {"X-Request-ID": name}
            if kind == WRITE:
                body = json.dumps({"title": f"Outage {number}"})
                yield Call(name, f"/api/v1/notes/{self._own}", "PATCH", headers, body)
            else:
                path = {
                    READ: f"/api/v1/notes/{self._hot[number % HOT_NOTES]}",
                    PAGE: "/api/v1/notes?userId=abc",
                    HEALTH: "/health",
                }[kind]
                yield Call(name, path, headers=headers)

    def marker(self, phase: str, kind: str = "") -> str:
        """Return how the ids of a phase's requests begin."""
        return f"outage-{self._run}-{phase}-{kind}{kind and '-'}"

    def warm_up(self) -> None:
        """Read every note so that it is cached. Raises UnexpectedResponse if one is not."""
        for note in (*self._hot, *self._watched):
            # The lease, and so the cache, may be away for a moment on a busy machine.
            if not wait_until(lambda note=note: self._is_hit(note), _WARM_SECONDS):  # type: ignore[misc]
                raise UnexpectedResponse(f"note {note} is not cached while Redis is up")

    def _is_hit(self, note: str) -> bool:
        return self._twice(note)[1].cache.startswith("hit")

    def read_watched(self) -> list[tuple[Sample, Sample]]:
        """Read each of the watched notes twice."""
        return [self._twice(note) for note in self._watched]

    def read_both_ways(self, times: int) -> list[tuple[float, float]]:
        """Return the latencies in ms of a cached read and of one past the cache, in turn."""
        path = f"/api/v1/notes/{self._hot[0]}"
        calls = Call("", path), Call("", path, headers={"Cache-Control": "no-store"})
        with connected(self._url) as connection:
            return [
                (
                    send_now(connection, calls[0]).latency_ms,
                    send_now(connection, calls[1]).latency_ms,
                )
                for _ in range(times)
            ]

    def _twice(self, note: str) -> tuple[Sample, Sample]:
        with connected(self._url) as connection:
            connection.connect()
            call = Call("", f"/api/v1/notes/{note}")
            return _read(connection, call), _read(connection, call)


def _read(connection: http.client.HTTPConnection, call: Call) -> Sample:
    """
    Return the answer of a process that has the lease, or the last within some seconds.

    On a busy machine a lease lapses for a moment. A read without it neither uses nor changes the copy.
    """
    until = time.monotonic() + _WARM_SECONDS
    while (sample := send_now(connection, call)).cache == CACHE_DOWN and time.monotonic() < until:
        time.sleep(_AGAIN_SECONDS)
    return sample


@dataclass(frozen=True)
class Event:
    """A line of the site's log."""

    at: float  # Unix time
    level: str
    state: str  # of the breaker before Redis: open, closed, or empty for other lines
    text: str


class SiteLog:
    """The site's log from now on."""

    def __init__(self, site: Site) -> None:
        self._file: Path = site.stack.folder / "site.log"
        self._position = self._file.stat().st_size

    def read(self) -> list[Event]:
        """Return what has been logged since; a line that is not an event, such as of a traceback, counts as an error."""
        with self._file.open("rb") as log:
            log.seek(self._position)
            return [event_of(line) for line in log.readlines() if line.strip()]


def event_of(line: bytes) -> Event:
    """Return the event of a line."""
    try:
        fields = json.loads(line)
        at = datetime.fromisoformat(fields["timestamp"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return Event(0.0, "error", "", line.decode(errors="replace").strip())
    is_cache = str(fields.get("event", "")).startswith("Cache ")
    state = str(fields.get("state", "")) if is_cache else ""
    return Event(at, str(fields.get("level", "")), state, str(fields.get("event", "")))


def states(events: list[Event]) -> Counter[str]:
    """Return how often the breaker before Redis opened and closed."""
    return Counter(event.state for event in events if event.state)
