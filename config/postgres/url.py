"""DATABASE_URL, DATABASE_DIRECT_URL and DATABASE_REPLICA_URL, parsed only here, into the parameters that every connection uses."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import environ
import psycopg
from django.core.exceptions import ImproperlyConfigured
from psycopg import conninfo, pq

_REPLICA: Final = "DATABASE_REPLICA_URL"
_DIRECT: Final = "DATABASE_DIRECT_URL"
_FORM: Final = "write postgresql://USER:PASSWORD@HOST:PORT/NAME, special characters percent-encoded"
# Values of target_session_attrs under which libpq never stays with a standby; the first also takes a primary
# that is read-only by its settings, where reads go on.
_OF_A_PRIMARY: Final = ("primary", "read-write")
_OF_A_STANDBY: Final = ("standby", "prefer-standby", "read-only")
# Of libpq, by the name that Django has for it in settings.DATABASES.
_OWN_NAMES: Final = {
    "dbname": "NAME",
    "user": "USER",
    "password": "PASSWORD",
    "host": "HOST",
    "port": "PORT",
}
_ADDRESS: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_LARGEST_PORT: Final = 65_535
_NAME_MAX_BYTES: Final = 63  # PostgreSQL: NAMEDATALEN - 1
_SOCKET_PATH_MAX_BYTES: Final = 107  # sun_path of unix(7), without its NUL
# No server listens there: libpq examines everything else first, and reaches no network.
_NOWHERE: Final = "/nonexistent"
_NOT_CONNECTED: Final = "connection to server on socket"


def database_from_url(url: str, *, variable: str = "DATABASE_URL") -> dict[str, Any]:
    """
    Return NAME, USER, PASSWORD, HOST, PORT and OPTIONS for settings.DATABASES.

    Every scheme that Django's users know for PostgreSQL is accepted (psql:// and so on), and each
    parameter of libpq in the query (sslmode, host, options and so on). Django's own parameters
    (conn_max_age and such) are left out: the pool and the services decide about these. Raises
    ImproperlyConfigured, in one line that names the variable and has no password, for what libpq
    would refuse.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in environ.Env.POSTGRES_FAMILY:
        raise ImproperlyConfigured(f"{variable} is not the URL of a PostgreSQL server: {_FORM}.")
    try:
        read = environ.Env.db_url_config(url)
    except ValueError as exc:  # its message may quote the password
        raise ImproperlyConfigured(f"{variable} cannot be read: {_FORM}.") from exc
    options: dict[str, Any] = read.get("OPTIONS", {})
    database = {name: str(read[name]) for name in _OWN_NAMES.values()}
    netloc = url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
    if "," in netloc:
        database["HOST"], database["PORT"] = _hosts_and_ports(netloc, variable)
    for parameter, name in _OWN_NAMES.items():
        database[name] = str(options.pop(parameter, database[name]))
    # A socket's folder percent-encoded as a host, an IPv6 zone, and the brackets of several hosts.
    database["HOST"] = unquote(database["HOST"]).replace("[", "").replace("]", "")
    if variable != _REPLICA:
        _lead_to_primary(database, options, variable)
    _refuse_unusable(database, options, variable)
    return database | {"OPTIONS": options}


def replica_from_url(
    url: str, *, primary: Mapping[str, Any], server_settings: str = ""
) -> dict[str, Any]:
    """
    Return the entry of settings.DATABASES for a standby of primary, whose sessions are read-only.

    server_settings are passed on as -c NAME=VALUE. Raises ImproperlyConfigured as database_from_url
    does, for a database of another name, which no physical standby has, and where the URL asks for a primary.
    """
    database = database_from_url(url, variable=_REPLICA)
    if database["NAME"] != primary["NAME"]:
        raise ImproperlyConfigured(
            f"{_REPLICA} names the database {database['NAME']!r}: a standby of the server of "
            f"DATABASE_URL has its database, {primary['NAME']!r}."
        )
    options = database["OPTIONS"]
    wanted = options.get("target_session_attrs")
    if wanted in _OF_A_PRIMARY:
        raise ImproperlyConfigured(
            f"{_REPLICA}: target_session_attrs={wanted} finds no standby: write standby."
        )
    # Last, so that the URL cannot undo it.
    session = (options.get("options", ""), server_settings, "-c default_transaction_read_only=on")
    options |= {
        "connect_timeout": 2,  # seconds
        "application_name": "trilith",
        "options": " ".join(part for part in session if part),
    }
    return database | {"ENGINE": "config.postgres", "TEST": {"MIRROR": "default"}}


def behind_pooler(
    pooled: dict[str, Any], direct_url: str, *, serves_requests: bool
) -> dict[str, dict[str, Any]]:
    """
    Return settings.DATABASES where pooled leads to a pooler in transaction mode, direct_url past it.

    What serves requests has the pooler as its default database, and direct for what needs a session;
    a command has PostgreSQL itself as its default, and pooled for manage.py check. Raises
    ImproperlyConfigured as database_from_url does, and for options, which a pooler does not pass on.
    """
    if "options" in pooled["OPTIONS"]:
        raise ImproperlyConfigured(
            f"DATABASE_URL: a pooler in transaction mode takes no options: set them for the role in "
            f"PostgreSQL, and in {_DIRECT}."
        )
    direct = database_from_url(direct_url, variable=_DIRECT) | {"ENGINE": pooled["ENGINE"]}
    for name in ("connect_timeout", "application_name"):
        direct["OPTIONS"][name] = pooled["OPTIONS"][name]
    # A cursor on the server ends with its transaction, and the next one may have another session.
    pooled["DISABLE_SERVER_SIDE_CURSORS"] = True
    if serves_requests:
        return {"default": pooled, "direct": direct}
    return {"default": direct, "pooled": pooled}


def _hosts_and_ports(netloc: str, variable: str) -> tuple[str, str]:
    """Return several hosts and their ports as libpq has them: where a host has no port, there is an empty one."""
    addresses = [_ADDRESS.fullmatch(text) for text in netloc.split(",")]
    hosts = [address[1] for address in addresses if address]
    ports = [address[2] or "" for address in addresses if address]
    if len(hosts) < len(addresses) or any(int(port or 0) > _LARGEST_PORT for port in ports):
        raise ImproperlyConfigured(f"{variable} cannot be read: {_FORM}.")
    return ",".join(hosts), ",".join(ports) if any(ports) else ""


def _lead_to_primary(database: dict[str, str], options: dict[str, Any], variable: str) -> None:
    """Have libpq pass over standbys, which lag: what is read there must not get into the cache."""
    is_one_host = "," not in database["HOST"] + str(options.get("hostaddr", ""))
    if not is_one_host:
        options.setdefault("target_session_attrs", _OF_A_PRIMARY[0])
    kind = options.get("target_session_attrs")
    if kind in _OF_A_STANDBY or (kind == "any" and not is_one_host):
        raise ImproperlyConfigured(
            f"{variable}: target_session_attrs={kind} may lead to a standby, which lags: write primary, "
            f"and name the standby in {_REPLICA}."
        )


def _refuse_unusable(database: dict[str, str], options: dict[str, Any], variable: str) -> None:
    name = database["NAME"]
    if not name:
        raise ImproperlyConfigured(f"{variable} names no database: {_FORM}.")
    if len(name.encode()) > _NAME_MAX_BYTES:
        raise ImproperlyConfigured(
            f"{variable}: the database's name is longer than {_NAME_MAX_BYTES} bytes."
        )
    socket = f"{database['HOST']}/.s.PGSQL.{database['PORT'] or 5432}"
    if socket.startswith("/") and len(socket.encode()) > _SOCKET_PATH_MAX_BYTES:
        raise ImproperlyConfigured(
            f"{variable}: the socket's path is longer than {_SOCKET_PATH_MAX_BYTES} bytes."
        )
    parameters = {
        parameter: database[of_django]
        for parameter, of_django in _OWN_NAMES.items()
        if database[of_django]
    } | options
    if any("\0" in str(value) for value in parameters.values()):
        raise ImproperlyConfigured(f"{variable} contains a NUL.")
    reason = _refused_by_libpq(parameters)
    if reason:
        raise ImproperlyConfigured(f"{variable}: {reason}.")


def _refused_by_libpq(parameters: dict[str, Any]) -> str:
    """Return the first line of libpq's objection to the parameters; empty if it has none."""
    hosts = str(parameters.get("host", "")).split(",")
    parameters = parameters | {"host": ",".join(_NOWHERE for _ in hosts)}
    parameters.pop("hostaddr", None)  # it would be connected to
    parameters.pop("gssencmode", None)  # a socket has none, which says nothing of the real host
    try:
        attempt = pq.PGconn.connect_start(conninfo.make_conninfo(**parameters).encode())
    except psycopg.ProgrammingError as exc:
        return str(exc).strip()
    try:
        lines = attempt.error_message.decode(errors="replace").splitlines() or [""]
    finally:
        attempt.finish()
    return "" if lines[0].startswith(_NOT_CONNECTED) else lines[0]
