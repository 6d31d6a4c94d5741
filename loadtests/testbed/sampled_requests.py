"""
One request to the site's WSGI application again and again in this process, sampled by processor time.

Run as a process of its own with the site's environment and a JSON object in its argument: path, method,
headers, body and seconds. It prints JSON: how many requests, microseconds of processor time and in all for
each, and how many samples fell on each part. A part is a module of this project, or a package; what the
standard library does counts for whoever called it. There is no server and no socket for HTTP here.
"""

import io
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from types import FrameType
from typing import Any

from config.stack import ROOT
from config.wsgi import application

_SAMPLE_SECONDS = 0.001
_WARM_UP_SECONDS = 6.0  # a process shares copies only a while after its start
_PACKAGES = "/site-packages/"
_samples: Counter[str] = Counter()
_parts: dict[str, str] = {}


def _part(file: str) -> str:
    """Return the part that a file belongs to; empty for the standard library."""
    _, is_package, inside = file.partition(_PACKAGES)
    if is_package:
        return inside.partition("/")[0].removesuffix(".py")
    return os.path.relpath(file, ROOT) if file.startswith(f"{ROOT}/") else ""


def _sample(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in _parts:
            _parts[file] = _part(file)
        if _parts[file]:
            _samples[_parts[file]] += 1
            return
        frame = frame.f_back


def _environ(request: dict[str, Any]) -> dict[str, Any]:
    path, _, query = request["path"].partition("?")
    headers = {
        f"HTTP_{name.upper().replace('-', '_')}": value
        for name, value in request["headers"].items()
        if name.lower() != "content-type"
    }
    content = {}
    if request["body"]:
        length = len(request["body"].encode())
        content = {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(length)}
    return {
        "REQUEST_METHOD": request["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **headers,
        **content,
    }


def _send(environ: dict[str, Any], body: bytes) -> str:
    statuses: list[str] = []
    response = application(
        environ | {"wsgi.input": io.BytesIO(body)},
        lambda status, headers, exc_info=None: statuses.append(status),
    )
    for _ in response:
        pass
    if hasattr(response, "close"):
        response.close()
    return statuses[0]


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Send the request for so many seconds; return the figures. Raises SystemExit where one is refused."""
    environ = _environ(request)
    body = request["body"].encode()
    until = time.monotonic() + _WARM_UP_SECONDS
    while time.monotonic() < until:
        status = _send(environ, body)
        if not status.startswith(("2", "304")):
            raise SystemExit(f"{request['method']} {request['path']}: {status}")
        threading.Event().wait(0.01)
    signal.signal(signal.SIGPROF, _sample)
    signal.setitimer(signal.ITIMER_PROF, _SAMPLE_SECONDS, _SAMPLE_SECONDS)
    began, spent, requests = time.perf_counter(), time.thread_time(), 0
    while time.perf_counter() - began < request["seconds"]:
        _send(environ, body)
        requests += 1
    elapsed_us = 1e6 * (time.perf_counter() - began) / requests
    processor_us = 1e6 * (time.thread_time() - spent) / requests
    signal.setitimer(signal.ITIMER_PROF, 0)
    return {
        "requests": requests,
        "elapsed_us": elapsed_us,
        "processor_us": processor_us,
        "samples": _samples,
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
    os._exit(0)  # its threads in the background have nothing to end in order
