"""Deleting the outbox rows that writers have delivered: many by one statement, after their answers."""

import threading
from collections import deque
from typing import Final

import structlog
from django.db import DatabaseError, InterfaceError, connections

from cachelayer import outbox
from cachelayer.supervision import supervise

log = structlog.get_logger("cachelayer")

# Well below outbox.OWN_DELIVERY_SECONDS, after which the relay would deliver the rows again.
_COLLECTING_SECONDS: Final = 0.05


class Removals:
    """
    Rows whose tags were unlinked, to be deleted.

    A row that is deleted late, or never because the process ends, is delivered once more: that
    costs a load and is not stale.
    """

    def __init__(self) -> None:
        self._row_ids: deque[int] = deque()
        self._added = threading.Event()
        self._is_running = False

    def add(self, row_id: int) -> None:
        """Delete a row: soon, in a process that serves requests; elsewhere before this returns."""
        self._row_ids.append(row_id)
        if not self._is_running:
            self.flush()
        elif not self._added.is_set():
            self._added.set()

    def flush(self) -> None:
        """Delete the rows that were added so far."""
        row_ids = [self._row_ids.popleft() for _ in range(len(self._row_ids))]
        try:
            outbox.remove(row_ids)
        except (DatabaseError, InterfaceError) as exc:
            reason = str(exc).split("\n")[0]
            log.info("outbox rows left to the relay", rows=len(row_ids), reason=reason)

    def start_in_background(self) -> None:
        """Have a thread of this process delete the rows from now on."""
        self._is_running = True
        supervise("cache-removals", self._run)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._added.wait()
            pause.wait(_COLLECTING_SECONDS)
            self._added.clear()
            self.flush()
            connections.close_all()  # requests may be waiting for the pool's


removals = Removals()
