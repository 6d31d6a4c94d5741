"""REDIS_URL and MONGODB_URI, checked at start; no error message contains the password."""

import re
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import pymongo.uri_parser
import redis
from django.core.exceptions import ImproperlyConfigured
from pymongo.errors import PyMongoError
from redis.backoff import NoBackoff
from redis.retry import Retry

_REDIS_FORM: Final = (
    "write redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// for TLS, redis+sentinel:// for Sentinel, "
    "or unix:///PATH?db=DATABASE, "
    "special characters percent-encoded"
)
_MONGODB_FORM: Final = (
    "write mongodb://USER:PASSWORD@HOST:PORT/DATABASE, special characters percent-encoded"
)
_SENTINEL_SCHEME: Final = "redis+sentinel"
_SENTINEL_FORM: Final = "write redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DATABASE, special characters percent-encoded"
_SENTINEL_PORT: Final = 26_379
_CLUSTER_SCHEME: Final = re.compile(r"(redis|rediss|valkey|valkeys)\+cluster", re.IGNORECASE)
_LARGEST_PORT: Final = 65_535
_SOCKET_PATH_MAX_BYTES: Final = 107  # sun_path of unix(7), without its NUL


def checked_redis_url(variable: str, url: str) -> str:
    """Return the URL. Raises ImproperlyConfigured where redis-py would fail or read another database."""
    _refuse_cluster_url(variable, url)
    if url.partition("://")[0] == _SENTINEL_SCHEME:
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


def _refuse_cluster_url(variable: str, url: str) -> None:
    if _CLUSTER_SCHEME.fullmatch(url.partition("://")[0]):
        raise ImproperlyConfigured(
            f"{variable} names a Redis Cluster, which is not supported: a write's register of hosts and its stamps would "
            "lie on several nodes (docs/adr/0033-redis-cluster.md). Use Sentinel: "
            f"{_SENTINEL_FORM}."
        )


class RedisCache(NamedTuple):
    """What django-redis needs to reach the server of a URL."""

    location: str
    options: dict[str, Any]


def redis_cache(url: str, *, timeout_seconds: float) -> RedisCache:
    """
    Return LOCATION and OPTIONS of a cache in settings.CACHES for a URL that was checked.

    Behind Sentinel every command goes to the primary: a replica may lag.
    """
    timeouts = {"socket_connect_timeout": timeout_seconds, "socket_timeout": timeout_seconds}
    options: dict[str, Any] = {name.upper(): value for name, value in timeouts.items()}
    parts = urlsplit(url)
    if parts.scheme != _SENTINEL_SCHEME:
        return RedisCache(url, options)
    account, _, hosts = parts.netloc.rpartition("@")
    username, _, password = account.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    query = urlencode({**dict(parse_qsl(parts.query)), "is_master": "1"})
    options |= {
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "SENTINELS": [_host_and_port(host) for host in hosts.split(",")],
        # Without retry, redis-py tries each Sentinel four times: a look would wait 13 s behind a partition.
        "SENTINEL_KWARGS": timeouts | {"retry": Retry(NoBackoff(), 0)},
        "USERNAME": unquote(username),
        "PASSWORD": unquote(password),
    }
    return RedisCache(f"redis://{service}/{database or 0}?{query}", options)


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, ":", str(_SENTINEL_PORT))
    return host, int(port)


def _check_sentinel_url(variable: str, url: str) -> None:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    hosts = parts.netloc.rpartition("@")[2].split(",")
    try:
        addresses = [_host_and_port(host) for host in hosts]
    except ValueError:
        addresses = [("", 0)]
    if not all(host and 0 < port <= _LARGEST_PORT for host, port in addresses):
        raise ImproperlyConfigured(f"{variable} cannot be read: {_SENTINEL_FORM}.")
    if not re.fullmatch("[A-Za-z0-9._-]+", service):  # as Sentinel takes it
        raise ImproperlyConfigured(f"{variable} names no service: {_SENTINEL_FORM}.")
    if not (database or "0").isdecimal():
        raise ImproperlyConfigured(f"{variable}: the database is not a number: {_SENTINEL_FORM}.")
    cache = redis_cache(url, timeout_seconds=1)
    try:
        redis.ConnectionPool.from_url(cache.location.replace("is_master=1", "")).make_connection()
    except (TypeError, ValueError) as exc:
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
    """Return the URI. Raises ImproperlyConfigured where it is malformed or names no database."""
    scheme, _, rest = uri.partition("://")
    if scheme not in ("mongodb", "mongodb+srv"):
        raise ImproperlyConfigured(
            f"MONGODB_URI is not the URL of a MongoDB server: {_MONGODB_FORM}."
        )
    if (
        scheme == "mongodb"
    ):  # parsing mongodb+srv queries the DNS: see config.mongodb.client.connect
        try:
            pymongo.uri_parser.parse_uri(uri, warn=True)
        except (ValueError, PyMongoError) as exc:  # their messages may quote the password
            raise ImproperlyConfigured(f"MONGODB_URI cannot be read: {_MONGODB_FORM}.") from exc
    database = rest.rpartition("@")[2].partition("/")[2].partition("?")[0]
    if not database:
        raise ImproperlyConfigured(f"MONGODB_URI names no database: {_MONGODB_FORM}.")
    return uri
