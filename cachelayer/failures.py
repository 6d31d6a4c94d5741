"""Which exceptions mean that a store does not answer, or takes no writes."""

from collections.abc import Callable
from typing import Final

import psycopg.errors
from django.db import InterfaceError, OperationalError

READ_ONLY = psycopg.errors.ReadOnlySqlTransaction  # SQLSTATE 25006; Django's is an InternalError
_POSTGRES_ERRORS = (OperationalError, InterfaceError, READ_ONLY)


def _is_of_postgres(exc: BaseException) -> bool:
    """
    Return whether PostgreSQL does not answer, or takes no writes.

    OperationalError covers refused and lost connections, an empty pool, the statement timeout, and
    a server out of connections, memory or disk: all of them pass. So does a server that is
    read-only: it was demoted, and another one is the primary, or will be.
    """
    return isinstance(exc, _POSTGRES_ERRORS)


# By the name of a store, what recognizes the exceptions of its driver that say so. An application adds its others.
stores: Final[dict[str, Callable[[BaseException], bool]]] = {"postgres": _is_of_postgres}


def unavailable_store(exc: BaseException | None) -> str | None:
    """Return the name of the store whose silence caused exc, or None where exc has another cause."""
    while exc is not None:
        for name, recognizes in stores.items():
            if recognizes(exc):
                return name
        exc = exc.__cause__
    return None
