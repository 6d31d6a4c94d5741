"""
How the site's server process is started: for make run, for the load tests, and in a container.

python -m config.stack.site     becomes granian on port 8000 of every interface, as the Dockerfile wants it
"""

import http.client
import os
import sys
import urllib.request
from typing import Final

DRAIN_SECONDS: Final = 10  # how long granian waits for requests in flight
# The site is on loopback, which a proxy from the environment could not reach.
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def site_command(
    port: int,
    *,
    workers: int,
    threads: int,
    host: str = "127.0.0.1",
    application: str = "config.wsgi:application",
) -> list[str]:
    """Return granian's command line, with this many worker processes, and threads in each."""
    return [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--http", "1", "--no-ws"),
        *("--host", host, "--port", str(port)),
        *("--workers", str(workers), "--blocking-threads", str(threads), "--backlog", "512"),
        *("--respawn-failed-workers", "--workers-kill-timeout", str(DRAIN_SECONDS)),
        *("--log-level", "error", application),
    ]


def is_answering(url: str, path: str = "/health/live") -> bool:
    """Return whether the site at url answers 200 at path, without any proxy."""
    try:
        with _direct.open(f"{url}{path}", timeout=3) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    _command = site_command(
        8000,
        workers=int(os.environ.get("WEB_WORKERS") or 2),
        threads=int(os.environ.get("WEB_THREADS") or 16),
        host="0.0.0.0",  # noqa: S104  # of a container, which publishes what it wants
    )
    os.execv(_command[0], _command)  # noqa: S606  # no shell is wanted
