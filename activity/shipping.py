"""Shipping: a thread in each process of the site that takes events from the spool to MongoDB."""

import threading
from typing import Any, Final

import structlog
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, PyMongoError

from activity import metrics, spool
from activity.documents import ActivityEvent
from activity.spool import Segment, Spool

log = structlog.get_logger("activity")

_PAUSE_SECONDS: Final = 0.5  # between two looks; an event is in the feed within 2 s
_RETRY_SECONDS: Final = 1.0  # while MongoDB does not answer
_BATCH_EVENTS: Final = 500
_DUPLICATE_KEY: Final = 11000


class Shipper:
    """Ships this process's events as they come, and those of processes that are no more."""

    def __init__(self, own: Spool) -> None:
        self._own = own
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Have run return soon."""
        self._stopping.set()

    def run(self) -> None:
        """Ship until stop; survive whatever becomes of MongoDB and the disk."""
        while not self._stopping.is_set():
            try:
                self.ship()
                pause = _PAUSE_SECONDS
            except (PyMongoError, OSError) as exc:
                # What was not shipped is still there. The breaker of MongoDB has told.
                log.debug("events not shipped", reason=str(exc).split("\n")[0])
                pause = _RETRY_SECONDS
            self._stopping.wait(pause)

    def ship(self) -> int:
        """
        Ship everything that is there; return how many events. Segments that are done with go.

        Raises PyMongoError where MongoDB does not answer, OSError; the rest waits then.
        """
        shipped = 0
        for path in spool.segments(self._own.folder):
            is_own = path == self._own.current
            with spool.opened(path, adopt=not is_own) as segment:
                if segment is None:
                    continue
                shipped += _ship(segment)
                if not is_own:
                    segment.delete()
        return shipped


def _ship(segment: Segment) -> int:
    """Ship a segment from where the last time ended, batch by batch."""
    shipped = 0
    batch: list[bytes] = []
    shipped_to = behind = segment.shipped_to()
    for document, end in segment.records(shipped_to):
        batch.append(document)
        behind = end
        if len(batch) == _BATCH_EVENTS:
            shipped += _store(batch)
            segment.set_shipped_to(behind)
            batch = []
    if batch:
        shipped += _store(batch)
        segment.set_shipped_to(behind)
    return shipped


def _store(batch: list[bytes]) -> int:
    """
    Have MongoDB store the events; return how many were new.

    Their ids were chosen when they were recorded: what is there already is left as it is. What
    MongoDB refuses for another reason it would refuse again, so it is counted and left behind.
    """
    collection: Any = ActivityEvent._get_collection()
    new = len(batch)
    try:
        collection.insert_many([RawBSONDocument(one) for one in batch], ordered=False)
    except BulkWriteError as exc:
        if exc.details["writeConcernErrors"]:
            raise
        errors = exc.details["writeErrors"]
        repeated = sum(error["code"] == _DUPLICATE_KEY for error in errors)
        metrics.REPEATED.inc(repeated)
        if len(errors) > repeated:
            metrics.REJECTED.inc(len(errors) - repeated)
            log.warning("events refused by MongoDB", events=len(errors) - repeated)
        new -= len(errors)
    metrics.SHIPPED.inc(new)
    return new
