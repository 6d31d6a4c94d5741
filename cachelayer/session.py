"""Which database alias has sessions that last: LISTEN, advisory locks, and settings of a session need one."""

from typing import Final

from django.db import DEFAULT_DB_ALIAS, connections

# PostgreSQL itself, where the default database is a connection pooler in transaction mode.
DIRECT: Final = "direct"


def session_alias() -> str:
    """Return the alias of PostgreSQL past any pooler: direct where settings.DATABASES has it."""
    return DIRECT if DIRECT in connections else DEFAULT_DB_ALIAS
