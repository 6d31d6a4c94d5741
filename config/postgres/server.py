"""What the PostgreSQL server has room for, asked past the pool, which may be what is short."""

from typing import Final, NamedTuple

from django.conf import settings

from config.postgres.deadlines import ProbeConnection

# A limit of -1 is none.
_ASKED: Final = """
SELECT (SELECT count(*) FROM pg_stat_activity
         WHERE datid IS NOT NULL AND pid <> pg_backend_pid()
           AND coalesce(backend_type, 'client backend') = 'client backend'),
       current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
         + coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database())
"""


class Capacity(NamedTuple):
    """Connections: those open at present, by whomever; the server's maximum; what we may have."""

    connections: int
    max_connections: int
    usable: int


def capacity() -> Capacity:
    """Ask the server, on a connection of its own. Raises psycopg.Error where it does not answer."""
    with ProbeConnection.connect(settings.DATABASE_URL, connect_timeout=2) as asked:
        row = asked.execute(_ASKED).fetchone()
    connections, maximum, reserved, *limits = row or (0, 0, 0)
    usable = min([maximum - reserved, *(limit for limit in limits if limit >= 0)])
    return Capacity(connections, maximum, usable)
