"""Edits of profiles that were made past the service, in the MongoDB shell: seen by a change stream."""

import re
import threading
from collections.abc import Iterable
from typing import Any, Final

import mongoengine
import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connections
from prometheus_client import Counter
from pymongo.change_stream import ChangeStream
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, PyMongoError

from cachelayer.invalidation import clear, invalidate
from cachelayer.relay import own_connection
from cachelayer.supervision import supervise
from config.web.user_ids import USER_ID_PATTERN
from profiles import cache_keys, services

log = structlog.get_logger("profiles")

_LOCK_KEY: Final = 0x7072_6F66_696C_6573  # names the one watcher; ASCII "profiles"
_RETRY_SECONDS: Final = 1.0
_AWAIT_MS: Final = 500  # longest wait of the server for a change; below MONGODB_TIMEOUT_MS
_BATCH: Final = 500
_STREAM: Final = "user_profiles"
_FIELDS: Final = ("operationType", "fullDocument.user_id", "fullDocumentBeforeChange.user_id")
# The oplog does not reach back so far (286, 280), or the token is none of this server (260).
_CANNOT_RESUME: Final = (260, 280, 286)
COPIES_FAILED: Final = Counter(
    "profiles_copies_failed", "Profiles that the other store did not take", ["reason"]
)


class Watcher:
    """
    Invalidates, and copies to the mirror, whatever changes in user_profiles, until it is stopped.

    Of all processes that run one, the holder of an advisory lock watches. Where it got to is kept
    in MongoDB, beside the profiles, so that what changes while none runs is seen afterwards. It
    sees the service's own writes as well; to invalidate these again costs a miss.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self.watches = False

    def stop(self) -> None:
        """Have run return within about a second."""
        self._stopping.set()

    def run(self) -> None:
        """Watch until stop; survive whatever becomes of the servers."""
        while not self._stopping.is_set():
            own = own_connection()
            try:
                with own.cursor() as cursor:
                    if self._leads(cursor):
                        self._watch(cursor)
            except (DatabaseError, InterfaceError, psycopg.Error, PyMongoError) as exc:
                log.info("profiles not watched", reason=str(exc).split("\n")[0])
            finally:
                self.watches = False
                own.close()
                connections.close_all()
            self._stopping.wait(_RETRY_SECONDS)

    def _leads(self, cursor: Any) -> bool:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK_KEY])
        (leads,) = cursor.fetchone()
        return bool(leads)

    def _watch(self, cursor: Any) -> None:
        try:
            with _stream() as stream:
                _keep(stream.resume_token)
                self.watches = True
                while not self._stopping.is_set():
                    token = stream.resume_token
                    changes = _changes(stream)
                    if changes:
                        _handle(changes)
                    if stream.resume_token != token:
                        _keep(stream.resume_token)
                    cursor.execute("SELECT 1")  # the lock is held as long as this is answered
                    connections.close_all()
        except OperationFailure as exc:
            if exc.code not in _CANNOT_RESUME:
                raise
            # What changed meanwhile is not known, so nothing that is cached can be trusted.
            log.warning("change stream starts afresh", reason=str(exc).split("\n")[0])
            clear([cache_keys.PROFILES], cleared_by="change stream")
            _tokens().delete_one({"_id": _STREAM})


def start_in_background() -> None:
    """Watch in a supervised thread of this process, where MongoDB serves the profiles."""
    if settings.PROFILE_BACKEND == "mongo":
        supervise("profiles-watcher", Watcher().run)


def _stream() -> ChangeStream[dict[str, Any]]:
    kept = _tokens().find_one({"_id": _STREAM}) or {}
    collection: Collection[dict[str, Any]] = mongoengine.get_db()[_STREAM]
    return collection.watch(
        [{"$project": dict.fromkeys(_FIELDS, 1)}],  # the documents themselves may be large
        full_document="updateLookup",
        full_document_before_change="whenAvailable",
        max_await_time_ms=_AWAIT_MS,
        resume_after=kept.get("token"),
    )


def _tokens() -> Collection[dict[str, Any]]:
    tokens: Collection[dict[str, Any]] = mongoengine.get_db()["change_stream_tokens"]
    return tokens


def _keep(token: Any) -> None:
    """Remember where the stream is; called after what it brought was dealt with, not before."""
    if token is not None:
        _tokens().replace_one({"_id": _STREAM}, {"token": token}, upsert=True)


def _changes(stream: ChangeStream[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what has changed, at most _BATCH changes; wait for the first at most _AWAIT_MS."""
    found: list[dict[str, Any]] = []
    while len(found) < _BATCH:
        change = stream.try_next()
        if change is None:
            break
        found.append(dict(change))
        if not stream._cursor._data:  # else it would wait again
            break
    return found


def _handle(changes: Iterable[dict[str, Any]]) -> None:
    """Invalidate what the changes are about, then copy it to the mirror."""
    users: set[str] = set()
    tags: set[str] = set()
    known = True
    for change in changes:
        named = _users(change)
        known = known and named is not None
        named = named or set()
        users |= named
        is_delete = change.get("operationType") == "delete"
        tags_of = cache_keys.tags_of_deleted_profile if is_delete else cache_keys.tags_of_profile
        tags |= {tag for user in named for tag in tags_of(user)}
    if not known:
        # Deleted before pre-images were kept, dropped, or renamed: whose it was is not told.
        clear([cache_keys.PROFILES], cleared_by="change stream")
    if tags:
        invalidate(*tags)
    for user in users:
        _copy(user)


def _users(change: dict[str, Any]) -> set[str] | None:
    """
    Return whose profile the change is about; None where that is not told.

    A user_id that the API would not accept is nobody's: nothing is cached of it.
    """
    before, after = change.get("fullDocumentBeforeChange"), change.get("fullDocument")
    user_ids = [one.get("user_id") for one in (before, after) if one is not None]
    named = {one for one in user_ids if isinstance(one, str) and re.fullmatch(USER_ID_PATTERN, one)}
    is_told = bool(named) or before is not None or change.get("operationType") == "insert"
    return named if is_told else None


def _copy(user_id: str) -> None:
    """
    Copy the profile, which the cache has forgotten already, to the mirror.

    Raises the driver's error where a store does not answer: then the change is seen again. What
    fails otherwise is this document's own: it is counted, and is no reason to see no other.
    """
    try:
        services.mirror_update(user_id=user_id)
    except (OperationalError, InterfaceError, PyMongoError):
        raise
    except Exception as exc:  # noqa: BLE001  # a document may hold whatever a person can write
        COPIES_FAILED.labels(type(exc).__name__).inc()
        log.warning(
            "profile not copied",
            user_id=user_id,
            reason=f"{type(exc).__name__}: {exc}".split("\n")[0],
        )
