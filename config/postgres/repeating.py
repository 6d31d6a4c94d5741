"""Run a read once more, on an intact connection, if its connection broke under it."""

import re
from collections.abc import Callable
from typing import Any, Final

from django.db import InterfaceError, OperationalError
from psycopg import ClientCursor

from config.postgres import deadlines, metrics
from config.postgres.outages import breaker

# What a SELECT may do besides reading, or what the next statement may depend on.
_MORE_THAN_READS: Final = re.compile(
    r"\b(INTO|FOR\s+(?:NO\s+KEY\s+)?(?:UPDATE|SHARE)|FOR\s+KEY\s+SHARE|nextval|setval|set_config"
    r"|pg_\w*advisory\w*|pg_notify|pg_terminate_backend|pg_cancel_backend|lo_\w+|dblink\w*)\b",
    re.IGNORECASE | re.ASCII,
)


def run(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
    """
    Run a statement of a request, as Django's execute wrappers do.

    If its connection turns out to be broken although PostgreSQL answers, a plain SELECT outside a
    transaction is run once more, which cannot do anything twice. Only for requests, which do not
    depend on the state of their session; a background thread may hold a lock in its session.
    """
    try:
        return execute(sql, params, many, context)
    except (OperationalError, InterfaceError) as exc:
        if many or not _may_repeat(sql, exc, context):
            raise
    connection = context["connection"]
    connection.close()  # back to the pool, which discards it
    connection.ensure_connection()
    context["cursor"].cursor = connection.create_cursor()
    metrics.REPEATED.inc()
    return execute(sql, params, many, context)


def is_read(sql: Any) -> bool:
    """Return whether a statement is a SELECT that changes nothing and locks nothing."""
    return (
        isinstance(sql, str)
        and re.match(r"\s*SELECT\b", sql, re.IGNORECASE | re.ASCII) is not None
        and _MORE_THAN_READS.search(sql) is None
    )


def _may_repeat(sql: Any, exc: Exception, context: Any) -> bool:
    connection = context["connection"]
    return (
        bool(connection.pool)
        and connection.connection is not None
        and connection.connection.closed
        and not connection.in_atomic_block
        and connection.get_autocommit()
        and not isinstance(exc.__cause__, deadlines.ServerSilent)  # the time is used up
        and not breaker.is_open
        and not connection.connection.may_be_down  # the probe would take the time of this request
        and isinstance(context["cursor"].cursor, ClientCursor)
        and is_read(sql)
    )
