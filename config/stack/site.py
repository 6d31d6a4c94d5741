"""
How the site's server process is started: for make run, for the load tests, and in a container.

python -m config.stack.site     serves on PORT (8000) of HOST (0.0.0.0), as the Dockerfile wants it; at SIGTERM
readiness fails for SHUTDOWN_NOTICE_SECONDS (0) before the site stops. Exits with 2 where a variable is no number.
"""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from config.stack.bounded import bounded
from config.stack.loopback import direct
from config.stack.process import StackError, die_with_parent

DRAIN_SECONDS: Final = 10  # how long granian waits for requests in flight
WEB_WORKERS: Final = 2  # by default
WEB_THREADS: Final = 8  # by default, of each worker
WEB_MAX: Final = 1_000  # of either
SPARE_THREADS: Final = 48  # that answer hits, or wait, while WEB_THREADS others work


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
        with direct.open(f"{url}{path}", timeout=3) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def serve(port: int, *, host: str, workers: int, threads: int, notice_seconds: float) -> int:
    """
    Run the site until SIGTERM or SIGINT; return granian's exit status.

    Then readiness fails first, for notice_seconds, so that no balancer sends anything new; only then
    does granian stop, which finishes the requests in flight.
    """
    _empty_metrics()
    stopping = threading.Event()
    # Before there is anything to stop: to a container's first process, a signal without a handler is nothing.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopping.set())
    with tempfile.TemporaryDirectory(prefix="trilith-") as folder:
        draining = Path(folder) / "draining"
        granian = subprocess.Popen(
            site_command(port, workers=workers, threads=threads + SPARE_THREADS, host=host),
            env={**os.environ, "DRAINING_FILE": str(draining)},
            preexec_fn=die_with_parent,
        )
        while granian.poll() is None and not stopping.wait(0.1):
            pass
        if granian.poll() is None:
            draining.touch()
            with contextlib.suppress(subprocess.TimeoutExpired):
                granian.wait(notice_seconds)
            granian.terminate()
        return granian.wait()


def _empty_metrics() -> None:
    """Delete what the processes of an earlier run have counted: a folder outlives a container that restarts."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for left in Path(folder).glob("*.db") if folder else ():
        left.unlink()


def port_from_environment() -> int:
    """Return PORT. Raises StackError where that is no port number."""
    text = os.environ.get("PORT")
    return bounded("PORT", text, int, "port number", default=8000, minimum=1, maximum=65_535)


def main() -> int:
    """Serve as the environment says; return the exit status."""

    def web(name: str, default: int) -> int:
        text = os.environ.get(name)
        return bounded(name, text, int, "whole number", default=default, minimum=1, maximum=WEB_MAX)

    try:
        port = port_from_environment()
        workers, threads = web("WEB_WORKERS", WEB_WORKERS), web("WEB_THREADS", WEB_THREADS)
        notice_seconds = bounded(
            "SHUTDOWN_NOTICE_SECONDS",
            os.environ.get("SHUTDOWN_NOTICE_SECONDS"),
            float,
            "number",
            default=0,
            minimum=0,
            maximum=3600,
        )
    except StackError as exc:
        print(f"site: {exc}", file=sys.stderr)
        return 2
    return serve(
        port,
        host=os.environ.get("HOST") or "0.0.0.0",  # noqa: S104  # of a container, which publishes what it wants
        workers=workers,
        threads=threads,
        notice_seconds=notice_seconds,
    )


if __name__ == "__main__":
    sys.exit(main())
