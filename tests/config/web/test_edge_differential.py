"""
The edge changes nothing but the cost: any history of requests is answered alike with and without it.

Two sites run the same history on the same store, each with its own cache and spool: one has the
edge, the other has not. Between the requests of a history notes are written, and what was invalidated in
one cache is invalidated in the other.
"""

import contextlib
import itertools
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from django.conf import settings as django_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachelayer import client, counts, first_level, slots, trust
from cachelayer.conf import config
from cachelayer.invalidation import invalidate
from config.stack.process import wait_until
from notes import cache_keys as note_keys
from notes import services as notes
from notes.models import Note
from profiles import cache_keys as profile_keys
from profiles import selectors
from profiles import services as profiles
from tests.activity.test_middleware import events
from tests.cachelayer.test_first_level import level_on  # noqa: F401  # a fixture
from tests.wsgi import Site

EXAMPLES = int(os.environ.get("PROVE_EXAMPLES", "40"))
ATTEMPTS = 6

pytestmark = pytest.mark.django_db(transaction=True)

NOTES = [UUID(f"abcdef00-0000-4000-8000-00000000000{number}") for number in range(3)]
ABSENT = "00000000-0000-4000-8000-00000000000f"
TARGETS = [
    *(f"/api/v1/notes/{note}" for note in NOTES[:2]),
    f"/api/v1/notes/{str(NOTES[0]).upper()}",
    f"/api/v1/notes/{ABSENT}",
    "/api/v1/notes/x",
    "/api/v1/notes",
    "/api/v1/notes?limit=2",
    "/api/v1/notes?limit=2&page=2",
    "/api/v1/notes?page=2&limit=2",
    "/api/v1/notes?cursor=&limit=1",
    "/api/v1/notes?userId=abc&count=false",
    "/api/v1/notes?q=plain",
    "/api/v1/notes?limit=0",
    "/api/v1/notes?nothing=1",
    "/api/v1//notes",
    f"/api/v1/notes/{NOTES[0]}?cache=true",
    f"/api/v1/notes/{NOTES[0]}?cache=false",
    f"/api/v1/notes/{NOTES[0]}?",
    f"/api/v1/notes/%61{str(NOTES[0])[1:]}",
    f"/api/v1/notes/{NOTES[0]}/",
    "/api/v1/profiles/abc",
    "/api/v1/profiles/ABC",
    "/api/v1/profiles/nobody",
    "/api/v1/profiles/mongo/abc",
    "/api/v1/activity/abc/summary",
    "/health/live",
    "/nothing",
]
METHODS = ["GET"] * 6 + ["HEAD", "OPTIONS", "POST", "PUT", "PATCH"]  # without a body
# Each header with what a client may send; ETAG stands for that of the last reply with the same target.
HEADERS = {
    "X_User_Id": ["abc", "def", "demo", "", "recent", "a b", "x" * 129],
    "X_Request_Id": ["mine", "not safe", "", "x" * 129],
    "If_None_Match": ["ETAG", "W/ETAG", '"other", ETAG', "*", '"other"', "malformed", ""],
    "If_Match": ["ETAG", "*", '"other"', "malformed"],
    "Host": ["127.0.0.1", "localhost:8000", "LOCALHOST", "evil.example", "", "a b"],
    "Accept": ["application/json", "text/html", "*/*;q=0.1", "nothing"],
    "Accept_Encoding": ["gzip", "identity;q=0"],
    "Accept_Language": ["de"],
    "Authorization": ["Bearer x", "Basic eDp5"],
    "Cookie": ["sessionid=x", "a=b", ""],
    "Cache_Control": ["no-cache", "no-store", "max-age=0", "only-if-cached", ""],
    "Pragma": ["no-cache"],
    "Range": ["bytes=0-1"],
    "If_Range": ['"x"'],
    "If_Modified_Since": ["Thu, 26 Nov 2026 00:00:00 GMT"],
    "If_Unmodified_Since": ["Thu, 26 Nov 2020 00:00:00 GMT"],
    "Expect": ["100-continue"],
    "Transfer_Encoding": ["chunked", "gzip"],
    "Content_Length": ["0", "5"],
    "Content_Type": ["application/json"],
    "Content_Encoding": ["gzip"],
    "User_Agent": ["curl/8", "u" * 600, "\xe4"],
    "X_Forwarded_For": ["203.0.113.9", "a, b"],
    "X_Forwarded_Proto": ["https", "http"],
    "X_Forwarded_Host": ["evil.example"],
    "X_Trace": ["1"],
    "X_Http_Method_Override": ["DELETE"],
    "Origin": ["https://evil.example"],
    "Referer": ["https://evil.example/"],
}


@dataclass(frozen=True)
class Request:
    target: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Write:
    note: int
    action: str = "change"


def values_of(name: str) -> st.SearchStrategy[tuple[str, str]]:
    return st.tuples(st.just(name), st.sampled_from(HEADERS[name]))


COMMON = st.dictionaries(
    st.sampled_from(["X_User_Id", "X_Request_Id", "If_None_Match", "User_Agent"]),
    st.none(),
    max_size=2,
).flatmap(lambda names: st.tuples(*map(values_of, names)).map(dict))
ANY = (
    st.sets(st.sampled_from(sorted(HEADERS)), max_size=3)
    .flatmap(lambda names: st.tuples(*map(values_of, sorted(names))))
    .map(dict)
)
REQUESTS = st.builds(Request, st.sampled_from(TARGETS), st.sampled_from(METHODS), COMMON | ANY)
# The same few requests again and again, or there would hardly be a hit.
HOT = st.builds(
    Request, st.sampled_from(TARGETS[:2] + TARGETS[5:8] + TARGETS[20:21]), st.just("GET"), COMMON
)
WRITES = st.builds(
    Write, st.integers(0, 2), st.sampled_from(["change", "change", "delete", "create", "profile"])
)
HISTORIES = st.lists(HOT | HOT | HOT | REQUESTS | WRITES, min_size=2, max_size=14)


_numbers = itertools.count()


class Side:
    """One of the two sites: its cache, its spool, its counts, and what its clients know."""

    def __init__(self, name: str, send, folder) -> None:
        self._name, self._send = f"{name}-{os.getpid()}-{next(_numbers)}", send
        self._folder = folder
        self._etags: dict[str, str] = {}
        self.results: Counter = Counter()
        self.reads: Counter = Counter()

    def take_over(self) -> None:
        """Have whatever follows use this site's cache and spool."""
        # Of Django, whose changes pytest's fixture takes back: each of its own would be a layer more.
        django_settings.CACHELAYER = django_settings.CACHELAYER | {"PREFIX": self._name}
        config.cache_clear()
        django_settings.ACTIVITY_SPOOL_DIR = str(self._folder / self._name)

    def answer(self, request: Request):
        """Return what a client can see of the reply, but for what differs between any two."""
        self.take_over()
        etag = self._etags.get(request.target, '"none"')
        headers = {name: value.replace("ETAG", etag) for name, value in request.headers.items()}
        reply = self._send(request.method, request.target, **headers)
        seen = dict(reply.headers)
        self._etags[request.target] = seen.get("ETag", etag)
        reads, results = counts.take()
        self.reads.update(reads)
        self.results.update(results)
        body = reply.body.replace(seen.get("X-Request-ID", "-").encode(), b"REQUEST-ID")
        return reply.status, [(name, _seen(name, value)) for name, value in reply.headers], body

    def events(self) -> list[dict]:
        """Return what has been recorded, but for what differs between any two."""
        self.take_over()
        recorded = events()
        for event in recorded:
            del event["_id"], event["timestamp"]
            if re.fullmatch("[0-9a-f]{32}", event["request_id"]):
                event["request_id"] = "REQUEST-ID"
        return recorded


def _seen(name: str, value: str) -> str:
    if name == "Cache-Status":
        return re.sub(r"ttl=\d+(; detail=L1)?", "ttl=TTL", value)
    if name == "X-Request-ID" and re.fullmatch("[0-9a-f]{32}", value):
        return "REQUEST-ID"
    if name == "Server-Timing":  # redis is asked less often, and that is the point
        assert re.fullmatch(r"([a-z]+;dur=\d+\.\d\d, )*app;dur=\d+\.\d\d", value)
        return "TIMES"
    return value


def write(step: Write, sides: list[Side]) -> None:
    """Change the store once, and invalidate in both caches."""
    note_id = NOTES[step.note]
    tags = note_keys.tags_of_note(note_id=note_id, user_id="abc")
    sides[0].take_over()
    try:
        match step.action:
            case "change":
                title = f"plain {os.urandom(4).hex()}"
                notes.note_update(note_id=note_id, caller="abc", title=title)
            case "delete":
                notes.note_delete(note_id=note_id, caller="abc")
            case "create":
                created, _ = notes.note_create(user_id="abc", title="plain new", content="x")
                tags = note_keys.tags_of_note(note_id=created, user_id="abc")
            case "profile":
                tags = profile_keys.tags_of_profile("abc")
                patch = {"seen": os.urandom(4).hex()}
                profiles.preferences_patch(user_id="abc", patch=patch, caller="abc")
    except notes.NoteNotFound:
        return
    sides[1].take_over()
    invalidate(*tags)


def make_store() -> None:
    """Have just the three notes, and the profile."""
    Note.objects.exclude(pk__in=NOTES).delete()
    for note_id in NOTES:
        if not Note.objects.filter(pk=note_id).exists():
            notes.note_create(user_id="abc", title="plain", content="x", note_id=note_id)
    if selectors.profile_get_stored(user_id="abc") is None:
        profiles.profile_create(
            user_id="abc", email="abc@example.com", preferences={}, caller="abc"
        )


@pytest.fixture
def sides(level_on, tmp_path, monkeypatch):  # noqa: F811
    """Return a function that makes the site with the edge, and the one without it, of an example."""
    # On a busy machine a reply of Redis may take longer than the site would wait for it.
    pool = client.client().connection_pool
    monkeypatch.setitem(pool.connection_kwargs, "socket_timeout", 10.0)
    pool.disconnect()  # those that it has keep their own
    slots_file = slots.path()
    monkeypatch.setattr(slots, "path", lambda: slots_file)  # whatever CACHE_PREFIX is

    def make() -> tuple[Site, list[Side]]:
        first_level.copies.clear()
        make_store()
        counts.take()
        site = Site()
        senders = {"with": site.send, "without": site.send_past_edge}
        return site, [Side(name, send, tmp_path) for name, send in senders.items()]

    yield make
    profiles.profile_delete(user_id="abc", caller="abc")
    pool.disconnect()


def compare(history, make) -> int:
    """
    Run the history on both sides; return how many requests the edge has answered.

    The lease may lapse on a busy machine, and whoever keeps it may invalidate once more what a write has
    invalidated: on one side alone. So a difference counts if it is there each time.
    """
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(AssertionError):
            return run(history, make())
        assert wait_until(lambda: trust.lease.is_held, 30)
    return run(history, make())


def run(history, sides) -> int:
    site, both = sides
    requests = 0
    for step in history:
        if isinstance(step, Write):
            write(step, both)
            counts.take()
            continue
        requests += 1
        with_edge, without_edge = (side.answer(step) for side in both)
        assert with_edge == without_edge, step
    first, second = both
    assert first.events() == second.events()
    assert first.results == second.results
    assert first.reads == second.reads
    return requests - site.passed


# Threads in the background may draw from random while a strategy does.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(HISTORIES)
def test_any_history_is_answered_alike(sides, history):
    compare(history, sides)


@pytest.mark.parametrize("name", HEADERS)
def test_each_header_is_answered_alike(sides, name):
    plain = Request(TARGETS[0])
    for value in HEADERS[name]:
        with_header = Request(TARGETS[0], headers={name: value})
        head = Request(TARGETS[0], "HEAD", {name: value})
        compare([plain, with_header, head, Write(0), with_header, with_header, plain], sides)


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_is_answered_alike(sides, target):
    plain, other = Request(target), Request(target, headers={"If_None_Match": "ETAG"})
    steps = [
        other,
        plain,
        other,
        plain,
        Request(target, "HEAD"),
        Write(0),
        other,
        Write(0, "profile"),
        plain,
    ]

    compare(steps, sides)


def test_the_histories_have_hits_in_them(sides):
    target = Request(TARGETS[0])

    assert compare([target, target, Write(0), target, target, target], sides) == 3
