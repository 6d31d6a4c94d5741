"""REDIS_URL and MONGODB_URI, checked at start; no error message contains the password."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import pymongo
import pymongo.uri_parser
import redis
from django.core.exceptions import ImproperlyConfigured
from pymongo.errors import PyMongoError
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import SentinelManagedSSLConnection

_REDIS_FORM: Final = (
    "write redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// for TLS, redis+sentinel:// for Sentinel, "
    "or unix:///PATH?db=DATABASE, "
    "special characters percent-encoded"
)
_MONGODB_FORM: Final = (
    "write mongodb://USER:PASSWORD@HOST:PORT/DATABASE, special characters percent-encoded"
)
# The scheme of the server that Sentinel names.
_SENTINEL_SCHEMES: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_SENTINEL_FORM: Final = "write redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DATABASE, special characters percent-encoded"
_SENTINEL_PORT: Final = 26_379
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]@]+))(?::([0-9]+))?")
# Of the Sentinels themselves, which do not have the accounts of the servers that they watch.
_SENTINEL_ACCOUNT: Final = {"sentinel_username": "username", "sentinel_password": "password"}
_CLUSTER_SCHEME: Final = re.compile(r"(redis|rediss|valkey|valkeys)\+cluster", re.IGNORECASE)
_LARGEST_PORT: Final = 65_535
_SOCKET_PATH_MAX_BYTES: Final = 107  # sun_path of unix(7), without its NUL
# Values are bytes, of which some are no text; the listener needs RESP3.
_OWN_PARAMETERS: Final = ("decode_responses", "protocol")


def checked_redis_url(variable: str, url: str) -> str:
    """Return the URL. Raises ImproperlyConfigured where redis-py would fail or read another database."""
    _refuse_several_servers(variable, url)
    _refuse_own_parameters(variable, url)
    if url.partition("://")[0] in _SENTINEL_SCHEMES:
        _check_sentinel_url(variable, url)
        return url
    try:
        connection: Any = redis.ConnectionPool.from_url(url).make_connection()
        parts = urlsplit(url)
    except TypeError as exc:  # an unknown parameter in the query
        raise ImproperlyConfigured(
            f"{variable} has a parameter that redis-py does not know: {_REDIS_FORM}."
        ) from exc
    except (ValueError, redis.RedisError) as exc:  # their messages may quote the password
        raise ImproperlyConfigured(f"{variable} cannot be read: {_REDIS_FORM}.") from exc
    if isinstance(connection, redis.UnixDomainSocketConnection):
        if not 0 < len(str(connection.path).encode()) <= _SOCKET_PATH_MAX_BYTES:
            raise ImproperlyConfigured(
                f"{variable}: the path of a socket has 1 to {_SOCKET_PATH_MAX_BYTES} bytes."
            )
    elif not (parts.path.strip("/") or "0").isdecimal():  # redis-py would use 0
        raise ImproperlyConfigured(f"{variable}: the database is not a number: {_REDIS_FORM}.")
    if connection.db < 0:
        raise ImproperlyConfigured(f"{variable}: the database is not a number: {_REDIS_FORM}.")
    return url


def _refuse_several_servers(variable: str, url: str) -> None:
    if _CLUSTER_SCHEME.fullmatch(url.partition("://")[0]):
        raise ImproperlyConfigured(
            f"{variable} names a Redis Cluster, which is not supported: a write's register of hosts and its stamps would "
            "lie on several nodes (docs/adr/0033-redis-cluster.md). Use Sentinel: "
            f"{_SENTINEL_FORM}."
        )
    hosts = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    if "," in hosts and url.partition("://")[0] not in _SENTINEL_SCHEMES:
        raise ImproperlyConfigured(
            f"{variable} names several hosts, which Sentinel alone has: {_SENTINEL_FORM}."
        )


def _refuse_own_parameters(variable: str, url: str) -> None:
    parameters = dict(parse_qsl(url.partition("?")[2]))
    for name in _OWN_PARAMETERS:
        if name in parameters:
            raise ImproperlyConfigured(
                f"{variable}: {name} is the site's own choice: leave it out."
            )


class RedisCache(NamedTuple):
    """What django-redis needs to reach the server of a URL."""

    location: str
    options: dict[str, Any]
    pool: dict[str, Any]  # to be among its CONNECTION_POOL_KWARGS


class _SentinelUrl(NamedTuple):
    """The parts of a URL, each still percent-encoded."""

    scheme: str  # of the server
    username: str
    password: str
    hosts: list[str]
    service: str
    database: str
    parameters: dict[str, str]  # decoded

    @classmethod
    def of(cls, url: str) -> "_SentinelUrl":
        """Return the parts. Not by urlsplit, which takes one address in brackets at most."""
        scheme, _, rest = url.partition("://")
        rest, _, query = rest.partition("?")
        netloc, _, path = rest.partition("/")
        account, _, hosts = netloc.rpartition("@")
        username, _, password = account.partition(":")
        service, _, database = path.strip("/").partition("/")
        return cls(
            _SENTINEL_SCHEMES[scheme],
            username,
            password,
            hosts.split(","),
            service,
            database,
            dict(parse_qsl(query)),
        )

    @property
    def location(self) -> str:
        """The URL of the server under the name of its service, without an account."""
        query = {**self.parameters, "is_master": "1"}
        for name in _SENTINEL_ACCOUNT:
            query.pop(name, None)
        return f"{self.scheme}://{self.service}/{self.database or 0}?{urlencode(query)}"


def redis_cache(url: str, *, timeout_seconds: float) -> RedisCache:
    """
    Return LOCATION and OPTIONS of a cache in settings.CACHES for a URL that was checked.

    Behind Sentinel every command goes to the primary: a replica may lag.
    """
    timeouts = {"socket_connect_timeout": timeout_seconds, "socket_timeout": timeout_seconds}
    options: dict[str, Any] = {name.upper(): value for name, value in timeouts.items()}
    if url.partition("://")[0] not in _SENTINEL_SCHEMES:
        return RedisCache(url, options, {})
    parts = _SentinelUrl.of(url)
    pool: dict[str, Any] = {"service_name": parts.service}  # django-redis has it in lower case
    # Without retry, redis-py tries each Sentinel four times: a look would wait 13 s behind a partition.
    to_sentinel: dict[str, Any] = timeouts | {"retry": Retry(NoBackoff(), 0)}
    to_sentinel |= {
        name: parts.parameters[parameter]
        for parameter, name in _SENTINEL_ACCOUNT.items()
        if parameter in parts.parameters
    }
    if parts.scheme == "rediss":
        pool["connection_class"] = SentinelManagedSSLConnection
        read = parse_url(parts.location)  # type: ignore[no-untyped-call]
        of_tls = {name: value for name, value in read.items() if name.startswith("ssl_")}
        to_sentinel |= {"ssl": True, **of_tls}
    options |= {
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "SENTINELS": [_host_and_port(host) for host in parts.hosts],
        "SENTINEL_KWARGS": to_sentinel,
        "USERNAME": unquote(parts.username),
        "PASSWORD": unquote(parts.password),
    }
    return RedisCache(parts.location, options, pool)


def _host_and_port(text: str) -> tuple[str, int]:
    """Return the address. Raises ValueError."""
    address = _ADDRESS.fullmatch(text)
    port = int(address[3] or _SENTINEL_PORT) if address else 0
    if not address or not 0 < port <= _LARGEST_PORT:
        raise ValueError("no HOST:PORT")
    return address[1] or address[2], port


def _check_sentinel_url(variable: str, url: str) -> None:
    parts = _SentinelUrl.of(url)
    try:
        for host in parts.hosts:
            _host_and_port(host)
    except ValueError as exc:
        raise ImproperlyConfigured(
            f"{variable} cannot be read: a Sentinel is HOST, HOST:PORT or [IPV6]:PORT: {_SENTINEL_FORM}."
        ) from exc
    if not re.fullmatch("[A-Za-z0-9._-]+", parts.service):  # as Sentinel takes it
        raise ImproperlyConfigured(f"{variable} names no service: {_SENTINEL_FORM}.")
    if not (parts.database or "0").isdecimal():
        raise ImproperlyConfigured(f"{variable}: the database is not a number: {_SENTINEL_FORM}.")
    try:
        redis.ConnectionPool.from_url(parts.location.replace("is_master=1", "")).make_connection()
    except (TypeError, ValueError, redis.RedisError) as exc:
        raise ImproperlyConfigured(
            f"{variable} has a parameter that redis-py does not know: {_SENTINEL_FORM}."
        ) from exc


def with_own_pool(url: str, *, max_connections: int) -> str:
    """
    Return the URL of the same Redis and database with a limit of connections.

    django-redis has a pool for each URL, whatever the options of the cache.
    """
    place, _, query = url.partition("?")  # urlunsplit would drop the slashes of unix://
    parameters = dict(parse_qsl(query)) | {"max_connections": str(max_connections)}
    return f"{place}?{urlencode(parameters)}"


def checked_mongodb_uri(uri: str) -> str:
    """Return the URI. Raises ImproperlyConfigured where it is malformed, may lead to old data, or names no database."""
    scheme, _, rest = uri.partition("://")
    if scheme not in ("mongodb", "mongodb+srv"):
        raise ImproperlyConfigured(
            f"MONGODB_URI is not the URL of a MongoDB server: {_MONGODB_FORM}."
        )
    query = rest.partition("?")[2]
    try:
        # By itself the driver leaves out what it does not know, and goes on in plain text where tls=yes.
        options = pymongo.uri_parser.split_options(query) if query else {}
    except (ValueError, PyMongoError) as exc:
        raise ImproperlyConfigured(
            "MONGODB_URI has an option that MongoDB's driver does not know, or a value that it refuses: "
            f"{_MONGODB_FORM}."
        ) from exc
    except OSError as exc:
        raise ImproperlyConfigured(f"MONGODB_URI: {exc.strerror}: {exc.filename}.") from exc
    _refuse_lagging(options)
    try:  # without the DNS, which mongodb+srv needs: see config.mongodb.client.connect
        pymongo.MongoClient[dict[str, Any]](uri, connect=False).close()
    except (ValueError, PyMongoError) as exc:  # their messages may quote the password
        raise ImproperlyConfigured(f"MONGODB_URI cannot be read: {_MONGODB_FORM}.") from exc
    database = rest.rpartition("@")[2].partition("/")[2].partition("?")[0]
    if not database:
        raise ImproperlyConfigured(f"MONGODB_URI names no database: {_MONGODB_FORM}.")
    return uri


def _refuse_lagging(options: Mapping[str, Any]) -> None:
    """Refuse what may read, or lose, what is not on the primary: the cache would keep it."""
    preference = options.get("readPreference", "primary")
    if preference.lower() != "primary":
        raise ImproperlyConfigured(
            f"MONGODB_URI: readPreference={preference} may read from a secondary, which lags: leave it out."
        )
    if options.get("w") in (0, 1):
        raise ImproperlyConfigured(
            f"MONGODB_URI: w={options['w']} lets a failover lose what was acknowledged: write w=majority, or leave it out."
        )
