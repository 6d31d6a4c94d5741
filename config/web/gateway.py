"""What granian leaves to a WSGI application: whole bodies, and an environment that is no request's."""

import io
import os
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_DISCARDED_LIMITS: Final = 8  # of a body that is too long, so many times REQUEST_BODY_MAX_BYTES
_PIECE_BYTES: Final = 65_536
# The meta-variables of RFC 3875 (section 4.1), and what else Django reads in a request's META.
_SPEAKS_FOR_A_REQUEST: Final = re.compile(
    r"HTTP_.*|CONTENT_(LENGTH|TYPE)|REMOTE_(ADDR|HOST|IDENT|USER)|AUTH_TYPE|QUERY_STRING"
    r"|REQUEST_METHOD|PATH_(INFO|TRANSLATED)|SERVER_(NAME|PORT|PROTOCOL)"
    r"|SCRIPT_(NAME|URL)|REDIRECT_URL|CSRF_COOKIE.*|wsgi\..*"
)


def silence_environment() -> None:
    """
    Take out of the process's environment every variable that would count as part of a request.

    granian copies the environment into each request (granian/wsgi.py), once the application is
    loaded: HTTP_X_USER_ID=eve would be the header X-User-Id of all of them.
    """
    for name in list(os.environ):
        if _SPEAKS_FOR_A_REQUEST.fullmatch(name):
            del os.environ[name]


def with_whole_bodies(application: Application) -> Application:
    """
    Return the application that is called with each request's whole body, and its CONTENT_LENGTH.

    Django reads as many bytes as CONTENT_LENGTH says, so none of a body that was sent in chunks
    (RFC 9112, 7.1), for which granian has no length. Such a body is read here, at most one byte
    more than REQUEST_BODY_MAX_BYTES: RequestBodyMiddleware refuses what is longer. A body that
    ends before its Content-Length is a 400 (RFC 9112, 8), not a shorter body.
    """

    def serve(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        stream, most = environ["wsgi.input"], settings.REQUEST_BODY_MAX_BYTES
        length = int(environ.get("CONTENT_LENGTH") or 0)
        is_in_chunks = "HTTP_TRANSFER_ENCODING" in environ
        if not length and not is_in_chunks:
            return application(environ, start_response)
        body = _read(stream, min(length, most + 1) if length else most + 1)
        if len(body) > most:
            _discard(stream, most * _DISCARDED_LIMITS)
        elif not is_in_chunks and len(body) < length:
            start_response(f"400 {HTTPStatus.BAD_REQUEST.phrase}", [("Connection", "close")])
            return [b""]
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        return application(environ, start_response)

    return serve


def _read(stream: Any, size: int) -> bytes:
    """Return at most size bytes: a read of a body in chunks may return one chunk."""
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _discard(stream: Any, size: int) -> None:
    """
    Read size bytes more at the most, and keep none.

    Where the connection is closed on a client that still sends, it may never see the answer
    (RFC 9112, 9.6).
    """
    while size > 0 and (part := stream.read(min(size, _PIECE_BYTES))):
        size -= len(part)
