"""What the cache and the stores have done for a request so far, for its own page to show."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

from cachelayer import http
from cachelayer.entries import Cached, MissReason, Source
from cachelayer.namespace import Key

STORES: Final = {"redis": "Redis", "postgres": "PostgreSQL", "mongodb": "MongoDB"}

# What the cache did: the place that the value came from, whether that is a hit, and what it means.
_SOURCES: Final[dict[Source, tuple[str, str, str]]] = {
    Source.FIRST_LEVEL: (
        "in the first level",
        "hit",
        "This process's own copy: no store was asked.",
    ),
    Source.HIT: ("in Redis", "hit", "The copy's stamps are all current: no database was asked."),
    Source.UNVERIFIED: ("in Redis", "hit", "Its stamps are right; PostgreSQL does not answer."),
    Source.STALE: ("in Redis", "stale", "A copy past its time, since the store does not answer."),
    Source.LOADED: (
        "read from the database",
        "miss",
        "Loaded, and stored in Redis for the next request.",
    ),
    Source.COLLAPSED: (
        "read from the database",
        "miss",
        "Another request was loading it: this one waited.",
    ),
    Source.FENCED: (
        "read from the database",
        "miss",
        "Loaded, but not stored: a write came, or Redis is full.",
    ),
    Source.BYPASSED: (
        "read from the database",
        "bypass",
        "The request went past the cache, as it said.",
    ),
    Source.CACHE_DOWN: ("read from the database", "miss", "Redis does not answer."),
    Source.UNTRUSTED: ("read from the database", "miss", "Redis may not be believed at present."),
}
_REASONS: Final[dict[MissReason, str]] = {
    "absent": "Redis had no copy.",
    "expired": "The copy in Redis was past its time.",
    "invalidated": "A write has ended the copy in Redis",
    "epoch": "The copy was of before the cache was cleared, or its layout was changed.",
    "corrupt": "The copy in Redis could not be read.",
}
# What the cache sends to Redis in each operation of its protocol (cachelayer/protocol.py).
_COMMANDS: Final = {
    "look": "MGET of the copy and of its tags' stamps",
    "begin": "script: read or create the stamps, take the lease to load, read the copy again",
    "end": "script: store the copy if no stamp has changed, give the lease back",
    "release": "script: give the lease back",
    "invalidate": "UNLINK of the stamps of what was written",
    "record": "pipeline: record when each tag was invalidated, for explanations",
}
_COOKIE: Final = "trilith_write"
_COOKIE_SALT: Final = "data_layer.write"
_COOKIE_SECONDS: Final = 30
_COOKIE_CHARACTERS_MAX: Final = 3_500  # browsers keep 4096 with the name and the attributes
_WRITE_STEP_CHARACTERS: Final = 160
_WRITE_STEPS_MAX: Final = 12


class ReadReport(NamedTuple):
    """A read through the cache: status is hit, miss, stale or bypass."""

    key: str
    place: str  # as in: a hit in Redis
    status: str
    meaning: str
    reason: str  # of a miss
    cache_status: str  # the header field
    remaining_seconds: int


class StoreReport(NamedTuple):
    """How often a store was asked, and how long that took in all."""

    name: str
    operations: int
    milliseconds: float


class StepReport(NamedTuple):
    """An operation or a wait; offset and share are of the whole time, in percent."""

    at_ms: float
    took_ms: float
    store: str
    store_name: str
    statement: str
    offset: float
    share: float


@dataclass(frozen=True)
class Report:
    """What one request did, up to the moment at which this was made."""

    what: str
    request_id: str
    elapsed_ms: float
    stores: Sequence[StoreReport]
    steps: Sequence[StepReport]
    steps_left_out: int
    reads: Sequence[ReadReport] = ()
    process_id: int = 0

    @property
    def operations(self) -> int:
        return sum(store.operations for store in self.stores)


def read_report(key: Key[Any], cached: Cached[Any]) -> ReadReport:
    """Return what the cache did for one read."""
    place, status, meaning = _SOURCES[cached.source]
    reason = ""
    if cached.missed is not None and cached.missed.reason is not None:
        reason = _REASONS[cached.missed.reason]
        if cached.missed.reason == "invalidated":
            reason += f": the stamp of {' and '.join(cached.missed.stale_tags)} is another one."
    return ReadReport(
        key.name,
        place,
        status,
        meaning,
        reason,
        http.cache_status(cached),
        cached.remaining_seconds,
    )


def report(request: HttpRequest, reads: Sequence[ReadReport] = ()) -> Report:
    """Return what the request has done so far."""
    # Set by config.observability.middleware, which this package may not import.
    trace_so_far: Callable[[], dict[str, Any]] = request.trace_so_far  # type: ignore[attr-defined]
    return _report(f"{request.method} {request.path}", trace_so_far(), reads)


def leave_for_next(request: HttpRequest, response: HttpResponse) -> None:
    """Have the page to which response, the reply to a write, leads show what the write did, too."""
    trace = request.trace_so_far()  # type: ignore[attr-defined]  # as above
    what = f"{request.method} {request.path}"
    steps = [
        [at_ms, took_ms, store, statement[:_WRITE_STEP_CHARACTERS]]
        for at_ms, took_ms, store, statement in trace["steps"][:_WRITE_STEPS_MAX]
    ]
    left_out = trace["left_out"] + len(trace["steps"]) - len(steps)
    kept = {"what": what, "trace": trace | {"steps": steps, "left_out": left_out}}
    text = signing.dumps(kept, salt=_COOKIE_SALT, compress=True)
    if len(text) <= _COOKIE_CHARACTERS_MAX:
        response.set_cookie(
            _COOKIE,
            text,
            max_age=_COOKIE_SECONDS,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )


def write_before(request: HttpRequest) -> Report | None:
    """Return what the write did that led to this page, None where there was none."""
    text = request.COOKIES.get(_COOKIE)
    if text is None:
        return None
    try:
        kept = signing.loads(text, salt=_COOKIE_SALT, max_age=_COOKIE_SECONDS)
    except signing.BadSignature:
        return None
    return _report(kept["what"], kept["trace"], ())


def forget_write(request: HttpRequest, response: HttpResponse) -> None:
    """Let no later page show the write that this one has shown."""
    if _COOKIE in request.COOKIES:
        response.delete_cookie(_COOKIE, samesite="Lax")


def _report(what: str, trace: dict[str, Any], reads: Sequence[ReadReport]) -> Report:
    elapsed_ms = max(trace["elapsed_ms"], 0.001)
    steps = [
        StepReport(
            at_ms,
            took_ms,
            store,
            STORES[store],
            _described(store, statement),
            round(100 * at_ms / elapsed_ms, 2),
            round(max(100 * took_ms / elapsed_ms, 0.5), 2),
        )
        for at_ms, took_ms, store, statement in trace["steps"]
    ]
    stores = [
        StoreReport(name, len(operations), sum(step.took_ms for step in operations))
        for store, name in STORES.items()
        for operations in [[step for step in steps if step.store == store and not _is_wait(step)]]
    ]
    return Report(
        what,
        trace["request_id"],
        elapsed_ms,
        stores,
        steps,
        trace["left_out"],
        reads,
        os.getpid(),
    )


def _described(store: str, statement: str) -> str:
    commands = _COMMANDS.get(statement, "") if store == "redis" else ""
    return f"{statement}: {commands}" if commands else statement


def _is_wait(step: StepReport) -> bool:
    return step.statement.startswith("(waited")  # config/postgres/base.py
