"""Writes that may be repeated: a key is claimed in the statement of the write, and found by a repetition."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection

from cachelayer.invalidation import deliver_after_commit

KEPT: Final = timedelta(hours=24)
_REMOVED_AT_ONCE: Final = 1_000  # keys; so few are removed within the deadline of a statement
_EXPIRED_AT: Final = f"now() - make_interval(secs => {KEPT.total_seconds():.0f})"

# For write.announcing_all: one row where the key is free, else none. Whoever holds the lock is still
# under way, and nobody waits for it. A key past its time is given anew.
CLAIM: Final = f"""claimed AS (
    INSERT INTO cachelayer_idempotency AS earlier (caller, key, fingerprint, row_ids, created_at)
    SELECT %s, %s, %s, %s, %s WHERE pg_try_advisory_xact_lock(%s)
    ON CONFLICT (caller, key) DO UPDATE SET
        fingerprint = excluded.fingerprint, row_ids = excluded.row_ids,
        created_at = excluded.created_at, transaction_id = excluded.transaction_id
    WHERE earlier.created_at <= {_EXPIRED_AT}
    RETURNING caller, row_ids, created_at
)"""  # no input
_FIND: Final = f"""
    SELECT fingerprint, row_ids, earlier.created_at, outbox.id, outbox.tags
    FROM cachelayer_idempotency AS earlier LEFT JOIN cachelayer_outbox AS outbox USING (transaction_id)
    WHERE caller = %s AND key = %s AND earlier.created_at > {_EXPIRED_AT}
"""  # noqa: S608  # no input
_REMOVE: Final = f"""
    DELETE FROM cachelayer_idempotency WHERE (caller, key) IN (
        SELECT caller, key FROM cachelayer_idempotency WHERE created_at <= {_EXPIRED_AT}
        LIMIT %s FOR UPDATE SKIP LOCKED
    )
"""  # noqa: S608  # no input


class KeyReused(Exception):
    """The key stands for another request of this caller."""

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key came with another request within the last 24 hours, to another path or with"
            " another body. Each request needs a key of its own."
        )


class KeyInUse(Exception):
    """The first request with this key is still under way."""

    def __init__(self) -> None:
        super().__init__(
            "The first request with this Idempotency-Key is still under way. Repeat this one in a moment."
        )


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """
    A key, and a fingerprint of the request that it stands for.

    Keys of different callers are different. fingerprint: 32 bytes that depend on all of the request.
    """

    caller: str
    key: str
    fingerprint: bytes


class Created(NamedTuple):
    """What a request has created: the ids of the rows, in their order, and when."""

    row_ids: list[UUID]
    created_at: datetime


def claim(request: IdempotentRequest, created: Created) -> Sequence[Any]:
    """Return the parameters of CLAIM."""
    name = f"{request.caller} {request.key}".encode()
    lock = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), signed=True)
    return request.caller, request.key, request.fingerprint, *created, lock


def find(request: IdempotentRequest) -> Created | None:
    """
    Return what the request has created within the last 24 hours, None where nothing.

    Its invalidation is delivered by then, as that of any write that is answered. Raises KeyReused.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FIND, [request.caller, request.key])
        rows = cursor.fetchall()
    if not rows:
        return None
    fingerprint, row_ids, created_at, *_ = rows[0]
    if bytes(fingerprint) != request.fingerprint:
        raise KeyReused
    for *_, outbox_id, tags in rows:
        if outbox_id is not None:
            deliver_after_commit(tags, outbox_id)
    return Created(row_ids, created_at)


def remove_expired() -> bool:
    """Delete keys that are older than 24 hours, a thousand at most; return whether more may be left."""
    with connection.cursor() as cursor:
        cursor.execute(_REMOVE, [_REMOVED_AT_ONCE])
        return bool(cursor.rowcount >= _REMOVED_AT_ONCE)
