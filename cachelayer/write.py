"""A write of one statement, with the outbox row of its invalidation in it: a single round trip."""

from collections.abc import Sequence
from typing import Any, Final

from django.db import connection

from cachelayer import outbox
from cachelayer.invalidation import deliver_after_commit

# Triggers that would write the same tags are not called for a statement that has set this (their
# condition: config/migrations/0004_announced_writes.py). The value names the statement, by the time
# at which it arrived, so that no later one of the transaction counts as announced.
_ANNOUNCE: Final = "set_config('cachelayer.announced', statement_timestamp()::text, true)"


def announcing(write: str, *, tags: str) -> str:
    """
    Return a statement that runs a write and inserts the outbox row of its tags.

    write: an INSERT, UPDATE or DELETE of at most one row, with RETURNING. tags: an SQL expression
    over the columns returned.
    """
    return f"""
WITH written AS ({write}),
announced AS (
    INSERT INTO cachelayer_outbox (tags, due_at)
    SELECT {tags}, clock_timestamp() + make_interval(secs => {outbox.OWN_DELIVERY_SECONDS})
    FROM written WHERE {_ANNOUNCE} <> ''
    RETURNING id, tags
)
SELECT announced.id, announced.tags, written.* FROM written, announced"""  # noqa: S608  # no input


def execute(statement: str, parameters: Sequence[Any]) -> list[Any] | None:
    """
    Run what announcing returned; return the row that was written, None where there was none.

    Its tags are unlinked once the current transaction commits; without one, before this returns.
    Raises what the driver raises.
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    if row is None:
        return None
    written: list[Any]
    row_id, tags, *written = row
    deliver_after_commit(tags, row_id)
    return written
