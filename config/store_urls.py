"""REDIS_URL and MONGODB_URI, checked at start; no error message contains the password."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import pymongo.uri_parser
import redis
from django.core.exceptions import ImproperlyConfigured
from pymongo.errors import PyMongoError

_REDIS_FORM: Final = (
    "write redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// for TLS, or unix:///PATH?db=DATABASE, "
    "special characters percent-encoded"
)
_MONGODB_FORM: Final = (
    "write mongodb://USER:PASSWORD@HOST:PORT/DATABASE, special characters percent-encoded"
)
_SOCKET_PATH_MAX_BYTES: Final = 107  # sun_path of unix(7), without its NUL


def checked_redis_url(variable: str, url: str) -> str:
    """Return the URL. Raises ImproperlyConfigured where redis-py would fail or read another database."""
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
