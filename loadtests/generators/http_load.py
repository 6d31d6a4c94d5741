"""HTTP load on loopback, with each response at hand: closed loop, fixed counts, open loop."""

import http.client
import itertools
import json
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
TIMEOUT_SECONDS = 10.0
REFUSED_SECONDS = 60.0
_REFUSED_PAUSE_SECONDS = 0.1


class UnexpectedResponse(Exception):
    """A response is not what the measurement is about."""


@dataclass(frozen=True)
class Call:
    """One kind of request."""

    name: str
    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None

    def numbered(self, number: int) -> "Call":
        """Return the call with the number for each {n} in its body."""
        if self.body is None or "{n}" not in self.body:
            return self
        return replace(self, body=self.body.replace("{n}", str(number)))


@dataclass(frozen=True)
class Sample:
    """What one request saw. at and latency count from when it was due to start, in seconds."""

    call: str
    at: float
    latency_ms: float
    status: int  # 0: no answer
    cache: str = ""  # Cache-Status, without the name of the cache
    retry_after: str = ""
    body: bytes = b""

    @property
    def is_refusal(self) -> bool:
        """Whether it is a 503 that says when to come back."""
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE and bool(self.retry_after)


def address(url: str) -> tuple[str, int]:
    """Return host and port. Raises ValueError for any host that is not this machine."""
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK or parts.port is None:
        raise ValueError(f"{url}: load goes to loopback only, with a port")
    return parts.hostname, parts.port


def connection_to(url: str) -> http.client.HTTPConnection:
    """Return a keep-alive connection to the site, which is made at its first request."""
    host, port = address(url)
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)


@contextmanager
def connected(url: str) -> Iterator[http.client.HTTPConnection]:
    """Yield a keep-alive connection to the site; close it at the end."""
    connection = connection_to(url)
    try:
        yield connection
    finally:
        connection.close()


def send(connection: http.client.HTTPConnection, call: Call, due: float, zero: float) -> Sample:
    """Send one request; due and zero are readings of time.perf_counter."""
    try:
        connection.request(call.method, call.path, call.body, dict(call.headers))
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return Sample(call.name, due - zero, (time.perf_counter() - due) * 1000, 0)
    return Sample(
        call.name,
        due - zero,
        (time.perf_counter() - due) * 1000,
        response.status,
        response.headers.get("Cache-Status", "").removeprefix("trilith; "),
        response.headers.get("Retry-After", ""),
        body,
    )


def send_now(connection: http.client.HTTPConnection, call: Call) -> Sample:
    """Send one request now."""
    return send(connection, call, time.perf_counter(), 0)


def send_once(url: str, call: Call) -> Sample:
    """Send one request now, over a connection of its own."""
    with connected(url) as connection:
        return send_now(connection, call)


def json_call(
    user_id: str, path: str, body: object = None, method: str = "POST", name: str = ""
) -> Call:
    """Return a write of JSON by a user."""
    headers = {"X-User-Id": user_id, "Content-Type": "application/json"}
    return Call(name, path, method, headers, None if body is None else json.dumps(body))


def fetch(url: str, call: Call | str, *, refused_seconds: float = REFUSED_SECONDS) -> Any:
    """
    Send a request, or a GET of a path; return the JSON of the response. It is for what prepares a measurement.

    refused_seconds: for how long a refusal, a 503 with Retry-After, is repeated: a site comes back
    to a store later than the store itself does. So the request must be one that may be repeated.
    Raises UnexpectedResponse for a status that is neither 2xx nor 409, that is: there already.
    """
    call = Call("", call) if isinstance(call, str) else call
    deadline = time.monotonic() + refused_seconds
    while (sample := send_once(url, call)).is_refusal and time.monotonic() < deadline:
        threading.Event().wait(_REFUSED_PAUSE_SECONDS)
    if not 200 <= sample.status < 300 and sample.status != HTTPStatus.CONFLICT:
        still = f", still after {refused_seconds:g} s" if sample.is_refusal else ""
        raise UnexpectedResponse(f"{call.method} {call.path}: status {sample.status}{still}")
    return json.loads(sample.body)


def create_note(url: str, user_id: str, title: str = "Load") -> str:
    """Create a note that nobody has read; return its id. Raises UnexpectedResponse."""
    return str(fetch(url, json_call(user_id, "/api/v1/notes", {"title": title}))["id"])


def closed_loop(
    url: str, call: Call | Sequence[Call], *, connections: int, seconds: float
) -> list[Sample]:
    """
    Keep that many connections busy: each sends its next request when the last was answered.

    Several calls are sent in turn; each connection begins at a different call.
    """
    calls = [call] if isinstance(call, Call) else call
    zero = time.perf_counter()
    collected: list[list[Sample]] = [[] for _ in range(connections)]

    def client(number: int) -> None:
        own = itertools.islice(itertools.cycle(calls), number * len(calls) // connections, None)
        with connected(url) as connection:
            while time.perf_counter() - zero < seconds:
                collected[number].append(send(connection, next(own), time.perf_counter(), zero))

    _in_threads(client, connections)
    return [sample for samples in collected for sample in samples]


def fixed_count(url: str, call: Call, *, requests: int, concurrency: int) -> list[Sample]:
    """
    Send exactly that many requests, with that concurrency, as ab -n REQUESTS -c CONCURRENCY does.

    Each has its own connection, as with ab without -k; connecting is part of its latency.
    """
    zero = time.perf_counter()
    numbers = iter(range(requests))
    taking = threading.Lock()
    collected: list[list[Sample]] = [[] for _ in range(concurrency)]

    def client(number: int) -> None:
        while True:
            with taking:
                if next(numbers, None) is None:
                    return
            began = time.perf_counter()
            with connected(url) as connection:
                collected[number].append(send(connection, call, began, zero))

    _in_threads(client, concurrency)
    return [sample for samples in collected for sample in samples]


def _in_threads(client: Callable[[int], None], number: int) -> None:
    threads = [threading.Thread(target=client, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def intervals(per_second: float, *, seed: int | None = None) -> Iterator[float]:
    """
    Yield the seconds from one arrival to the next, without end.

    All the same, or, with a seed, those of a Poisson process: users who do not know each other.
    """
    if seed is None:
        yield from itertools.repeat(1 / per_second)
    rng = random.Random(seed)  # noqa: S311  # arrivals are no secret
    while True:
        yield rng.expovariate(per_second)


class OpenLoop:
    """
    Requests at times fixed beforehand, independent of the site's responses.

    A stalled response does not delay the next request, and latency counts from when a request
    was due, so a stall is not hidden (coordinated omission). With a seed the times are
    those of a Poisson process. keep_alive: connections that are idle are used again, as a
    browser's or a proxy's are; else each request makes its own.
    """

    def __init__(
        self, url: str, *, per_second: float, seed: int | None = None, keep_alive: bool = False
    ) -> None:
        self._url = url
        self._intervals = intervals(per_second, seed=seed)
        self._pool = ThreadPoolExecutor(128)
        self._waiting: list[Future[Sample]] = []
        self._idle: queue.SimpleQueue[http.client.HTTPConnection] | None = (
            queue.SimpleQueue() if keep_alive else None
        )
        self.zero = time.perf_counter()

    def run(self, calls: Iterator[Call], *, seconds: float) -> None:
        """Send the calls one after the other for so long; answers may come later."""
        began = due = time.perf_counter()
        pause = threading.Event()
        for call in calls:
            if due - began >= seconds:
                return
            pause.wait(max(0.0, due - time.perf_counter()))
            self._waiting.append(self._pool.submit(self._one, call, due))
            due += next(self._intervals)

    def finish(self) -> list[Sample]:
        """Wait for the answers that are still out; return all samples."""
        samples = [future.result() for future in self._waiting]
        self._pool.shutdown()
        while self._idle is not None and not self._idle.empty():
            self._idle.get().close()
        return samples

    def now(self) -> float:
        """Return the seconds since the loop was made."""
        return time.perf_counter() - self.zero

    def _one(self, call: Call, due: float) -> Sample:
        if self._idle is None:
            with connected(self._url) as connection:
                return send(connection, call, due, self.zero)
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = connection_to(self._url)
        sample = send(connection, call, due, self.zero)
        self._idle.put(connection)
        return sample
