"""HTTP load on loopback: closed loop for throughput, open loop for what one request sees."""

import http.client
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Call:
    """One kind of request."""

    name: str
    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None


@dataclass(frozen=True)
class Sample:
    """What one request saw. at and latency count from when it was meant to start, in seconds."""

    call: str
    at: float
    latency_ms: float
    status: int  # 0: no answer
    cache: str = ""  # Cache-Status, without the name of the cache
    retry_after: str = ""
    body: bytes = b""


def address(url: str) -> tuple[str, int]:
    """Return host and port. Raises ValueError for any host that is not this machine."""
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK or parts.port is None:
        raise ValueError(f"{url}: load goes to loopback only, with a port")
    return parts.hostname, parts.port


@contextmanager
def connected(url: str) -> Iterator[http.client.HTTPConnection]:
    """Yield a keep-alive connection to the site."""
    host, port = address(url)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        yield connection
    finally:
        connection.close()


def send(connection: http.client.HTTPConnection, call: Call, meant: float, zero: float) -> Sample:
    """Send one request; meant and zero are readings of time.perf_counter."""
    try:
        connection.request(call.method, call.path, call.body, dict(call.headers))
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return Sample(call.name, meant - zero, (time.perf_counter() - meant) * 1000, 0)
    return Sample(
        call.name,
        meant - zero,
        (time.perf_counter() - meant) * 1000,
        response.status,
        response.headers.get("Cache-Status", "").removeprefix("trilith; "),
        response.headers.get("Retry-After", ""),
        body,
    )


def ask(url: str, call: Call) -> Sample:
    """Send one request over a connection of its own, now."""
    now = time.perf_counter()
    with connected(url) as connection:
        return send(connection, call, now, now)


def closed_loop(url: str, call: Call, *, connections: int, seconds: float) -> list[Sample]:
    """Send over so many connections, each its next request when the last was answered."""
    zero = time.perf_counter()
    collected: list[list[Sample]] = [[] for _ in range(connections)]

    def client(samples: list[Sample]) -> None:
        with connected(url) as connection:
            while time.perf_counter() - zero < seconds:
                samples.append(send(connection, call, time.perf_counter(), zero))

    threads = [threading.Thread(target=client, args=(samples,)) for samples in collected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [sample for samples in collected for sample in samples]


class OpenLoop:
    """
    Requests at times fixed beforehand, whatever the site does.

    A stalled answer does not hold the next question back, and its wait is counted from when it
    was meant to start, so a stall is not hidden (coordinated omission).
    """

    def __init__(self, url: str, *, per_second: float) -> None:
        self._url = url
        self._interval = 1 / per_second
        self._pool = ThreadPoolExecutor(128)
        self._waiting: list[Future[Sample]] = []
        self.zero = time.perf_counter()

    def run(self, calls: Iterator[Call], *, seconds: float) -> None:
        """Send the calls one after the other for so long; answers may come later."""
        began = time.perf_counter()
        pause = threading.Event()
        for number, call in enumerate(calls):
            meant = began + number * self._interval
            if meant - began >= seconds:
                return
            pause.wait(max(0.0, meant - time.perf_counter()))
            self._waiting.append(self._pool.submit(self._one, call, meant))

    def finish(self) -> list[Sample]:
        """Wait for the answers that are still out; return all samples."""
        samples = [future.result() for future in self._waiting]
        self._pool.shutdown()
        return samples

    def now(self) -> float:
        """Return the seconds since the loop was made."""
        return time.perf_counter() - self.zero

    def _one(self, call: Call, meant: float) -> Sample:
        with connected(self._url) as connection:
            return send(connection, call, meant, self.zero)
