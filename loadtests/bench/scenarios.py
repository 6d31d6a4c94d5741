"""The requests of the bench: the hot paths and the seed's fixed-count runs, with the expected responses."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loadtests.generators.http_load import (
    Call,
    Sample,
    UnexpectedResponse,
    connected,
    create_note,
    fetch,
    json_call,
    send_now,
)
from loadtests.testbed.site import Site

BASELINE: Final = "cached read"
USER: Final = "bench"
_UNCACHED: Final = {"Cache-Control": "no-store"}
_PAGE: Final = "/api/v1/notes?userId=abc"
# The number of notes and profiles that are written in turn, so that no write waits for a row's lock.
_WRITTEN: Final = 32


@dataclass(frozen=True)
class Arm:
    """One kind of request, and the status and the beginning of Cache-Status that are expected."""

    name: str
    calls: tuple[Call, ...]  # sent in turn
    baseline: str  # the name of the arm that it is compared with
    status: int = 200
    cache: str = ""


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
    """Return the hot paths; make the notes and profiles that they write."""
    note, etag = _read_note(site)
    changed = tuple(
        json_call(
            USER,
            f"/api/v1/notes/{create_note(site.url, USER)}",
            {"content": f"changed, {number}"},
            "PATCH",
        )
        for number in range(_WRITTEN)
    )
    return [
        Arm(
            "bare view: one GET",
            (Call("", f"/bare/notes:{note.rpartition('/')[2]}"),),
            BASELINE,
        ),
        _read(BASELINE, note, BASELINE, "hit"),
        _read("cached read, not recorded", note, BASELINE, "hit", {"X-Recording": "off"}),
        _read("cached profile", "/api/v1/profiles/abc", BASELINE, "hit"),
        _read("not modified", note, BASELINE, "hit", {"If-None-Match": etag}, status=304),
        _read("uncached read", note, BASELINE, "fwd=bypass", _UNCACHED),
        _read("cached page", _PAGE, BASELINE, "hit"),
        _read("uncached page", _PAGE, "cached page", "fwd=bypass", _UNCACHED),
        _read("activity feed", "/api/v1/activity/abc?limit=20", "uncached read", ""),
        Arm("note changed", changed, "uncached read"),
        Arm("preferences changed", _preferences(site), "note changed"),
    ]


def fixed_counts(site: Site, *, divisor: int = 1) -> list[FixedCount]:
    """
    Return the runs of the seed module's ab lines; a divisor of the counts makes them shorter.

    Each is compared with a counterpart: without the cache, a warm key, the other store.
    """
    note, _ = _read_note(site)
    thousand, hundred = 1000 // divisor, 100 // divisor

    def run(
        what: str,
        path: str | None,
        baseline: str,
        cache: str,
        requests: int = thousand,
        concurrency: int = 10,
    ) -> FixedCount:
        headers = _UNCACHED if cache == "fwd=bypass" else {}
        call = None if path is None else Call("", path, headers=headers)
        return FixedCount(what, call, requests, min(concurrency, requests), baseline, cache)

    listed = "/api/v1/notes"
    return [
        run("a note", note, "a note", "hit"),
        run("a note, without the cache", note, "a note", "fwd=bypass"),
        run("a note, warm key", note, "a note, warm key", "hit", hundred, 50),
        run("a note, cold key", None, "a note, warm key", "", hundred, 50),
        run("/profiles/mongo", "/api/v1/profiles/mongo/abc", "/profiles/mongo", ""),
        run("/profiles/postgres", "/api/v1/profiles/postgres/abc", "/profiles/mongo", ""),
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
            f"{name}: {len(odd)} of {len(samples)} answers were not {status} {cache}, "
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
    status: int = 200,
) -> Arm:
    return Arm(name, (Call("", path, headers=headers or {}),), baseline, status, cache)


def _read_note(site: Site) -> tuple[str, str]:
    """Return the path and the ETag of one note of user abc."""
    note = f"/api/v1/notes/{fetch(site.url, f'{_PAGE}&limit=1')['results'][0]['id']}"
    with connected(site.url) as connection:
        connection.request("GET", note)
        response = connection.getresponse()
        response.read()
    return note, response.headers["ETag"]


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
