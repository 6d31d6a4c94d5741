"""Invalidations that must not be lost: written with the data, deleted once delivered."""

from collections.abc import Sequence
from typing import Any, Final

import structlog
from django.core.cache import caches
from django.db import connection, transaction
from redis.exceptions import RedisError

from cachelayer import client, metrics, protocol, trust
from cachelayer.namespace import declared

log = structlog.get_logger("cachelayer")

# A writer delivers its own row, a round trip after its commit. The relay leaves it so long.
OWN_DELIVERY_SECONDS: Final = 0.25
# A write elsewhere, its timeout included, is over after so long; else its process is dead.
INTENT_SECONDS: Final = 5.0
_BATCH_ROWS: Final = 500
_UNLINKED_AT_ONCE: Final = 1_000  # tags; far more would not be answered within Redis's timeout

DEPTH_MAX: Final = 100_000  # rows that are counted

_INSERT: Final = """
    INSERT INTO cachelayer_outbox (tags, due_at, is_intent)
    VALUES (%s, clock_timestamp() + make_interval(secs => %s), %s) RETURNING id
"""
_TAKE: Final = """
    DELETE FROM cachelayer_outbox WHERE id IN (
        SELECT id FROM cachelayer_outbox WHERE due_at <= clock_timestamp() OR (%s AND NOT is_intent)
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    ) RETURNING array_remove(ARRAY(SELECT unnest(tags)), NULL)
"""
# Whoever took the row may have unlinked its tags before the write was made: then they go in anew.
_RELEASE: Final = """
    WITH released AS (
        UPDATE cachelayer_outbox SET is_intent = false, due_at = clock_timestamp()
        WHERE id = %s RETURNING id
    )
    INSERT INTO cachelayer_outbox (tags, due_at)
    SELECT %s::text[], clock_timestamp() WHERE NOT EXISTS (SELECT FROM released)
    RETURNING id
"""

_DEPTH_AND_AGE: Final = """
    SELECT (SELECT count(*) FROM (SELECT FROM cachelayer_outbox LIMIT %s) AS counted),
           coalesce(extract(epoch FROM clock_timestamp() - (
               SELECT created_at FROM cachelayer_outbox ORDER BY id LIMIT 1)), 0)
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


def invalidate_restored(cursor: Any) -> None:
    """
    Write into a restored database, before it is used, that no entry of any namespace is valid.

    That is an outbox row: deliver_restored delivers it, or else whoever grants the next lease.
    """
    add_by(cursor, [namespace.tag for namespace in declared()])


def deliver_restored() -> bool:
    """
    Deliver every row that is due, and clear Django's caches: sessions are read from the database.

    Return False where Redis does not answer.
    """
    trust.lease.wait(2 * trust.LEASE_SECONDS)  # without it nothing counts as delivered
    try:
        while deliver(also_not_due=True):
            pass
        for cache in caches.all(initialized_only=False):
            cache.clear()
    except (client.CacheDown, RedisError) as exc:
        log.info("cache not cleared", reason=str(exc).split("\n")[0])
        return False
    return True


def _insert(tags: Sequence[str], seconds: float, *, is_intent: bool) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [list(tags), seconds, is_intent])
        (row_id,) = cursor.fetchone()
    return int(row_id)


def release(row_id: int, tags: Sequence[str]) -> int:
    """
    Leave to the relay what was an intent: its write is over. Return the id of the row.

    A writer that was frozen past its intent's time finds the row gone, delivered before the write
    was made. Then the tags are inserted anew.
    """
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, [row_id, list(tags)])
        inserted = cursor.fetchone()
    return int(inserted[0]) if inserted else row_id


def remove(row_ids: Sequence[int]) -> None:
    """Delete rows whose tags were unlinked."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM cachelayer_outbox WHERE id = ANY(%s)", [list(row_ids)])


def is_there(row_id: int) -> bool:
    """Return whether a row is still to be delivered."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM cachelayer_outbox WHERE id = %s", [row_id])
        return cursor.fetchone() is not None


def wake_relay() -> None:
    """Have the relay deliver now what waits."""
    with connection.cursor() as cursor:
        cursor.execute("NOTIFY cachelayer_outbox")


def deliver(*, also_not_due: bool = False) -> int:
    """
    Unlink the tags of one batch of rows and delete them; return how many rows.

    The rows are gone only if the unlink was, on the server of the lease: it comes before the
    commit. Rows that another process is delivering are skipped, and so are intents that are not
    due. Raises CacheDown; then all is as before.
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, [also_not_due, _BATCH_ROWS])
            rows = cursor.fetchall()
        tags = sorted({tag for (tags,) in rows for tag in tags})
        for first in range(0, len(tags), _UNLINKED_AT_ONCE):
            batch = tags[first : first + _UNLINKED_AT_ONCE]
            if not trust.lease.counts(protocol.unlink(batch, past_breaker=True)):
                raise trust.Untrusted("deliver")
    metrics.RELAYED_ROWS.inc(len(rows))
    return len(rows)


def depth_and_age() -> tuple[int, float]:
    """
    Return how many rows wait, counted up to DEPTH_MAX, and for how many seconds the oldest has.

    Both cost the same however long an outage of Redis lasts; the first by id is as old as any, but
    for what transactions that ran side by side took to commit.
    """
    with connection.cursor() as cursor:
        cursor.execute(_DEPTH_AND_AGE, [DEPTH_MAX])
        depth, age_seconds = cursor.fetchone()
    return int(depth), float(age_seconds)
