"""
Processor time by server: the figure of a request that depends least on what else the machine does.

It is read from /proc over whole trees of processes, in steps of 10 ms for each of them.
"""

from collections.abc import Mapping
from contextlib import suppress
from threading import Event
from typing import Final

import psutil

from loadtests.testbed.site import Site

APPLICATION: Final = "application"
POSTGRES: Final = "postgres"
REDIS: Final = "redis"
MONGODB: Final = "mongodb"
_STEP_SECONDS: Final = 0.3
_IDLE: Final = 0.1  # of one processor
_SETTLE_SECONDS: Final = 120.0


class Processor:
    """The processor time of a site and of each server below it."""

    def __init__(self, site: Site) -> None:
        pids = {status.server: status.pid for status in site.stack.status() if status.pid}
        self._pids: Mapping[str, int] = {APPLICATION: site.pid, **pids}

    def seconds(self) -> dict[str, float]:
        """Return the seconds of user and system time since each was started."""
        return {name: tree_seconds(pid) for name, pid in self._pids.items()}

    def settle(self) -> None:
        """
        Wait until the site and MongoDB are idle, for 2 minutes at most.

        After many reads the site still ships their events, which would slow whatever is measured next.
        """
        pause = Event()
        before = self._busy()
        for _ in range(round(_SETTLE_SECONDS / _STEP_SECONDS)):
            pause.wait(_STEP_SECONDS)
            now = self._busy()
            if now - before < _IDLE * _STEP_SECONDS:
                return
            before = now

    def _busy(self) -> float:
        return sum(tree_seconds(self._pids[name]) for name in (APPLICATION, MONGODB))


def tree_seconds(pid: int) -> float:
    """Return the processor time of a process and its descendants, those included that have ended."""
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile: its parent has its time
            total += sum(process.cpu_times()[:4])  # user, system, and those of ended children
    return total
