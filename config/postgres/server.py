"""Connections outside the pool, which may be exhausted, and what the server allows."""

from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections

from config.postgres.deadlines import ProbeConnection

# Of psycopg and Django, not of libpq: how rows and values are turned into Python's.
_OF_DRIVER: Final = ("context", "cursor_factory", "prepare_threshold")

# A limit of -1 is none.
_CAPACITY: Final = """
SELECT (SELECT count(*) FROM pg_stat_activity
         WHERE datid IS NOT NULL AND pid <> pg_backend_pid()
           AND coalesce(backend_type, 'client backend') = 'client backend'),
       current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
         + coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),
       split_part(current_setting('server_version'), ' ', 1)
"""


class Capacity(NamedTuple):
    """
    Connections: those open at present, of all clients; the server's maximum; those that the site's role may open.

    And the server's version.
    """

    connections: int
    max_connections: int
    usable_connections: int
    version: str


def connection_parameters(*, using: str = DEFAULT_DB_ALIAS) -> dict[str, Any]:
    """
    Return libpq's parameters of a database in use, as Django's wrapper connects with them.

    Nobody reads DATABASE_URL a second time: libpq and Django differ in what they understand.
    """
    parameters: dict[str, Any] = connections[using].get_connection_params()
    return {name: value for name, value in parameters.items() if name not in _OF_DRIVER}


ConnectionT = TypeVar("ConnectionT", bound="psycopg.Connection[Any]")


def connect(
    kind: type[ConnectionT], *, using: str = DEFAULT_DB_ALIAS, **parameters: Any
) -> ConnectionT:
    """
    Return a plain connection to a database in use; parameters go before those of the settings.

    It belongs neither to the pool nor to Django: the caller closes it. Raises
    psycopg.OperationalError.
    """
    return kind.connect(**connection_parameters(using=using) | parameters)


def capacity() -> Capacity:
    """Ask the server, on a connection of its own. Raises psycopg.Error if it does not answer."""
    with connect(ProbeConnection) as probe:
        row = probe.execute(_CAPACITY).fetchone()
    connections, maximum, reserved, *limits, version = row or (0, 0, 0, "")
    usable = min([maximum - reserved, *(limit for limit in limits if limit >= 0)])
    return Capacity(connections, maximum, usable, version)


def is_read_only(session: psycopg.Connection[Any]) -> bool:
    """Return whether a new session may not write: on a standby, or by a default of the server."""
    row = session.execute("SHOW transaction_read_only").fetchone()
    return row is not None and row[0] == "on"
