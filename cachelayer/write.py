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

_DUE_AT: Final = f"clock_timestamp() + make_interval(secs => {outbox.OWN_DELIVERY_SECONDS})"


def announcing(write: str, *, tags: str) -> str:
    """
    Return a statement that runs a write and inserts the outbox row of its tags.

    write: an INSERT, UPDATE or DELETE of at most one row, with RETURNING. tags: an SQL expression
    over the columns returned.
    """
    announced = f"SELECT {tags}, {_DUE_AT} FROM written WHERE {_ANNOUNCE} <> ''"  # noqa: S608  # no input
    return _statement(f"written AS ({write})", announced, "written.* FROM written, announced")


def announcing_all(write: str, *, tags: str, after: str = "") -> str:
    """
    Return a statement that runs a write of many rows and inserts one outbox row with all their tags.

    write and tags are as in announcing, of each row; execute returns [the list of the rows' ids].
    after: a common table expression that the write reads, such as "claimed AS (INSERT ...)".
    """
    written = f"{after}, written AS ({write})" if after else f"written AS ({write})"
    announced = (
        f"SELECT array_agg(DISTINCT tag), {_DUE_AT} FROM written, unnest({tags}) AS tag"  # noqa: S608  # no input
        f" WHERE {_ANNOUNCE} <> '' HAVING count(*) > 0"
    )
    return _statement(written, announced, "ARRAY(SELECT id FROM written) FROM announced")


def _statement(written: str, announced: str, result: str) -> str:
    return f"""
WITH {written},
announced AS (INSERT INTO cachelayer_outbox (tags, due_at) {announced} RETURNING id, tags)
SELECT announced.id, announced.tags, {result}"""  # no input


def execute(statement: str, parameters: Sequence[Any]) -> list[Any] | None:
    """
    Run what announcing returned; return the row that was written, None where there was none.

    Its tags are unlinked once the current transaction commits; without one, before this returns.
    Raises what the driver raises.
    """
    # A database backend may offer statements that PostgreSQL plans once for each connection: planning these
    # takes it longer than running them. Their text is the same each time.
    cursor_for = getattr(connection, "prepared_cursor", connection.cursor)
    with cursor_for() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    if row is None:
        return None
    written: list[Any]
    row_id, tags, *written = row
    deliver_after_commit(tags, row_id)
    return written
