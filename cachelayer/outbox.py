"""Invalidations that must not be lost: written with the data, deleted once delivered."""

import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from django.db import connection, connections, transaction

from cachelayer import client, metrics, store

# A writer delivers its own row, a round trip after its commit. The relay leaves it so long.
OWN_DELIVERY_SECONDS: Final = 0.25
# A write elsewhere, its timeout included, is over after so long; else its process is dead.
INTENT_SECONDS: Final = 5.0
_BATCH_ROWS: Final = 500
_DRAIN_SECONDS: Final = 20.0

_INSERT: Final = """
    INSERT INTO cachelayer_outbox (tags, due_at, is_intent)
    VALUES (%s, clock_timestamp() + make_interval(secs => %s), %s) RETURNING id
"""
_TAKE: Final = """
    DELETE FROM cachelayer_outbox WHERE id IN (
        SELECT id FROM cachelayer_outbox WHERE due_at <= clock_timestamp() OR (%s AND NOT is_intent)
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    ) RETURNING tags
"""


def add(tags: Sequence[str]) -> int:
    """Insert a row into the current transaction; return its id."""
    return _insert(tags, OWN_DELIVERY_SECONDS, is_intent=False)


def add_intent(tags: Sequence[str]) -> int:
    """Insert, at once, the announcement of a write to another store; return its id."""
    return _insert(tags, INTENT_SECONDS, is_intent=True)


def add_by(cursor: Any, tags: Sequence[str]) -> None:
    """Insert a row, due at once, by a cursor on another database than the one in use."""
    cursor.execute(_INSERT, [list(tags), 0, False])


def _insert(tags: Sequence[str], seconds: float, *, is_intent: bool) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [list(tags), seconds, is_intent])
        (row_id,) = cursor.fetchone()
    return int(row_id)


def release(row_id: int) -> None:
    """Leave to the relay what was an intent: its write is over."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE cachelayer_outbox SET is_intent = false WHERE id = %s", [row_id])


def remove(row_ids: Sequence[int]) -> None:
    """Delete rows whose tags were unlinked."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM cachelayer_outbox WHERE id = ANY(%s)", [list(row_ids)])


def wake_relay() -> None:
    """Have the relay deliver now what waits."""
    with connection.cursor() as cursor:
        cursor.execute("NOTIFY cachelayer_outbox")


def deliver(*, also_not_due: bool = False) -> int:
    """
    Unlink the tags of one batch of rows and delete them; return how many rows.

    The rows are gone only if the unlink was: it comes before the commit. Rows that another
    process is delivering are skipped, and so are intents that are not due. Raises CacheDown; then all is as before.
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, [also_not_due, _BATCH_ROWS])
            rows = cursor.fetchall()
        tags = sorted({tag for (tags,) in rows for tag in tags})
        if tags:
            store.unlink(tags, past_breaker=True)
    metrics.RELAYED_ROWS.inc(len(rows))
    return len(rows)


def drain() -> None:
    """
    Deliver every row that is committed by now, those too that another process has in hand, and
    wait for the writes that are announced.

    Raises CacheDown, the driver's error, or TimeoutError where another process holds a row.
    """
    deadline = time.monotonic() + _DRAIN_SECONDS
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT max(id) FROM cachelayer_outbox")
            (last,) = cursor.fetchone()
        while last is not None and _is_left(last):
            if not deliver(also_not_due=True):
                threading.Event().wait(0.02)  # in another's hands: look until it is done
            if time.monotonic() > deadline:
                raise TimeoutError("another process holds rows of the outbox")
    finally:
        connections.close_all()  # a probing thread keeps no connection


def depth_and_age() -> tuple[int, float]:
    """Return how many rows wait, and for how many seconds the oldest has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)"
            " FROM cachelayer_outbox"
        )
        depth, age_seconds = cursor.fetchone()
    return int(depth), float(age_seconds)


def _is_left(last: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM cachelayer_outbox WHERE id <= %s)", [last])
        (left,) = cursor.fetchone()
    return bool(left)


client.before_trust.append(drain)
