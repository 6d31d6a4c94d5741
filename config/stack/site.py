"""How the site's server process is started, for make run and for the load tests alike."""

import http.client
import sys
import urllib.request
from typing import Final

DRAIN_SECONDS: Final = 10  # how long granian waits for requests in flight
# The site is on loopback, which a proxy from the environment could not reach.
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def site_command(
    port: int, *, workers: int, threads: int, application: str = "config.wsgi:application"
) -> list[str]:
    """Return granian's command line, with this many worker processes and threads, on loopback."""
    return [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--http", "1", "--no-ws"),
        *("--host", "127.0.0.1", "--port", str(port)),
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
