"""
The edge: answers whole replies from this process's copies, in front of Django.

A view marks a reply that others may be given (Reusable); the edge keeps its bytes and headers under
what the reply depends on, and does on a hit all that Django's way does. It knows no endpoint.
Whatever is out of the ordinary goes on to Django (docs/adr/0024-the-edge.md).
"""

import re
from collections.abc import Callable, Hashable, Iterable, Set
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.urls import Resolver404, resolve

from cachelayer import counts, hooks, http, metrics
from cachelayer.entries import Cached, Source
from cachelayer.first_level import copies
from cachelayer.single_flight import Flight, Flights
from config import tracing
from config.web import durations, problems
from config.web.callers import identity_of_settings
from config.web.fair_semaphore import FairSemaphore
from config.web.gateway import Application, Environ, discard_body, ignore_charset
from config.web.rate_limits import RateLimiter, Refusal
from config.web.request_ids import request_id_of
from config.web.reuse import Reusable, Scope
from config.web.trace_context import log_fields, trace_id_of

log = structlog.get_logger("request")

Headers = list[tuple[str, str]]
_Key = tuple[str | None, ...]  # what of a request its reply depends on
_Finish = Callable[..., None]  # of a response, or None, and kept
# Of the fields that Django's way reads, those that make a request out of the ordinary, and those
# that are understood here; tests/config/web/test_edge.py looks for others.
UNUSUAL: Final = frozenset(
    {
        "HTTP_AUTHORIZATION",
        "HTTP_COOKIE",
        "HTTP_CACHE_CONTROL",
        "HTTP_PRAGMA",
        "HTTP_IF_MATCH",
        "HTTP_IF_MODIFIED_SINCE",
        "HTTP_IF_UNMODIFIED_SINCE",
        "HTTP_IF_RANGE",
        "HTTP_RANGE",
        "HTTP_EXPECT",
        "HTTP_UPGRADE",
        "HTTP_TRANSFER_ENCODING",
        "HTTP_CONTENT_ENCODING",
        "HTTP_X_HTTP_METHOD_OVERRIDE",
        "HTTP_X_TRACE",
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
    }
)
UNDERSTOOD: Final = frozenset(
    {
        *("HTTP_HOST", "HTTP_X_FORWARDED_PROTO"),  # in the key
        *("HTTP_X_USER_ID", "HTTP_X_REQUEST_ID", "HTTP_IF_NONE_MATCH", "HTTP_TRACEPARENT"),
        *("HTTP_USER_AGENT", "HTTP_X_FORWARDED_FOR"),  # recorded with the event
    }
)
_METHODS: Final = ("GET", "HEAD")
_OK: Final = "200 OK"
_NOT_MODIFIED: Final = "304 Not Modified"
_OVERHEAD_BYTES: Final = 2_500  # of a copy's headers, and what else is kept with its body
# A request waits at most so long for another's reply, then goes on to Django, which has time limits of its own.
_WAIT_SECONDS: Final = 0.25
_KNOWN_MAX: Final = 10_000  # of the keys whose replies are known to be kept
_KEY_CHARACTERS_MAX: Final = 2_048  # of a reply that is kept; a client's fields may be longer
_BY_CALLER: Final = frozenset(
    {"X-User-Id", "Authorization", "Cookie"}
)  # of which the user id is made
_PRIVATE_DIRECTIVES: Final = re.compile(r"no-store|(private|no-cache)=")
_TIMINGS: Final = tuple(
    [("Server-Timing", f"app;dur={hundredths / 100:.2f}") for hundredths in range(100)]
)


class _Reply:
    """A kept reply: what is sent in full and as a 304, and what a hit counts and repeats."""

    __slots__ = (
        "body",
        "durations",
        "endpoint",
        "etag",
        "expires_at",
        "headers",
        "headers_of_304",
        "hits_of_name",
        "hits_of_namespace",
        "namespace",
        "on_reuse",
        "status_positions",
        "ttl",
    )

    def __init__(self, headers: Headers, reusable: Reusable) -> None:
        self.body = reusable.body
        self.endpoint = reusable.endpoint
        self.durations = durations.of_copies(reusable.endpoint, Source.FIRST_LEVEL)
        self.expires_at = perf_counter() + reusable.remaining_seconds
        self.namespace = reusable.namespace
        self.hits_of_namespace, self.hits_of_name = counts.hits(reusable.namespace, reusable.name)
        self.on_reuse = tuple(reusable.on_reuse)
        content_type = ("Content-Type", reusable.content_type)
        if content_type not in headers:  # of a 304
            headers.insert(reusable.content_type_position, content_type)
        length = str(len(self.body))
        self.headers = [_with_length(header, length) for header in headers]
        self.headers_of_304 = [
            _with_length(header, "0") for header in headers if header != content_type
        ]
        self.etag = dict(headers)["ETag"]
        self.status_positions = tuple(
            [name for name, _ in sent].index("Cache-Status")
            for sent in (self.headers, self.headers_of_304)
        )
        self.ttl = -1  # no text yet

    def show_ttl(self, ttl: int) -> None:
        """Put the seconds that are left into Cache-Status."""
        status = "Cache-Status", http.cache_status(Cached(None, Source.FIRST_LEVEL, ttl))
        self.headers[self.status_positions[0]] = status
        self.headers_of_304[self.status_positions[1]] = status
        self.ttl = ttl


class _Collapsed(_Reply):
    """A kept reply for a request that waited until another had it loaded."""

    __slots__ = ()

    def __init__(self, reply: _Reply) -> None:
        for name in _Reply.__slots__:
            setattr(self, name, getattr(reply, name))
        self.headers, self.headers_of_304 = reply.headers.copy(), reply.headers_of_304.copy()
        self.durations = durations.of_copies(reply.endpoint, Source.COLLAPSED)
        status = "Cache-Status", http.cache_status(Cached(None, Source.COLLAPSED, 0))
        self.headers[self.status_positions[0]] = status
        self.headers_of_304[self.status_positions[1]] = status

    def show_ttl(self, ttl: int) -> None:
        """Leave Cache-Status as it is: it says no ttl."""


class _Waiting:
    """
    Of the requests of this process for one copy that was invalidated, one goes on; the others wait for its reply.

    So a hot key costs Django's way once for each invalidation and process, however many ask for it
    meanwhile. Whoever has waited takes nothing but a copy that holds at that moment, as any hit does.
    """

    def __init__(self) -> None:
        self._flights = Flights()
        # Whose replies were kept before: of others, there is nothing to wait for.
        self._known: dict[Hashable, None] = {}

    def join(self, keys: Iterable[Hashable]) -> tuple[_Reply | None, _Finish | None]:
        """
        Return the reply that is kept under one of the keys, as soon as there is one.

        Or else, where others may wait for the caller, what it must call with its response, if it got one,
        and with whether that was kept. Neither: there was none in time, or none is to be expected.
        """
        key = next((key for key in keys if key in self._known), None)
        deadline = perf_counter() + _WAIT_SECONDS
        expected = key is not None and hooks.single_flight_scope.get() != "none"
        while expected:
            flight, leads = self._flights.join(key)
            if not leads and not flight.wait(deadline - perf_counter()):
                break
            reply: _Reply | None = copies.get(key)
            if leads and reply is None:
                return None, partial(self._finish, key, flight)
            if leads:  # another had just left
                self._flights.close(key, flight)
                flight.finish(True, shared=False)
            if reply is not None:
                if not flight.shared:
                    return reply, None
                metrics.waits(reply.namespace).inc()
                return _Collapsed(reply), None
            expected = flight.result
        return None, None

    def _finish(self, key: Hashable, flight: Flight, response: Any, *, kept: bool) -> None:
        source = getattr(response, "cache_source", None)
        # What is not stored because it was invalidated meanwhile may be stored the next time.
        expected = kept or source is Source.FENCED
        if not expected:
            self._known.pop(key, None)
        self._flights.close(key, flight)
        flight.finish(expected, shared=source in (Source.LOADED, Source.COLLAPSED))

    def know(self, key: Hashable) -> None:
        """Expect replies under that key from now on."""
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[key] = None


class Edge:
    """
    A WSGI application that answers from copies, and leaves everything else to application.

    Of those at most WEB_THREADS are under way at once, besides requests of the paths never_waiting: the others
    wait, so that a hit competes for the interpreter with few. is_sampled draws whether the trace of a request is
    stored, by application then. keep_slow is called with each hit that took longer than SLOW_QUERY_MS: its
    environ, endpoint, status, id and milliseconds. limiter counts each request, where there are rate limits.
    """

    def __init__(
        self,
        application: Application,
        *,
        is_sampled: Callable[[Environ], bool] | None,
        keep_slow: Callable[[Environ, str, int, str, float], None],
        never_waiting: Set[str] = frozenset(),
        limiter: RateLimiter | None = None,
    ) -> None:
        self._application = application
        self._is_sampled = is_sampled
        self._keep_slow = keep_slow
        self._never_waiting = never_waiting
        self._limiter = limiter
        self._waiting = _Waiting()
        self._room = FairSemaphore(settings.WEB_THREADS)
        identity = identity_of_settings()
        self._user_id_of = identity.user_id_at_edge
        self._known, self._field, self._absent = identity.known, identity.field, identity.absent
        self._unusual = UNUSUAL - identity.fields_at_edge
        self._logs_hits = settings.EDGE_ACCESS_LOG
        # Up to here a hit takes no longer than most do, and is not slow.
        self._quick_hundredths = min(len(_TIMINGS), settings.SLOW_QUERY_MS * 100)

    def __call__(  # noqa: C901, PLR0915  # each function of its own would cost a hit as much as these steps
        self, environ: Environ, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer from a copy; or let Django answer."""
        started = perf_counter()
        if self._is_sampled is not None and self._is_sampled(environ):
            return _in_one_piece(self._pass(environ, start_response, started))
        method = environ["REQUEST_METHOD"]
        host = environ.get("HTTP_HOST")  # without one, as in HTTP/1.0, Django asks the environment
        if method not in _METHODS or host is None or not environ.keys().isdisjoint(self._unusual):
            return _in_one_piece(self._pass(environ, start_response, started))
        user_id = self._known.get(environ.get(self._field, self._absent)) or self._user_id_of(
            environ
        )
        key = (
            environ["PATH_INFO"],
            environ["QUERY_STRING"],
            host,
            environ["wsgi.url_scheme"],
            environ.get("HTTP_X_FORWARDED_PROTO"),
            environ["SCRIPT_NAME"],
        )
        reply: _Reply | None = copies.get(key) or copies.get((key, user_id))
        if reply is None or user_id is None:
            finish = None
            if user_id is not None and method == "GET":
                reply, finish = self._waiting.join((key, (key, user_id)))
            if reply is None or user_id is None:
                return self._forward(environ, start_response, started, key, finish)
        if self._limiter is not None and (refusal := self._limiter.refusal(environ, is_hit=True)):
            return self._refuse(environ, start_response, started, refusal)
        request_id = request_id_of(environ)
        ttl = int(reply.expires_at - started)
        if ttl != reply.ttl:
            reply.show_ttl(ttl)
        if_none_match = environ.get("HTTP_IF_NONE_MATCH")
        if if_none_match is None or not (
            if_none_match == reply.etag or http.not_modified(if_none_match, reply.etag)
        ):
            status, headers, body = _OK, reply.headers.copy(), reply.body
            measured = reply.durations[method][0]
            if method == "GET":
                for repeat in reply.on_reuse:
                    repeat(environ, user_id, request_id)
        else:
            status, headers, body = _NOT_MODIFIED, reply.headers_of_304.copy(), b""
            measured = reply.durations[method][1]
        next(reply.hits_of_namespace.add)
        next(reply.hits_of_name.add)
        seconds = perf_counter() - started
        measured.append(seconds)
        hundredths = int(seconds * 100_000)
        if hundredths < self._quick_hundredths and not self._logs_hits:
            headers[-2] = ("X-Request-ID", request_id)
            headers[-1] = _TIMINGS[hundredths]
        else:
            cache = reply.headers[reply.status_positions[0]][1]
            code, elapsed_ms = int(status[:3]), seconds * 1000
            headers[-2:] = self._report(environ, code, cache, request_id, elapsed_ms)
            if elapsed_ms > settings.SLOW_QUERY_MS:
                self._keep_slow(environ, reply.endpoint, code, request_id, elapsed_ms)
        start_response(status, headers)
        return [body]

    def _pass(
        self, environ: Environ, start_response: Callable[..., Any], started: float
    ) -> Iterable[bytes]:
        """
        Let Django answer, where the limit admits it, and once there is room.

        Measure the request from its start, by perf_counter().
        """
        if "CONTENT_TYPE" in environ:
            ignore_charset(environ)
        if self._limiter is not None and (refusal := self._limiter.refusal(environ)):
            return self._refuse(environ, start_response, started, refusal)
        if environ["PATH_INFO"] in self._never_waiting:
            response = self._application(environ, start_response)
        else:
            with self._room:
                response = self._application(environ, start_response)
        durations.append(response, environ["REQUEST_METHOD"], perf_counter() - started)
        return response

    def _forward(
        self,
        environ: Environ,
        start_response: Callable[..., Any],
        started: float,
        key: _Key,
        finish: _Finish | None,
    ) -> Iterable[bytes]:
        """Have Django answer, and keep the reply where its view allows that; wake who waits for it."""
        response, kept = None, False
        try:
            response = self._pass(environ, start_response, started)
            kept = self._keep(environ, key, response)
        finally:
            if finish is not None:
                finish(response, kept=kept)
        return _in_one_piece(response)

    def _keep(self, environ: Environ, depends_on: _Key, response: Any) -> bool:
        reusable: Reusable | None = getattr(response, "reusable", None)
        key_characters = sum(len(part) for part in depends_on if part is not None)
        if (
            reusable is None
            or environ["REQUEST_METHOD"] != "GET"
            or key_characters > _KEY_CHARACTERS_MAX
            or not _is_shareable(response, reusable.scope)
        ):
            return False
        key: Hashable = depends_on
        if reusable.scope is Scope.CALLER:
            user_id = self._user_id_of(environ)  # of a token that Django has verified only now
            if user_id is None:
                return False
            key = (depends_on, user_id)
        reply = _Reply(list(response.items()), reusable)
        size = len(reply.body) + key_characters + _OVERHEAD_BYTES
        kept = copies.put(key, reply, size, reusable.guard, reusable.fresh_ms / 1000)
        if kept:
            self._waiting.know(key)
        return kept

    def _refuse(
        self,
        environ: Environ,
        start_response: Callable[..., Any],
        started: float,
        refusal: Refusal,
    ) -> Iterable[bytes]:
        """Answer with a 429, which costs less than Django's way."""
        discard_body(environ)
        request: Any = WSGIRequest(environ)
        request.request_id = request_id_of(environ)  # both read by problems
        request.trace_id = trace_id_of(environ)
        response: Any = problems.too_many_requests(request, refusal)
        for middleware in (XFrameOptionsMiddleware, SecurityMiddleware):
            response = middleware(lambda _: HttpResponse()).process_response(request, response)
        response.headers["Content-Length"] = str(len(response.content))
        with suppress(Resolver404):
            request.resolver_match = resolve(request.path_info)
        response.route = tracing.endpoint_of(request)
        seconds = perf_counter() - started
        durations.append(response, environ["REQUEST_METHOD"], seconds)
        status = response.status_code
        for name, value in self._report(environ, status, None, request.request_id, seconds * 1000):
            response.headers[name] = value
        start_response(f"{status} {response.reason_phrase}", list(response.items()))
        return [b"" if request.method == "HEAD" else response.content]

    def _report(
        self, environ: Environ, status: int, cache: str | None, request_id: str, elapsed_ms: float
    ) -> Headers:
        """Log the request where EDGE_ACCESS_LOG is set; return X-Request-ID and Server-Timing."""
        if self._logs_hits:
            log.info(
                "request",
                method=environ["REQUEST_METHOD"],
                path=environ["SCRIPT_NAME"] + environ["PATH_INFO"],
                status=status,
                duration_ms=round(elapsed_ms, 2),
                cache=cache,
                **log_fields(request_id, trace_id_of(environ)),
            )
        return [("X-Request-ID", request_id), ("Server-Timing", f"app;dur={elapsed_ms:.2f}")]


def _in_one_piece(response: Any) -> Iterable[bytes]:
    """Return the body of a reply that does not stream as granian sends it at once: in a list."""
    if getattr(response, "streaming", True):
        return response  # type: ignore[no-any-return]  # of whatever application this is
    content = response.content
    response.close()  # which the server would do, of what it has to iterate
    return [content]


def _with_length(header: tuple[str, str], length: str) -> tuple[str, str]:
    return ("Content-Length", length) if header[0] == "Content-Length" else header


def _is_shareable(response: Any, scope: Scope) -> bool:
    """Return whether nothing in the reply, whoever put it there, is for its own request alone."""
    vary = response.headers.get("Vary")
    return (
        response.status_code in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)
        and not response.cookies
        and (vary is None or (scope is Scope.CALLER and _BY_CALLER.issuperset(vary.split(", "))))
        and not _PRIVATE_DIRECTIVES.search(response.headers.get("Cache-Control", ""))
        and [name for name, _ in response.items()][-2:] == ["X-Request-ID", "Server-Timing"]
    )
