"""Which exceptions mean that a store does not answer."""

from typing import Literal

import pymongo.errors
from django.db import InterfaceError, OperationalError

StoreName = Literal["postgres", "mongodb"]

_POSTGRES_ERRORS = (OperationalError, InterfaceError)
_MONGODB_ERRORS = (
    pymongo.errors.ConnectionFailure,  # refused, lost, no server selected, no connection free
    pymongo.errors.ExecutionTimeout,
)


def unavailable_store(exc: BaseException | None) -> StoreName | None:
    """
    Return the store whose silence caused exc, or None where exc has another cause.

    PostgreSQL's OperationalError covers refused and lost connections, an empty pool, the
    statement timeout, and a server out of connections, memory or disk: all of them pass.
    """
    while exc is not None:
        if isinstance(exc, _POSTGRES_ERRORS):
            return "postgres"
        if isinstance(exc, _MONGODB_ERRORS):
            return "mongodb"
        exc = exc.__cause__
    return None
