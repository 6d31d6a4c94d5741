"""The requests of the bench: the hot paths and the seed's fixed-count runs, with the expected responses."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loadtests.bench.peers import BARE, CACHEOPS, DRF
from loadtests.generators.http_load import (
    Call,
    Sample,
    UnexpectedResponse,
    connected,
    fetch,
    json_call,
    send_now,
)
from loadtests.testbed.site import Site

HIT: Final = "cached read"
NOT_MODIFIED: Final = "not modified"
PAGE: Final = "cached page"
MIX: Final = "mix"
UNCACHED: Final = "uncached read"
CREATED: Final = "note created"
REPLACED: Final = "note replaced"
USER: Final = "bench"  # of the notes that are created, and deleted after each turn
READER: Final = "abc"
_NO_STORE: Final = {"Cache-Control": "no-store"}
_PAGE_PATH: Final = f"/api/v1/notes?userId={READER}"
# The number of notes and profiles that are written in turn, so that no write waits for a row's lock.
_WRITTEN: Final = 64
_MIXED_NOTES: Final = 500
_MIXED_REQUESTS: Final = 10_000  # after which their order is repeated
_SHARES: Final = (0.95, 0.04, 0.01)  # of reads of a note, of a page, of writes


@dataclass(frozen=True)
class Arm:
    """One kind of request, and the status and the beginning of Cache-Status that are expected."""

    name: str
    calls: tuple[Call, ...]
    baseline: str  # the name of the arm that it is compared with
    status: int = 200
    cache: str = ""
    order: tuple[int, ...] | None = None  # of the calls, by index; else in turn
    peers: tuple[str, ...] = ()  # that are measured with it


@dataclass(frozen=True)
class FixedCount:
    """A line of ab: -n requests -c concurrency. Without a call: a note that was never read."""

    name: str
    call: Call | None
    requests: int
    concurrency: int
    baseline: str
    cache: str = ""


def arms(site: Site) -> list[Arm]:
    """Return the hot paths; make the profiles that they write."""
    first, *others = _notes(site)
    note = f"/api/v1/notes/{first['id']}"
    etag = _etag(site, note)
    create = json_call(
        USER, "/api/v1/notes", {"title": "Created", "content": "{n} " + first["content"]}
    )
    replace = tuple(map(_replace, others[:_WRITTEN]))
    cached = (BARE, DRF, CACHEOPS)
    return [
        _read(HIT, note, HIT, "hit", peers=cached),
        _read(NOT_MODIFIED, note, HIT, "hit", {"If-None-Match": etag}, status=304, peers=(BARE,)),
        _read(PAGE, _PAGE_PATH, HIT, "hit", peers=cached),
        _mix(others[:_MIXED_NOTES], cached),
        _read(UNCACHED, note, HIT, "fwd=bypass", _NO_STORE, peers=(DRF,)),
        Arm(CREATED, (create,), UNCACHED, status=201, peers=(DRF, CACHEOPS)),
        Arm(REPLACED, replace, UNCACHED, peers=(DRF, CACHEOPS)),
        _read("cached profile", f"/api/v1/profiles/{READER}", HIT, "hit"),
        _read("uncached page", _PAGE_PATH, PAGE, "fwd=bypass", _NO_STORE),
        _read("activity feed", f"/api/v1/activity/{READER}?limit=20", UNCACHED, ""),
        Arm("preferences changed", _preferences(site), REPLACED),
    ]


def fixed_counts(site: Site, *, divisor: int = 1) -> list[FixedCount]:
    """
    Return the runs of the seed module's ab lines; a divisor of the counts makes them shorter.

    Each is compared with a counterpart: without the cache, a warm key, the other store.
    """
    note = f"/api/v1/notes/{_notes(site)[0]['id']}"
    thousand, hundred = 1000 // divisor, 100 // divisor

    def run(
        what: str,
        path: str | None,
        baseline: str,
        cache: str,
        requests: int = thousand,
        concurrency: int = 10,
    ) -> FixedCount:
        headers = _NO_STORE if cache == "fwd=bypass" else {}
        call = None if path is None else Call("", path, headers=headers)
        return FixedCount(what, call, requests, min(concurrency, requests), baseline, cache)

    listed = "/api/v1/notes"
    return [
        run("a note", note, "a note", "hit"),
        run("a note, without the cache", note, "a note", "fwd=bypass"),
        run("a note, warm key", note, "a note, warm key", "hit", hundred, 50),
        run("a note, cold key", None, "a note, warm key", "", hundred, 50),
        run("/profiles/mongo", f"/api/v1/profiles/mongo/{READER}", "/profiles/mongo", ""),
        run("/profiles/postgres", f"/api/v1/profiles/postgres/{READER}", "/profiles/mongo", ""),
        run("/notes", listed, "/notes", "hit", thousand, 50),
        run("/notes, without the cache", listed, "/notes", "fwd=bypass", thousand, 50),
    ]


def check(name: str, samples: Sequence[Sample], *, status: int, cache: str) -> None:
    """Raise UnexpectedResponse where the responses are not what the arm's name says."""
    odd = [
        sample
        for sample in samples
        if sample.status != status or not sample.cache.startswith(cache)
    ]
    # The first requests after a TTL ran out may load; more than that would measure something else.
    if len(odd) > max(2, len(samples) // 100):
        raise UnexpectedResponse(
            f"{name}: {len(odd)} of {len(samples)} responses were not {status} {cache}, "
            f"such as {odd[0].status} {odd[0].cache}"
        )


def warm(site: Site, calls: Sequence[tuple[Call, str]]) -> None:
    """
    Send all calls until each has its Cache-Status, twice in a row, for 10 s at most.

    After a start the change stream still delivers the seeded profiles, and invalidates them.
    """
    in_a_row = 0
    pause = threading.Event()
    with connected(site.url) as connection:
        for _ in range(20):
            warm = [send_now(connection, call).cache.startswith(cache) for call, cache in calls]
            in_a_row = in_a_row + 1 if all(warm) else 0
            if in_a_row == 2:
                return
            pause.wait(0.5)


def _read(
    name: str,
    path: str,
    baseline: str,
    cache: str,
    headers: dict[str, str] | None = None,
    *,
    status: int = 200,
    peers: tuple[str, ...] = (),
) -> Arm:
    call = Call("", path, headers=headers or {})
    return Arm(name, (call,), baseline, status, cache, peers=peers)


def _mix(notes: Sequence[dict[str, str]], peers: tuple[str, ...]) -> Arm:
    """
    Return 95 % reads of notes, few of them often (Zipf), 4 % of their user's page, 1 % writes.

    Each write invalidates the page as well as its note.
    """
    reads = tuple(Call("", f"/api/v1/notes/{note['id']}") for note in notes)
    writes = tuple(map(_replace, notes))
    size = len(notes)
    rng = random.Random(1)  # noqa: S311  # an order is no secret
    often = [1 / rank for rank in range(1, size + 1)]
    read, listed, written = (round(share * _MIXED_REQUESTS) for share in _SHARES)
    order = [
        *rng.choices(range(size), often, k=read),
        *[size] * listed,
        *(size + 1 + index for index in rng.choices(range(size), often, k=written)),
    ]
    rng.shuffle(order)
    calls = (*reads, Call("", _PAGE_PATH), *writes)
    return Arm(MIX, calls, HIT, order=tuple(order), peers=peers)


def _replace(note: dict[str, str]) -> Call:
    """Return a PUT of the note by its user; its content differs each time."""
    body = {"title": note["title"], "content": "{n} " + note["content"]}
    return json_call(note["user_id"], f"/api/v1/notes/{note['id']}", body, "PUT")


def _notes(site: Site) -> list[dict[str, str]]:
    """Return the notes of the user whose notes are read, at most 500 and one."""
    notes: list[dict[str, str]] = []
    path = f"{_PAGE_PATH}&limit=100&page="
    for page in range(1, _MIXED_NOTES // 100 + 2):
        results = fetch(site.url, f"{path}{page}")["results"]
        notes += results
        if len(results) < 100:
            break
    if len(notes) < 2:
        raise UnexpectedResponse(f"user {READER} has {len(notes)} notes; the bench needs 2")
    return notes[: _MIXED_NOTES + 1]


def _etag(site: Site, note: str) -> str:
    with connected(site.url) as connection:
        connection.request("GET", note)
        response = connection.getresponse()
        response.read()
    return response.headers["ETag"]


def _preferences(site: Site) -> tuple[Call, ...]:
    """Create profiles, unless they are there; return a change of the preferences of each."""
    calls = []
    for number in range(_WRITTEN):
        user = f"{USER}-{number}"
        profile = {"user_id": user, "email": f"{user}@example.com"}
        fetch(site.url, json_call(user, "/api/v1/profiles", profile))
        change = {"notifications": {"push": bool(number % 2)}}
        calls.append(json_call(user, f"/api/v1/profiles/{user}/preferences", change, "PATCH"))
    return tuple(calls)
