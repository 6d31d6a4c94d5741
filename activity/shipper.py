"""The shipper: a thread in each process of the site that moves events from the spool to MongoDB."""

import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import bson
import structlog
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from activity import metrics, spool
from activity.documents import ActivityEvent
from activity.spool import Record, Segment, Spool, Survey
from cachelayer import supervision

log = structlog.get_logger("activity")

NAME: Final = "activity-shipper"  # of the thread
_PAUSE_SECONDS: Final = 0.5  # between two runs; an event is in the feed within 2 s
_RETRY_SECONDS: Final = 1.0  # while MongoDB does not answer
_BATCH_EVENTS: Final = 500
_BUSY_CORES: Final = 0.3  # that the process's other threads use
_SHARE_WHILE_BUSY: Final = 0.1  # of the time, that shipping may take then
_PAUSE_SECONDS_MAX: Final = 1.0
_DELAY_SECONDS_MAX: Final = 60.0  # of an event, for the sake of the process's other threads
_DUPLICATE_KEY: Final = 11000
# Codes of MongoDB (src/mongo/base/error_codes.yml). Errors that say something about the server's state, not about the document:
# HostUnreachable, HostNotFound, Unauthorized, LockTimeout, MaxTimeMSExpired, NetworkTimeout,
# ShutdownInProgress, WriteConflict, ReadConcernMajorityNotAvailableYet, ExceededMemoryLimit,
# PrimarySteppedDown, ExceededTimeLimit, SocketException, NotWritablePrimary, Interrupted*,
# NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary, OutOfDiskSpace.
_OF_THE_SERVER: Final = frozenset(
    {6, 7, 13, 24, 50, 89, 91, 112, 134, 146, 189, 262, 9001, 10058, 10107}
    | {11600, 11601, 11602, 13435, 13436, 14031}
)
# Errors for which a whole command is refused because of one document: BadValue, FailedToParse,
# TypeMismatch, Overflow, InvalidBSON, BSONObjectTooLarge.
_OF_THE_DOCUMENT: Final = frozenset({2, 9, 14, 15, 22, 10334})


class Pace:
    """
    How long to wait after a batch, so that shipping does not slow the requests of its process.

    Both need the interpreter: at full speed a backlog halves the rate at which hits are answered.
    So while the process is busy, shipping takes a tenth of the time; it catches up afterwards, and
    once an event has waited a minute.
    """

    def __init__(self) -> None:
        self._measured = self._measure()

    def pause_seconds(self, batch: list[Record], seconds: float) -> float:
        """Return how long to wait after a batch that took so many seconds; to be called after each."""
        before, self._measured = self._measured, self._measure()
        elapsed, used = (now - then for now, then in zip(self._measured, before, strict=True))
        is_busy = used > _BUSY_CORES * elapsed
        delay_seconds = time.time() - int.from_bytes(batch[0].document[9:13])
        if not is_busy or delay_seconds > _DELAY_SECONDS_MAX:
            return 0.0
        return min(seconds * (1 / _SHARE_WHILE_BUSY - 1), _PAUSE_SECONDS_MAX)

    @staticmethod
    def _measure() -> tuple[float, float]:
        """Return the time, and the processor time of the process's other threads, in seconds."""
        return time.perf_counter(), time.process_time() - time.thread_time()


class Shipper:
    """Ships this process's events as they come, and those of processes that have ended."""

    def __init__(self, own: Spool) -> None:
        self._own = own
        self._pace = Pace()
        self.stopping = threading.Event()

    def stop(self) -> None:
        """Have run ship once more, then return."""
        self.stopping.set()

    def run(self) -> None:
        """Ship until stop is called; survive every failure of MongoDB and the disk."""
        is_last = False
        while not is_last:
            is_last = self.stopping.is_set()
            try:
                self.ship()
                pause_seconds = _PAUSE_SECONDS
            except PyMongoError as exc:
                # What was not shipped is still there. The breaker of MongoDB has logged it.
                log.debug("events not shipped", reason=str(exc).split("\n")[0])
                pause_seconds = _RETRY_SECONDS
            except OSError as exc:
                # A restart would not mend the disk, but the failure must be visible.
                log.warning("spool not read", reason=str(exc))
                supervision.failed(NAME)
                pause_seconds = _RETRY_SECONDS
            if not is_last:
                self.stopping.wait(pause_seconds)

    def ship(self) -> int:
        """
        Ship everything that is there; return how many events. Finished segments are deleted.

        Raises PyMongoError where MongoDB does not answer; the rest waits then. Whatever else one
        segment raises, all others are shipped before it is raised here.
        """
        self._own.count()
        self._let_go_of_lost()
        spool.tidy(self._own.folder)
        shipped = 0
        failure: Exception | None = None
        for path in spool.segments(self._own.folder):
            try:
                shipped += self._ship(path)
            except PyMongoError:
                raise
            except Exception as exc:  # noqa: BLE001  # raised below
                failure = failure or exc
        if failure is not None:
            raise failure
        return shipped

    def _let_go_of_lost(self) -> None:
        """Begin a new segment where somebody has removed the file of the current one."""
        current = self._own.current
        if current is None:
            return
        try:
            with spool.opened(current, adopt=False) as segment:
                is_lost = segment is None
        except spool.Unreadable:
            is_lost = True
        if is_lost:
            self._own.close(current)

    def _ship(self, path: Path) -> int:
        is_own = path == self._own.current
        with spool.opened(path, adopt=not is_own) as segment:
            if segment is None:
                return 0
            head = segment.checkpoint.head
            if is_own and head.acknowledged == head.handled:
                return 0
            # Of the own segment what is new; any other is read to the end for the last time.
            survey = Survey()
            records = survey.noting(segment.records(head.offset if is_own else 0))
            shipped = self._ship_records(segment, records)
            head = segment.checkpoint.head
            if not is_own:
                segment.end(survey)
            elif head.handled < (head.acknowledged or 0):
                # It has acknowledged what cannot be read: it ends here, and is read once more.
                self._own.close(path)
            return shipped

    def _ship_records(self, segment: Segment, records: Iterator[Record]) -> int:
        """Ship those that are not shipped yet of a segment, batch by batch; return how many were new."""
        shipped = 0
        for batch in _batches(records):
            began = time.perf_counter()
            shipped += _ship_batch(segment, batch)
            # A stop ends the pause.
            self.stopping.wait(self._pace.pause_seconds(batch, time.perf_counter() - began))
        return shipped


def _ship_batch(segment: Segment, batch: list[Record]) -> int:
    checkpoint = segment.checkpoint
    # By id, since damage may have put a record into the file twice.
    rows = {
        record.document[9:21]: record
        for record in batch
        if record.sequence < 0 or not checkpoint.is_handled(record.sequence)
    }
    shipped, refused = _store([record.document for record in rows.values()])
    own = [record.sequence for record in rows.values() if record.sequence >= 0]
    checkpoint.save(
        own,
        offset=batch[-1].end,
        known=max(own, default=-1) + 1,
        refused=sum(rows[document[9:21]].sequence >= 0 for document in refused),
    )
    return shipped


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(islice(records, _BATCH_EVENTS)):
        yield batch


def _store(documents: list[bytes]) -> tuple[int, list[bytes]]:
    """
    Have MongoDB store the events; return how many were new, and those that it will never accept.

    Their ids were chosen when they were recorded: those stored already are left unchanged. Raises
    PyMongoError where MongoDB may accept them later.
    """
    # One that cannot be decoded would end each request for a page that it is on.
    undecodable = [] if _are_bson(documents) else [row for row in documents if not _are_bson([row])]
    documents = [row for row in documents if row not in undecodable]
    new, refused = _insert(documents) if documents else (0, [])
    return new, [*refused, *_refused(undecodable)]


def _are_bson(documents: list[bytes]) -> bool:
    try:
        bson.decode_all(b"".join(documents))
    except BSONError:
        return False
    return True


def _insert(documents: list[bytes]) -> tuple[int, list[bytes]]:
    # Not objects.insert(): mongoengine would decode each event, and encode it again.
    collection: Any = ActivityEvent._get_collection()
    new = len(documents)
    try:
        collection.insert_many([RawBSONDocument(row) for row in documents], ordered=False)
    except BulkWriteError as exc:
        errors = exc.details["writeErrors"]
        other = [error for error in errors if error["code"] != _DUPLICATE_KEY]
        new -= len(errors)
        metrics.SHIPPED.inc(new)
        metrics.REPEATED.inc(len(errors) - len(other))
        if exc.details["writeConcernErrors"] or any(e["code"] in _OF_THE_SERVER for e in other):
            raise
        return new, _refused([documents[error["index"]] for error in other])
    except OperationFailure as exc:
        if exc.code not in _OF_THE_DOCUMENT:
            raise
        if len(documents) == 1:
            return 0, _refused(documents)
        middle = len(documents) // 2
        first, second = _insert(documents[:middle]), _insert(documents[middle:])
        return first[0] + second[0], first[1] + second[1]
    metrics.SHIPPED.inc(new)
    return new, []


def _refused(documents: list[bytes]) -> list[bytes]:
    if documents:
        metrics.REJECTED.inc(len(documents))
        log.warning("events refused by MongoDB", events=len(documents))
    return documents
