"""What the bench asks for: the hot paths, the seed's fixed-count runs, and what each must show."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from loadtests.generators.http_load import Call, Sample, connected, send
from loadtests.testbed.site import Site

BASELINE: Final = "cached read"
_USER: Final = {"X-User-Id": "bench", "Content-Type": "application/json"}
_UNCACHED: Final = {"Cache-Control": "no-store"}
_PAGE: Final = "/api/v1/notes?userId=abc"
# Writes go to so many notes and profiles in turn, so that they do not wait for one row's lock.
_WRITTEN: Final = 32


class Unexpected(Exception):
    """An arm did not do what its name says."""


@dataclass(frozen=True)
class Arm:
    """One kind of request, the status and the beginning of Cache-Status that it must show."""

    name: str
    calls: tuple[Call, ...]  # taken in turn
    baseline: str  # the name of the arm that it is compared with
    status: int = 200
    cache: str = ""


@dataclass(frozen=True)
class FixedCount:
    """A line of ab: so many requests, so many at a time. Without a call: a note never read."""

    name: str
    call: Call | None
    requests: int
    concurrency: int
    baseline: str
    cache: str = ""


def arms(site: Site) -> list[Arm]:
    """Return the hot paths; make the notes and profiles that they write."""
    note, etag = _read_note(site)
    owned = [f"/api/v1/notes/{create_note(site)}" for _ in range(_WRITTEN)]
    changed = tuple(
        Call("", path, "PATCH", _USER, json.dumps({"content": f"changed, {number}"}))
        for number, path in enumerate(owned)
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

    What needs a counterpart has one: without the cache, a warm key, the other store.
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


def create_note(site: Site) -> str:
    """Create a note that nobody has read; return its id."""
    made = _sent(site, Call("", "/api/v1/notes", "POST", _USER, json.dumps({"title": "Bench"})))
    return str(made["id"])


def check(name: str, taken: Sequence[Sample], *, status: int, cache: str) -> None:
    """Raise Unexpected where the answers were not what the arm's name says."""
    odd = [one for one in taken if one.status != status or not one.cache.startswith(cache)]
    # The first requests after a TTL ran out may load; anything more is another measurement.
    if len(odd) > max(2, len(taken) // 100):
        raise Unexpected(
            f"{name}: {len(odd)} of {len(taken)} answers were not {status} {cache}, "
            f"such as {odd[0].status} {odd[0].cache}"
        )


def warm(site: Site, calls: Sequence[tuple[Call, str]]) -> None:
    """
    Ask until every call shows its beginning of Cache-Status, twice in a row, for 10 s at most.

    After a start the change stream still brings what was seeded, and invalidates it.
    """
    in_a_row = 0
    pause = threading.Event()
    with connected(site.url) as connection:
        for _ in range(20):
            told = [send(connection, call, 0, 0).cache.startswith(cache) for call, cache in calls]
            in_a_row = in_a_row + 1 if all(told) else 0
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
    note = f"/api/v1/notes/{_sent(site, Call('', f'{_PAGE}&limit=1'))['results'][0]['id']}"
    with connected(site.url) as connection:
        connection.request("GET", note)
        response = connection.getresponse()
        response.read()
    return note, response.headers["ETag"]


def _preferences(site: Site) -> tuple[Call, ...]:
    """Make profiles, if they are not there yet; return the change of each one's preferences."""
    calls = []
    for number in range(_WRITTEN):
        user = f"bench-{number}"
        own = _USER | {"X-User-Id": user}
        body = {"user_id": user, "email": f"{user}@example.com"}
        _sent(site, Call("", "/api/v1/profiles", "POST", own, json.dumps(body)))
        change = json.dumps({"notifications": {"push": bool(number % 2)}})
        calls.append(Call("", f"/api/v1/profiles/{user}/preferences", "PATCH", own, change))
    return tuple(calls)


def _sent(site: Site, call: Call) -> Any:
    """Send what the bench is built on; return the JSON. Raises Unexpected where it is refused."""
    with connected(site.url) as connection:
        answer = send(connection, call, 0, 0)
    if not 200 <= answer.status < 300 and answer.status != HTTPStatus.CONFLICT:
        raise Unexpected(f"{call.method} {call.path}: answered {answer.status}")
    return json.loads(answer.body)
