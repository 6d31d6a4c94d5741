"""Many requests at one instant over so many connections, as `ab -n REQUESTS -c AT_ONCE` sends them."""

import asyncio
import time
from collections.abc import Iterator, Sequence

from loadtests.load import TIMEOUT_SECONDS, Call, Sample, address


def burst(url: str, calls: Sequence[Call], *, at_once: int) -> list[Sample]:
    """
    Open the connections, send a request on each, and on each the next when the last was answered.

    Return the samples in the order in which they were answered; at counts from the first request.
    """
    return asyncio.run(_burst(*address(url), iter(calls), at_once))


async def _burst(host: str, port: int, calls: Iterator[Call], at_once: int) -> list[Sample]:
    opened = [await asyncio.open_connection(host, port) for _ in range(at_once)]
    samples: list[Sample] = []
    zero = time.perf_counter()
    try:
        await asyncio.gather(*(_client(one, calls, samples, zero) for one in opened))
    finally:
        for _, writer in opened:
            writer.close()
    return samples


async def _client(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    calls: Iterator[Call],
    samples: list[Sample],
    zero: float,
) -> None:
    reader, writer = connection
    for call in calls:
        sent = time.perf_counter()
        headers = {"Host": "127.0.0.1", **call.headers}
        lines = [f"{call.method} {call.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, told, body = await _answer(reader)
        except (OSError, EOFError, TimeoutError):
            status, told, body = 0, {}, b""
        latency_ms = (time.perf_counter() - sent) * 1000
        cache = told.get("cache-status", "").removeprefix("trilith; ")
        samples.append(Sample(call.name, sent - zero, latency_ms, status, cache, body=body))
        if status == 0:
            return


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers by their names in lower case, and body."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
    pairs = (line.partition(":") for line in lines if line)
    told = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(told.get("content-length", "0")))
    return int(first.split()[1]), told, body
