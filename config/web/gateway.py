"""What granian leaves to the application: complete bodies, no header from the environment, and one encoding."""

import io
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from django.conf import settings
from django.utils.http import parse_header_parameters

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

ENDS_EARLY: Final = "trilith.body_ends_early"  # in the environ
_DISCARDED_LIMITS: Final = 8  # of too long a body, in multiples of REQUEST_BODY_MAX_BYTES
_CHUNK_BYTES: Final = 65_536
# The meta-variables of RFC 3875 (section 4.1), and what else Django reads in a request's META.
_REQUEST_VARIABLES: Final = re.compile(
    r"HTTP_.*|CONTENT_(LENGTH|TYPE)|REMOTE_(ADDR|HOST|IDENT|USER)|AUTH_TYPE|QUERY_STRING"
    r"|REQUEST_METHOD|PATH_(INFO|TRANSLATED)|SERVER_(NAME|PORT|PROTOCOL)"
    r"|SCRIPT_(NAME|URL)|REDIRECT_URL|CSRF_COOKIE.*|wsgi\..*"
)


def remove_request_variables() -> None:
    """
    Remove every environment variable that would count as part of a request.

    granian copies the environment into each request (granian/wsgi.py), once the application is
    loaded: HTTP_X_USER_ID=eve would be the header X-User-Id of all requests.
    """
    for name in list(os.environ):
        if _REQUEST_VARIABLES.fullmatch(name):
            del os.environ[name]


def ignore_charset(environ: Environ) -> None:
    """
    Remove the parameters of a Content-Type that names a charset or is malformed: all text here is UTF-8.

    Django would decode the query, too, by the charset that any client names, and has no answer to one that
    is no encoding of text, such as rot13, nor to a parameter that RFC 2231 does not allow.
    """
    header = environ.get("CONTENT_TYPE", "")
    try:
        is_usable = "charset" not in parse_header_parameters(header)[1]
    except ValueError:
        is_usable = False
    if not is_usable:
        environ["CONTENT_TYPE"] = header.partition(";")[0]


def with_complete_bodies(application: Application) -> Application:
    """
    Return an application that passes on complete bodies with their CONTENT_LENGTH.

    Django reads CONTENT_LENGTH bytes, so nothing of a chunked body (RFC 9112, 7.1), for which
    granian has no length. Such a body is read here, up to one byte more than
    REQUEST_BODY_MAX_BYTES, so that RequestBodyMiddleware refuses longer ones. A body that ends
    before its Content-Length is marked for that middleware, too: a 400 (RFC 9112, 8), not a shorter body.
    """

    def serve(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        stream, most = environ["wsgi.input"], settings.REQUEST_BODY_MAX_BYTES
        length = int(environ.get("CONTENT_LENGTH") or 0)
        is_chunked = "HTTP_TRANSFER_ENCODING" in environ
        if not length and not is_chunked:
            return application(environ, start_response)
        body = _read(stream, min(length, most + 1) if length else most + 1)
        if len(body) > most:
            _discard(stream, most * _DISCARDED_LIMITS)
        elif not is_chunked and len(body) < length:
            environ[ENDS_EARLY] = True
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        return application(environ, start_response)

    return serve


def discard_body(environ: Environ) -> None:
    """Read and drop the body of a request that is answered without it, as far as it is not too long."""
    if int(environ.get("CONTENT_LENGTH") or 0) or "HTTP_TRANSFER_ENCODING" in environ:
        _discard(environ["wsgi.input"], settings.REQUEST_BODY_MAX_BYTES)


def _read(stream: Any, size: int) -> bytes:
    """Return up to size bytes: a read of a chunked body may return a single chunk."""
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _discard(stream: Any, size: int) -> None:
    """
    Read and drop up to size bytes.

    A client that still sends when the connection closes may never see the reply (RFC 9112, 9.6).
    """
    while size > 0 and (part := stream.read(min(size, _CHUNK_BYTES))):
        size -= len(part)
