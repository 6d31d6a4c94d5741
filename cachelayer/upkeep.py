"""What each worker does for the first level: it keeps the file mapped, a listener running, and the copies few."""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from django.conf import settings

from cachelayer import first_level, metrics, slots
from cachelayer.conf import config
from cachelayer.namespace import register_name, stamp_name
from cachelayer.supervision import supervise

log = structlog.get_logger("cachelayer")

ROUND_SECONDS: Final = 0.5
SWEEP_SECONDS: Final = 5.0  # what was purged leaves memory within so long, and a round

_END_SECONDS: Final = 2.0


class Upkeep:
    """
    One worker's part. Of all workers of a host one has the listener: the one that locked the file.

    The listener has the lock as well, so that no second one begins before the first has ended.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._listener: subprocess.Popen[bytes] | None = None
        self._inode = 0  # of the file that the listener was started for
        self._swept_at = time.monotonic()
        self._reason: str | None = ""  # that was logged last
        self._evictions = 0  # that were counted

    def run(self) -> None:
        """Go on until stopped; then end the listener, if it is ours."""
        try:
            while not self.stopping.wait(ROUND_SECONDS):
                self.round()
        finally:
            self._end_listener()

    def round(self) -> None:
        """Do what is due."""
        slots.attach()
        self._watch_listener()
        if time.monotonic() - self._swept_at > SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            first_level.copies.sweep()
        self._show()

    def _watch_listener(self) -> None:
        file = slots.path()
        inode = file.stat().st_ino if slots.mapped() else 0
        listener = self._listener
        if listener is not None and (listener.poll() is not None or inode != self._inode):
            log.info("listener ended", operation="listen", status=listener.poll())
            self._end_listener()
        if self._listener is None and inode and config().FIRST_LEVEL_BYTES:
            self._listener, self._inode = _started(file), inode

    def _end_listener(self) -> None:
        if self._listener is None:
            return
        try:
            self._listener.communicate(timeout=_END_SECONDS)  # the end of its input ends it
        except subprocess.TimeoutExpired:
            self._listener.kill()
            self._listener.wait()
        self._listener = None

    def _show(self) -> None:
        """Show what there is; log once that the level went on or off."""
        reason = first_level.reason_off()
        figures = first_level.copies.figures()
        metrics.FIRST_LEVEL_ON.set(reason is None)
        metrics.FIRST_LEVEL_PROCESSES.set(1)
        metrics.FIRST_LEVEL_COPIES.set(figures["copies"])
        metrics.FIRST_LEVEL_BYTES.set(figures["bytes"])
        metrics.FIRST_LEVEL_EVICTIONS.inc(figures["evictions"] - self._evictions)
        self._evictions = figures["evictions"]
        if reason == self._reason:
            return
        self._reason = reason
        if self._listener is not None:  # one line for each host
            state = "on" if reason is None else "off"
            log.warning("First level", operation="listen", state=state, reason=reason)


def start_in_background() -> Upkeep:
    """Run the upkeep in a supervised thread of this process."""
    upkeep = Upkeep()
    supervise("cache-first-level", upkeep.run, stopping=upkeep.stopping)
    return upkeep


def _started(file: Path) -> "subprocess.Popen[bytes] | None":
    """Start the listener, unless another worker has it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        listener = subprocess.Popen(
            [sys.executable, "-m", "cachelayer.listener"],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            pass_fds=[descriptor],
        )
    except BlockingIOError:
        return None
    finally:
        os.close(descriptor)
    configuration = {
        **_server(settings.CACHES["default"]),
        "file": str(file),
        "stamps": stamp_name(""),
        "register": register_name(),
    }
    if listener.stdin is not None:
        listener.stdin.write(json.dumps(configuration).encode() + b"\n")
        listener.stdin.flush()
    return listener


def _server(cache: dict[str, Any]) -> dict[str, Any]:
    """Return of the listener's configuration how to reach the server of a cache of django-redis."""
    url, options = cache["LOCATION"], cache.get("OPTIONS", {})
    if "SENTINELS" not in options:
        return {"url": url}
    to_sentinel = options.get("SENTINEL_KWARGS") or {}
    return {
        "url": url,
        "sentinels": options["SENTINELS"],
        # The listener has time limits and retries of its own.
        "to_sentinel": {
            name: value for name, value in to_sentinel.items() if isinstance(value, str | int)
        },
        "service": options.get("CONNECTION_POOL_KWARGS", {}).get("service_name")
        or urlsplit(url).hostname,
        "username": options.get("USERNAME") or None,
        "password": options.get("PASSWORD") or None,
    }
