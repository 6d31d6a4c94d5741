"""Which exceptions mean that a store does not answer, or takes no writes."""

from typing import Literal

import psycopg.errors
import pymongo.errors
from django.db import InterfaceError, OperationalError

StoreName = Literal["postgres", "mongodb"]

READ_ONLY = psycopg.errors.ReadOnlySqlTransaction  # SQLSTATE 25006; Django's is an InternalError
_POSTGRES_ERRORS = (OperationalError, InterfaceError, READ_ONLY)
_MONGODB_ERRORS = (
    pymongo.errors.ConnectionFailure,  # refused, lost, no server selected, no connection free
    pymongo.errors.ExecutionTimeout,
    pymongo.errors.WriteConcernError,  # not on enough members, in time: it may be undone
)
# On what the server says while its set has no primary, or has just elected another; the driver has
# tried it again already.
_RETRYABLE = "RetryableWriteError"


def unavailable_store(exc: BaseException | None) -> StoreName | None:
    """
    Return the store whose silence caused exc, or None where exc has another cause.

    PostgreSQL's OperationalError covers refused and lost connections, an empty pool, the
    statement timeout, and a server out of connections, memory or disk: all of them pass. So does
    a server that is read-only: it was demoted, and another one is the primary, or will be.
    """
    while exc is not None:
        if isinstance(exc, _POSTGRES_ERRORS):
            return "postgres"
        if isinstance(exc, _MONGODB_ERRORS) or _is_retryable(exc):
            return "mongodb"
        exc = exc.__cause__
    return None


def _is_retryable(exc: BaseException) -> bool:
    return isinstance(exc, pymongo.errors.PyMongoError) and exc.has_error_label(_RETRYABLE)
