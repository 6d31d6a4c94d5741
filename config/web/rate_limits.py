"""
Rate limits of the API: of each caller and each scope, over all processes of all instances.

Redis counts, in fixed windows that begin with a caller's first request (the library limits). What
Django answers is counted there before it is admitted. A hit of the edge is counted here, and settled with
Redis some milliseconds later, as long as few are open (docs/adr/0025-rate-limits.md).
"""

from __future__ import annotations

import functools
import math
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import redis
import structlog
from django.conf import settings
from prometheus_client import Counter

from cachelayer.client import CacheDown, client, execute
from cachelayer.conf import config
from cachelayer.supervision import supervise
from config.web.callers import identity_of_settings

if TYPE_CHECKING:
    from limits import RateLimitItem

    from config.web.gateway import Environ

log = structlog.get_logger("api")

SETTLE_SECONDS: Final = 0.05
SHARES: Final = 20  # a process has at most this part of what is left admitted and not settled
_PROBE_SECONDS: Final = 0.25
_WINDOWS_MAX: Final = 10_000  # beyond that, this process forgets what it knows, and learns it anew
_BATCH: Final = 500
_LIMITED: Final = "/api/v1/"
_UNLIMITED: Final = ("/api/v1/metrics/", "/api/v1/admin/")
_READS: Final = ("GET", "HEAD")
_has_q: Final = re.compile(r"(?:^|&)(?:q|%71)(?:[=&]|$)").search  # %71 is a q, too

REFUSED: Final = Counter("rate_limit_refused", "Requests refused by a rate limit", ["scope"])
UNCHECKED: Final = Counter(
    "rate_limit_unchecked", "Requests admitted unchecked because Redis was away", ["scope"]
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused, and after how many seconds the next one is not."""

    scope: str
    limit: RateLimitItem
    retry_after_seconds: int

    def __str__(self) -> str:
        return f"The limit of {self.scope} requests is {self.limit}."


class _Window:
    """What this process knows of a caller's present window in one scope."""

    __slots__ = ("ends_at", "generation", "in_flight", "limit", "name", "unsettled", "used")

    def __init__(self, limit: RateLimitItem, name: str) -> None:
        self.limit = limit
        self.name = name  # in Redis
        self.generation = 0  # a reply about an earlier window says nothing of this one
        self.begin(0.0)

    def begin(self, ends_at: float) -> None:
        """Start anew; ends_at is a guess until Redis replies."""
        self.ends_at = ends_at
        self.generation += 1
        self.used = 0  # by all processes, as far as is known here
        self.unsettled = 0  # admitted here, and not confirmed by Redis
        self.in_flight = 0  # of these, on their way to Redis

    def has_room_for_hit(self) -> bool:
        """Return whether a hit may be admitted before Redis knows of it."""
        return self.unsettled < (self.limit.amount - self.used) // SHARES


class _Settlement(NamedTuple):
    """A number of hits that were admitted, and of requests that are to be, on their way to Redis."""

    window: _Window
    generation: int
    hits: int
    requests: int


class RateLimiter:
    """
    Counts requests and refuses those beyond their limit; while Redis is away, none.

    limits has a limit for some of the scopes read, write and search. Settle often, or
    start_in_background.
    """

    def __init__(self, limits: dict[str, RateLimitItem]) -> None:
        from limits import parse  # noqa: PLC0415  # takes 70 ms, which a site without limits is spared
        from limits.storage import RedisStorage  # noqa: PLC0415

        self._limits = limits
        self._counted_as = identity_of_settings().counted_as
        # Of its own connections it has none: those of the cache are used, and only through execute().
        self._storage = RedisStorage(
            "redis://",
            connection_pool=client().connection_pool,
            key_prefix=f"{config().PREFIX}-rate-limits",
        )
        self._probe = _Window(parse("1/second"), self._storage.prefixed_key("probe"))
        self._lock = threading.Lock()  # of whatever follows
        self._windows: dict[tuple[str, str], _Window] = {}
        self._open: list[_Window] = []  # those with hits to settle
        self._has_work = threading.Event()
        self._is_away = False

    def refusal(self, environ: Environ, *, is_hit: bool = False) -> Refusal | None:
        """
        Count a request; return None where it is admitted.

        is_hit: it can be answered without any server, so it should not wait for Redis. Requests of
        callers who are not valid are left to authentication.
        """
        scope = scope_of(environ)
        limit = self._limits.get(scope)
        if limit is None:
            return None
        user_id = self._counted_as(environ)
        if user_id is None:
            return None
        if self._is_away:
            UNCHECKED.labels(scope).inc()
            return None
        now = time.monotonic()
        with self._lock:
            window = self._window(scope, user_id, limit, now)
            if window.used >= limit.amount:
                return _refused(scope, limit, window.ends_at - now)
            is_settled_later = is_hit and window.has_room_for_hit()
            window.used += 1
            if is_settled_later:
                self._note_hit(window)
                return None
            settlement = _take(window, requests=1)
        totals = self._send([settlement])
        if totals is None:
            UNCHECKED.labels(scope).inc()
            return None
        [(total, seconds_left)] = totals
        return None if total <= limit.amount else _refused(scope, limit, seconds_left)

    def settle(self) -> None:
        """Tell Redis of the hits; where it was away, find out whether it is back."""
        if self._is_away:
            if self._send([_Settlement(self._probe, self._probe.generation, 0, 1)]) is None:
                self._has_work.set()
            return
        now = time.monotonic()
        with self._lock:
            windows, self._open = self._open, []
            # Hits of a window that is over would count in the next.
            settlements = [_take(window) for window in windows if now < window.ends_at]
        settlements = [settlement for settlement in settlements if settlement.hits]
        for first in range(0, len(settlements), _BATCH):
            if self._send(settlements[first : first + _BATCH]) is None:
                return

    def start_in_background(self) -> None:
        """Settle from now on; call it once in each process, after any fork."""
        supervise("rate-limits", self._keep_settling)

    def _keep_settling(self) -> None:
        pause = threading.Event()
        if self._is_away:  # this thread has failed over it, and is to find it again all the same
            self._has_work.set()
        while True:
            self._has_work.wait()
            pause.wait(_PROBE_SECONDS if self._is_away else SETTLE_SECONDS)
            self._has_work.clear()
            self.settle()

    def _window(self, scope: str, user_id: str, limit: RateLimitItem, now: float) -> _Window:
        """Return the present window."""
        window = self._windows.get((scope, user_id))
        if window is None:
            if len(self._windows) >= _WINDOWS_MAX:
                self._windows.clear()
            name = self._storage.prefixed_key(limit.key_for(scope, user_id))
            window = self._windows[scope, user_id] = _Window(limit, name)
        if now >= window.ends_at:
            window.begin(now + limit.get_expiry())
        return window

    def _note_hit(self, window: _Window) -> None:
        window.unsettled += 1
        if window.unsettled - window.in_flight == 1:
            self._open.append(window)
            self._has_work.set()

    def _send(self, settlements: Sequence[_Settlement]) -> list[tuple[int, float]] | None:
        """Return the total of each window and the seconds until it ends; None where Redis is away."""
        try:
            replies = execute("limit", functools.partial(self._increment, settlements))
        except CacheDown as exc:
            self._lose(exc.__cause__ or exc)
            return None
        for reply in replies:
            if isinstance(reply, redis.RedisError):  # a full Redis refuses writes
                self._lose(reply)
                return None
        self._find_again()
        pairs = zip(replies[::2], replies[1::2], strict=True)
        totals = [(int(total), max(0, milliseconds) / 1000) for total, milliseconds in pairs]
        now = time.monotonic()
        with self._lock:
            for settlement, (total, seconds_left) in zip(settlements, totals, strict=True):
                _learn(settlement, total, now + seconds_left)
        return totals

    def _increment(self, settlements: Sequence[_Settlement], r: redis.Redis) -> list[Any]:
        pipe = r.pipeline(transaction=False)
        for window, _, hits, requests in settlements:
            expiry_and_amount = (window.limit.get_expiry(), hits + requests)
            self._storage.lua_incr_expire([window.name], expiry_and_amount, client=pipe)
            pipe.pttl(window.name)
        replies: list[Any] = pipe.execute(raise_on_error=False)
        return replies

    def _lose(self, reason: BaseException) -> None:
        with self._lock:
            was_away, self._is_away = self._is_away, True
            # What is admitted from now on is counted nowhere.
            self._windows.clear()
            self._open.clear()
        self._has_work.set()
        if not was_away:
            log.warning("Rate limits unavailable", reason=str(reason).split("\n")[0])

    def _find_again(self) -> None:
        if not self._is_away:
            return
        with self._lock:
            was_away, self._is_away = self._is_away, False
        if was_away:
            log.warning("Rate limits available again")


def limiter_of_settings() -> RateLimiter | None:
    """Return the limiter of the RATE_LIMIT_ settings, None where all are empty."""
    limit_of_scope = {
        "read": settings.RATE_LIMIT_READ,
        "write": settings.RATE_LIMIT_WRITE,
        "search": settings.RATE_LIMIT_SEARCH,
    }
    limits = {scope: limit for scope, limit in limit_of_scope.items() if limit is not None}
    return RateLimiter(limits) if limits else None


def is_limited(path: str) -> bool:
    """Return whether requests of the path have limits: the API without metrics and administration."""
    return path.startswith(_LIMITED) and not path.startswith(_UNLIMITED)


def scope_of(environ: Environ) -> str:
    """Return read, write or search; an empty text where nothing is limited."""
    if not is_limited(environ["PATH_INFO"]):
        return ""
    if environ["REQUEST_METHOD"] not in _READS:
        return "write"
    query = environ["QUERY_STRING"]
    return "search" if query and _has_q(query) else "read"


def _take(window: _Window, *, requests: int = 0) -> _Settlement:
    """Return what Redis does not know yet of the window."""
    hits = window.unsettled - window.in_flight
    window.in_flight += hits
    return _Settlement(window, window.generation, hits, requests)


def _learn(settlement: _Settlement, total: int, ends_at: float) -> None:
    """Take over what Redis has replied."""
    window = settlement.window
    if window.generation == settlement.generation:
        window.unsettled -= settlement.hits
        window.in_flight -= settlement.hits
        window.used = max(window.used, total + window.unsettled - window.in_flight)
        window.ends_at = ends_at


def _refused(scope: str, limit: RateLimitItem, seconds_left: float) -> Refusal:
    REFUSED.labels(scope).inc()
    return Refusal(scope, limit, max(1, math.ceil(seconds_left)))
