"""
A closed loop by wrk, for the bench: it sends faster than the fastest site answers.

It runs on one thread, reads status and length of each response and nothing else, and takes a few
microseconds for a request, where the loop of http_load takes several hundred.
"""

import json
import math
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.stack.process import StackError
from loadtests.generators.http_load import TIMEOUT_SECONDS, Call, UnexpectedResponse, address

_SCRIPT: Final = Path(__file__).with_suffix(".lua")
_INSTALL: Final = "install it: apt-get install wrk (Debian, Ubuntu), brew install wrk (macOS)"


@dataclass(frozen=True)
class Load:
    """What a closed loop saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int  # no response within TIMEOUT_SECONDS, or a status of 400 and above

    @property
    def per_second(self) -> float:
        """The throughput."""
        return self.requests / self.seconds


def require_wrk() -> None:
    """Raise StackError where wrk is not installed."""
    if shutil.which("wrk") is None:
        raise StackError(f"wrk, which makes the load, is not on PATH; {_INSTALL}")


def saturate(
    url: str,
    calls: Sequence[Call],
    *,
    connections: int,
    seconds: float,
    order: Sequence[int] | None = None,
    first: int = 0,
) -> Load:
    """
    Keep that many connections busy: each sends the next request when its last was answered.

    calls are sent in turn, or as order says, by their indices, over and over. {n} in a body becomes
    a number of its own for each request, from first + 1 on.

    A site on a busy machine may answer nothing in so short a time; then the load is repeated, each
    time twice as long, up to TIMEOUT_SECONDS. Raises StackError where wrk is not installed or fails,
    UnexpectedResponse where even that brings no response.
    """
    require_wrk()
    address(url)
    while True:
        load = _load(url, calls, connections, seconds, order, first)
        if load.requests:
            return load
        if seconds >= TIMEOUT_SECONDS:
            raise UnexpectedResponse(f"{calls[0].path}: no response within {seconds:g} s")
        seconds = min(2 * seconds, TIMEOUT_SECONDS)


def _load(
    url: str,
    calls: Sequence[Call],
    connections: int,
    seconds: float,
    order: Sequence[int] | None,
    first: int,
) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_script(calls, range(len(calls)) if order is None else order, first))
        script.flush()
        command = [
            *("wrk", "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{math.ceil(seconds) + 1}s", "--timeout", f"{TIMEOUT_SECONDS:.0f}s"),
            *("--script", script.name, url),
        ]
        output = _run(command, seconds)
    try:
        return Load(**json.loads(output.strip().splitlines()[-1]))
    except (IndexError, ValueError, TypeError) as exc:
        raise StackError(f"wrk wrote no figures, but: {output.strip() or 'nothing'}") from exc


def _run(command: Sequence[str], seconds: float) -> str:
    """Run wrk and interrupt it after so long, which it takes to the millisecond; return its output."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=TIMEOUT_SECONDS)[0]
        except subprocess.TimeoutExpired as exc:
            raise StackError(f"wrk did not end within {TIMEOUT_SECONDS:g} s") from exc
        finally:
            process.kill()


def _script(calls: Sequence[Call], order: Sequence[int], first: int) -> str:
    return "\n".join(
        [
            f"first = {first}",
            f"calls = {{{', '.join(map(_call, calls))}}}",
            f"order = {{{', '.join(str(index + 1) for index in order)}}}",
            _SCRIPT.read_text(),
        ]
    )


def _call(call: Call) -> str:
    headers = ", ".join(f"[{_text(name)}] = {_text(value)}" for name, value in call.headers.items())
    body = "nil" if call.body is None else _text(call.body)
    return f"{{{_text(call.method)}, {_text(call.path)}, {{{headers}}}, {body}}}"


def _text(text: str) -> str:
    """Return a string of Lua, with decimal escapes for bytes beyond printable ASCII."""
    plain = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03d}"
        for byte in text.encode()
    )
    return f'"{"".join(plain)}"'
