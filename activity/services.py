"""Recording what users do; and events in bulk, for seeding."""

import ipaddress
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Final, TypeAlias

import bson
import pymongo
from django.conf import settings
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError

from activity import ledger, spool
from activity.documents import ActivityEvent, driver_collection
from activity.shipper import NAME as SHIPPER_THREAD
from activity.shipper import Shipper
from activity.spool import Spool
from cachelayer.supervision import supervise

USER_AGENT_MAX_CHARACTERS: Final = 512
LOSS_REPORTED_SECONDS: Final = 300  # how long health reports a loss
_SHUTDOWN_SECONDS: Final = 2.0
_EMPTYING_SECONDS: Final = 5.0
_DUPLICATE: Final = 11000
# A batch of thousands may take longer than any request is allowed to.
_BULK_SECONDS: Final = 60
# The last of an event's elements: its type, name and length; then come the string and a zero.
_REQUEST_ID: Final = struct.Struct("<12sI")
_REQUEST_ID_NAME: Final = b"\x02request_id\0"

# Called with user_id, client_address, user_agent, request_id.
Recorder: TypeAlias = Callable[[str, str | None, str, str], None]


def recorder(
    action: str, resource: str, resource_id: str | None, details: Mapping[str, Any]
) -> Recorder:
    """
    Return a function that acknowledges one event of this kind: what it has recorded will be in
    MongoDB, once, whatever happens.

    Its arguments: user_id, client_address (None: unknown; shortened unless ACTIVITY_FULL_IP),
    user_agent (cut at 512 characters), request_id. It may be kept and called from any thread. It
    raises OSError where the disk takes nothing.
    """
    subject = _elements(
        {"action": action, "resource": resource, "resource_id": resource_id, "details": details}
    )

    append = own_spool().append_elements

    def record(user_id: str, client_address: str | None, user_agent: str, request_id: str) -> None:
        user, client = _actor(user_id, client_address, user_agent[:USER_AGENT_MAX_CHARACTERS])
        request = request_id.encode()
        start = _REQUEST_ID.pack(_REQUEST_ID_NAME, len(request) + 1)
        append(b"".join((user, subject, client, start, request, b"\0")))

    return record


@lru_cache(maxsize=2_048)
def _actor(user_id: str, client_address: str | None, user_agent: str) -> tuple[bytes, bytes]:
    """Return the elements of an event that come before its subject, and those that come after it."""
    client = {
        "ip_address": None if client_address is None else shown_address(client_address),
        "user_agent": user_agent,
    }
    return _elements({"user_id": user_id}), _elements(client)


def _elements(fields: Mapping[str, Any]) -> bytes:
    """Return the fields in BSON, without the length before them and the zero after them."""
    return bson.encode(fields)[4:-1]


def own_spool() -> Spool:
    """Return the spool of this process, in settings.ACTIVITY_SPOOL_DIR."""
    return _spool(settings.ACTIVITY_SPOOL_DIR)


@cache
def _spool(folder: str) -> Spool:
    return Spool(Path(folder), max_bytes=settings.ACTIVITY_SPOOL_MAX_BYTES)


def shown_address(address: str) -> str | None:
    """Return the stored part of a client's address: its network, /24 or /48; None where it is invalid."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if settings.ACTIVITY_FULL_IP:
        return str(parsed)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    prefix = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, prefix), strict=False).network_address)


def start_shipping() -> None:
    """Ship in a supervised thread of this process; when the process ends, ship what there is time for."""
    shipper = Shipper(own_spool())
    thread = supervise(SHIPPER_THREAD, shipper.run, stopping=shipper.stopping)

    def finish() -> None:
        own_spool().close()  # any process may ship the segment now, after a restart at the latest
        shipper.stop()
        thread.join(_SHUTDOWN_SECONDS)

    # Not atexit: multiprocessing, whose processes granian's workers are, leaves that out after a fork.
    Finalize(None, finish, exitpriority=1)


def spool_problem() -> str | None:
    """
    Return the problems of the spool that health reports; None where there are none.

    Events were dropped in the last 5 minutes; files are set aside and nobody has moved them away yet;
    or the folder or its ledger cannot be read.
    """
    problems = []
    try:
        folder = own_spool().folder
        # A time to come is that of a clock that was set back since.
        if 0 <= time.time() - ledger.last_dropped_at(folder) < LOSS_REPORTED_SECONDS:
            problems.append(f"{ledger.dropped(folder)} events dropped lately")
        files, events = spool.damaged(folder)
    except OSError as exc:
        return f"the spool cannot be read: {exc.strerror}"
    if files:
        problems.append(f"{events} acknowledged events may be in {files} damaged files set aside")
    return "; ".join(problems) or None


def spool_empty() -> int:
    """
    Ship the segments of processes that have ended, and wait at most 5 s for the others to ship.

    Return how many events are still waiting. Raises PyMongoError where MongoDB does not answer, and
    OSError where the spool cannot be read.
    """
    Shipper(own_spool()).ship()
    deadline = time.monotonic() + _EMPTYING_SECONDS
    pause = threading.Event()
    while (waiting := int(spool_state()["depth_events"])) and time.monotonic() < deadline:
        pause.wait(0.1)
    return waiting


def spool_state() -> dict[str, Any]:
    """
    Return what is waiting in the spool of this machine, over all processes, and what is set aside.

    {depth_events, depth_bytes, oldest_age_seconds, damaged_files, damaged_events}. Raises OSError.
    """
    folder = own_spool().folder
    events, size, age = spool.waiting(folder)
    files, damaged = spool.damaged(folder)
    return {
        "depth_events": events,
        "depth_bytes": size,
        "oldest_age_seconds": round(age, 3),
        "damaged_files": files,
        "damaged_events": damaged,
    }


def events_load(*, events: Sequence[dict[str, Any]]) -> int:
    """
    Store those of the events that are not stored yet; each is a whole document with its _id.

    Return how many were stored. Where this raises, some may have been. Raises what the driver
    raises where MongoDB fails.
    """
    ids = [event["_id"] for event in events]
    with pymongo.timeout(_BULK_SECONDS):
        # Looking them up first is much cheaper than an error for each event that is stored already.
        rows = ActivityEvent.objects(__raw__={"_id": {"$in": ids}}).only("id").as_pymongo()
        present = {row["_id"] for row in rows}
        missing = [event for event in events if event["_id"] not in present]
        if not missing:
            return 0
        try:
            return len(driver_collection().insert_many(missing, ordered=False).inserted_ids)
        except BulkWriteError as exc:
            if any(error["code"] != _DUPLICATE for error in exc.details["writeErrors"]):
                raise
            return int(exc.details["nInserted"])


def events_delete_all() -> int:
    """Delete every event and recreate the indexes; return how many events there were."""
    with pymongo.timeout(_BULK_SECONDS):
        count = driver_collection().count_documents({})
        # Dropping takes no longer for a million events; deleting them takes a minute.
        ActivityEvent.drop_collection()
    with pymongo.timeout(_BULK_SECONDS):
        ActivityEvent.ensure_indexes()
    return count


def events_rename(*, old: str, new: str, session: ClientSession) -> int:
    """Give all events of a user another user id, in the session's transaction; return how many."""
    changed = driver_collection().update_many(
        {"user_id": old}, {"$set": {"user_id": new}}, session=session
    )
    return int(changed.modified_count)
