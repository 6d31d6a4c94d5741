"""Edits of profiles that bypass the service, such as in the MongoDB shell, observed by a change stream."""

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

_LOCK_KEY: Final = 0x7072_6F66_696C_6573  # identifies the single watcher; ASCII "profiles"
_RETRY_SECONDS: Final = 1.0
_AWAIT_MS: Final = 500  # longest wait of the server for a change; below MONGODB_TIMEOUT_MS
_BATCH: Final = 500
_STREAM: Final = "user_profiles"
_FIELDS: Final = (
    *("operationType", "fullDocument.user_id", "fullDocumentBeforeChange.user_id"),
    *("updateDescription.updatedFields.user_id", "updateDescription.removedFields"),
)
# The oplog does not reach back so far (286, 280), or the token is from another server (260).
_CANNOT_RESUME: Final = (260, 280, 286)
COPIES_FAILED: Final = Counter(
    "profiles_copies_failed", "Profiles that the other store did not take", ["reason"]
)


class Watcher:
    """
    Invalidates, and copies to the mirror, every change in user_profiles, until it is stopped.

    Of all processes that run a watcher, the holder of an advisory lock watches. Its resume token is
    stored in MongoDB, beside the profiles, so that changes made while none runs are processed later.
    It also sees the service's own writes; invalidating these again costs one miss.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self.watches = False

    def stop(self) -> None:
        """Make run return within about a second."""
        self._stopping.set()

    def run(self) -> None:
        """Watch until stop is called; survive every failure of the servers."""
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
            stored = _tokens().find_one({"_id": _STREAM})
            with _stream(stored and stored.get("token")) as stream:
                if stored is None:
                    # Changes before this stream are unknown, so no cached profile can be trusted.
                    clear([cache_keys.PROFILES], cleared_by="change stream")
                _save_token(stream.resume_token)
                self.watches = True
                # It ends where the collection is dropped or renamed; the next one goes on after that.
                while stream.alive and not self._stopping.is_set():
                    token = stream.resume_token
                    changes = _changes(stream)
                    if changes:
                        _handle(changes)
                    if stream.resume_token != token:
                        _save_token(stream.resume_token)
                    cursor.execute("SELECT 1")  # the lock is held as long as this is answered
                    connections.close_all()
        except OperationFailure as exc:
            if exc.code not in _CANNOT_RESUME:
                raise
            log.warning("change stream starts afresh", reason=str(exc).split("\n")[0])
            _tokens().delete_one({"_id": _STREAM})


def start_in_background() -> None:
    """Watch in a supervised thread of this process, where MongoDB serves the profiles."""
    if settings.PROFILE_BACKEND == "mongo":
        supervise("profiles-watcher", Watcher().run)


def _stream(token: Any) -> ChangeStream[dict[str, Any]]:
    """Open the stream after that token; None: from now on."""
    collection: Collection[dict[str, Any]] = mongoengine.get_db()[_STREAM]
    return collection.watch(
        [{"$project": dict.fromkeys(_FIELDS, 1)}],  # the documents themselves may be large
        full_document="updateLookup",
        full_document_before_change="whenAvailable",
        max_await_time_ms=_AWAIT_MS,
        start_after=token,  # unlike resume_after also the token of a drop
    )


def _tokens() -> Collection[dict[str, Any]]:
    tokens: Collection[dict[str, Any]] = mongoengine.get_db()["change_stream_tokens"]
    return tokens


def _save_token(token: Any) -> None:
    """Store the position of the stream; called after its changes were handled, not before."""
    if token is not None:
        _tokens().replace_one({"_id": _STREAM}, {"token": token}, upsert=True)


def _changes(stream: ChangeStream[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most _BATCH changes; wait at most _AWAIT_MS for the first."""
    changes: list[dict[str, Any]] = []
    while len(changes) < _BATCH:
        change = stream.try_next()
        if change is None:
            break
        changes.append(dict(change))
        if not stream._cursor._data:  # else it would wait again
            break
    return changes


def _handle(changes: Iterable[dict[str, Any]]) -> None:
    """Invalidate the profiles that have changed, then copy them to the mirror."""
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
        # Deleted before pre-images were enabled, dropped, or renamed: the change does not name the user.
        clear([cache_keys.PROFILES], cleared_by="change stream")
    if tags:
        invalidate(*tags)
    for user in users:
        _copy(user)


def _users(change: dict[str, Any]) -> set[str] | None:
    """
    Return the users whose profile has changed; None if the change does not name them all.

    A user_id that the API would not accept is ignored: nothing is cached for it.
    """
    before, after = change.get("fullDocumentBeforeChange"), change.get("fullDocument")
    user_ids = [image.get("user_id") for image in (before, after) if image is not None]
    named = {
        user for user in user_ids if isinstance(user, str) and re.fullmatch(USER_ID_PATTERN, user)
    }
    operation = change.get("operationType")
    is_known = before is not None or operation == "insert"
    if operation == "update" and not is_known:  # without an image of before
        changed = change.get("updateDescription", {})
        kept = "user_id" not in (
            *changed.get("updatedFields", ()),
            *changed.get("removedFields", ()),
        )
        is_known = kept and bool(named)
    return named if is_known else None


def _copy(user_id: str) -> None:
    """
    Copy the profile, which was invalidated already, to the mirror.

    Raises the driver's error where a store does not answer: the change is then processed again. Any
    other failure concerns this document alone: it is counted, and the stream goes on.
    """
    try:
        services.mirror_update(user_id=user_id)
    except (OperationalError, InterfaceError, PyMongoError):
        raise
    except Exception as exc:  # noqa: BLE001  # a document edited by hand may hold anything
        COPIES_FAILED.labels(type(exc).__name__).inc()
        log.warning(
            "profile not copied",
            user_id=user_id,
            reason=f"{type(exc).__name__}: {exc}".split("\n")[0],
        )
