"""The requests sent in each state of the stores: every endpoint, in every case that matters."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from loadtests.generators.http_load import Call, json_call

CACHED: Final = "cached"
EXPIRED: Final = "cached, past its TTL"
UNCACHED: Final = "not cached"
PAST_CACHE: Final = "past the cache"
SEARCHED: Final = "a search, not cached"
KEYSET: Final = "by cursor, not cached"
SESSION: Final = "with a session"
_CSRF_TOKEN: Final = 32 * "a"  # any will do that comes as a cookie and as a header
TOKEN: Final = "with the token"  # noqa: S105  # a case, no secret


@dataclass(frozen=True)
class StateFixtures:
    """The notes and users of one state, which no other state reads or changes."""

    label: str  # the beginning of its users' ids
    notes: Mapping[str, str]  # the id of a note, by what is done with it
    token: str
    cookie: str

    def user(self, purpose: str) -> str:
        """Return the id of the user whose note, list and profile have this purpose."""
        return f"{self.label}-{purpose}"


@dataclass(frozen=True)
class Probe:
    """One kind of request; endpoint as METHOD and route, as the URL conf has it."""

    group: str
    endpoint: str
    case: str
    call: Callable[[StateFixtures], Call]
    last: bool = False  # it changes what others read, so it is sent after them

    @property
    def name(self) -> str:
        return f"`{self.endpoint}`" + (f", {self.case}" if self.case else "")

    def sent(self, fixtures: StateFixtures) -> Call:
        """Return the request itself."""
        call = self.call(fixtures)
        return Call(self.name, call.path, self.endpoint.split()[0], call.headers, call.body)


def _note(purpose: str, **headers: str) -> Callable[[StateFixtures], Call]:
    return lambda fixtures: Call("", f"/api/v1/notes/{fixtures.notes[purpose]}", headers=headers)


def _page(purpose: str, rest: str = "") -> Callable[[StateFixtures], Call]:
    return lambda fixtures: Call("", f"/api/v1/notes?userId={fixtures.user(purpose)}{rest}")


def _page_of_note(purpose: str, rest: str = "") -> Callable[[StateFixtures], Call]:
    return lambda fixtures: Call(
        "",
        f"/notes/{fixtures.notes[purpose]}{rest}",
        headers={"X-User-Id": fixtures.user(purpose)},
    )


def _form(path: str, *, has_caller: bool = True, **fields: str) -> Callable[[StateFixtures], Call]:
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Cookie": f"csrftoken={_CSRF_TOKEN}",
        "X-CSRFToken": _CSRF_TOKEN,
    }
    return lambda fixtures: Call(
        "",
        path,
        headers=headers | ({"X-User-Id": fixtures.user("writer")} if has_caller else {}),
        body=urlencode(fields),
    )


def _profile(purpose: str, **headers: str) -> Callable[[StateFixtures], Call]:
    return lambda fixtures: Call("", f"/api/v1/profiles/{fixtures.user(purpose)}", headers=headers)


def _path(path: str) -> Callable[[StateFixtures], Call]:
    return lambda fixtures: Call("", path)


def _as_staff(path: str) -> Callable[[StateFixtures], Call]:
    return lambda fixtures: Call(
        "",
        path.format(note=fixtures.notes["cached"]),
        headers={"Authorization": f"Bearer {fixtures.token}"},
    )


def _in_admin(path: str) -> Callable[[StateFixtures], Call]:
    return lambda fixtures: Call(
        "",
        path.format(note=fixtures.notes["cached"], user=fixtures.user("cached")),
        headers={"Cookie": fixtures.cookie},
    )


def _write_note(purpose: str, body: Any) -> Callable[[StateFixtures], Call]:
    return lambda fixtures: json_call(
        fixtures.user("writer"), f"/api/v1/notes/{fixtures.notes[purpose]}", body
    )


def _write_profile(purpose: str, body: Any, rest: str = "") -> Callable[[StateFixtures], Call]:
    def call(fixtures: StateFixtures) -> Call:
        user = fixtures.user(purpose)
        filled = None if body is None else json.loads(json.dumps(body).replace("USER", user))
        return json_call(user, f"/api/v1/profiles/{user}{rest}", filled)

    return call


def profile_of(user: str) -> dict[str, str]:
    """Return what is sent to make a user's profile."""
    return {"user_id": user, "email": f"{user}@example.org"}


def _create_profile(fixtures: StateFixtures) -> Call:
    return json_call(fixtures.user("new"), "/api/v1/profiles", profile_of(fixtures.user("new")))


_NOTE = "/api/v1/notes/{note_id}"
_NOTES = "/api/v1/notes"
_PROFILE = "/api/v1/profiles/{user_id}"
_ACTIVITY = "/api/v1/activity"
_EXPLAIN, _CLEAR = "/api/v1/admin/cache/explain", "/api/v1/admin/cache/clear"
_MAIL = {"email": "USER@example.com", "preferences": {}}

_OF_NOTES: Final = [
    (f"GET {_NOTE}", CACHED, _note("cached")),
    (f"GET {_NOTE}", EXPIRED, _note("expired")),
    (f"GET {_NOTE}", UNCACHED, _note("uncached")),
    (f"GET {_NOTE}", PAST_CACHE, _note("past-cache", **{"Cache-Control": "no-cache"})),
    (f"GET {_NOTES}", CACHED, _page("cached")),
    (f"GET {_NOTES}", EXPIRED, _page("expired")),
    (f"GET {_NOTES}", UNCACHED, _page("uncached")),
    (f"GET {_NOTES}", KEYSET, _page("uncached", "&cursor=")),
    (f"GET {_NOTES}", SEARCHED, _page("uncached", "&q=state")),
    (
        f"POST {_NOTES}",
        "",
        lambda fixtures: json_call(fixtures.user("writer"), _NOTES, {"title": "New"}),
    ),
    (f"PUT {_NOTE}", "", _write_note("put", {"title": "Put", "content": ""})),
    (f"PATCH {_NOTE}", "", _write_note("patch", {"title": "Patched"})),
    (f"DELETE {_NOTE}", "", _write_note("delete", None)),
    (
        f"POST {_NOTES}/bulk",
        "",
        lambda fixtures: json_call(
            fixtures.user("writer"), f"{_NOTES}/bulk", {"notes": [{"title": "New"}] * 2}
        ),
    ),
    (
        f"POST {_NOTES}/bulk/delete",
        "",
        lambda fixtures: json_call(
            fixtures.user("writer"),
            f"{_NOTES}/bulk/delete",
            {"ids": [fixtures.notes["bulk-delete"]]},
        ),
    ),
]
_OF_PROFILES: Final = [
    (f"GET {_PROFILE}", CACHED, _profile("cached")),
    (f"GET {_PROFILE}", EXPIRED, _profile("expired")),
    (f"GET {_PROFILE}", UNCACHED, _profile("uncached")),
    (f"GET {_PROFILE}", PAST_CACHE, _profile("past-cache", **{"Cache-Control": "no-cache"})),
    ("POST /api/v1/profiles", "", _create_profile),
    (f"PUT {_PROFILE}", "", _write_profile("put", _MAIL)),
    (f"PATCH {_PROFILE}/preferences", "", _write_profile("patch", {"a": 1}, "/preferences")),
    (f"DELETE {_PROFILE}", "", _write_profile("delete", None)),
    *(
        (
            f"GET /api/v1/profiles/{store}/{{user_id}}",
            "",
            lambda fixtures, store=store: Call(
                "", f"/api/v1/profiles/{store}/{fixtures.user('uncached')}"
            ),
        )
        for store in ("mongo", "postgres")
    ),
]
_OF_ACTIVITY: Final = [
    (f"GET {_ACTIVITY}/recent", "", _path(f"{_ACTIVITY}/recent")),
    (f"GET {_ACTIVITY}/{{user_id}}", "", _path(f"{_ACTIVITY}/abc")),
    (f"GET {_ACTIVITY}/{{user_id}}/summary", "", _path(f"{_ACTIVITY}/abc/summary")),
    (f"GET {_ACTIVITY}/{{user_id}}/daily", "", _path(f"{_ACTIVITY}/abc/daily")),
    (f"GET {_ACTIVITY}/trend", "", _path(f"{_ACTIVITY}/trend?days=7")),
    *(
        (f"GET {_ACTIVITY}/insights/{what}", "", _path(f"{_ACTIVITY}/insights/{what}"))
        for what in ("resources", "hours", "retention")
    ),
]
_OF_OPERATIONS: Final = [
    ("GET /health", "", _path("/health")),
    ("GET /health", "strict", _path("/health?strict=1")),
    ("GET /health/live", "", _path("/health/live")),
    ("GET /health/ready", "", _path("/health/ready")),
    ("GET /api/v1/metrics/cache", "", _path("/api/v1/metrics/cache")),
    ("GET /api/v1/metrics/db", "", _path("/api/v1/metrics/db")),
    ("GET /metrics", "", _path("/metrics")),
    ("GET /api/schema", "", _path("/api/schema")),
    ("GET /api/docs", "", _path("/api/docs")),
    (f"GET {_EXPLAIN}", TOKEN, _as_staff(f"{_EXPLAIN}?key=notes:{{note}}")),
    (f"GET {_EXPLAIN}", SESSION, _in_admin(f"{_EXPLAIN}?key=notes:{{note}}")),
]
_OF_PAGES: Final = [
    ("GET /", CACHED, lambda fixtures: Call("", f"/?userId={fixtures.user('cached')}")),
    (
        "GET /",
        PAST_CACHE,
        lambda fixtures: Call("", f"/?userId={fixtures.user('past-cache')}&cache=false"),
    ),
    ("GET /notes/{note_id}", CACHED, _page_of_note("cached")),
    ("GET /notes/{note_id}", PAST_CACHE, _page_of_note("past-cache", "?cache=false")),
    ("GET /notes/{note_id}/edit", CACHED, _page_of_note("cached", "/edit")),
    ("GET /notes/{note_id}/delete", CACHED, _page_of_note("cached", "/delete")),
    ("GET /notes/new", "", _path("/notes/new")),
    ("POST /notes/new", "", _form("/notes/new", title="New", content="")),
    ("POST /user", "", _form("/user", has_caller=False, user_id="abc")),
    ("GET /login", "", _path("/login")),
    ("POST /logout", "", _form("/logout", has_caller=False)),
]
_LAST: Final = [
    (f"POST {_CLEAR}", TOKEN, _as_staff(_CLEAR)),
    (f"DELETE {_CLEAR}", TOKEN, _as_staff(_CLEAR)),
]
_OF_ADMIN: Final = [
    ("GET /admin/login/", "", _path("/admin/login/")),
    *(
        (f"GET {path}", SESSION, _in_admin(path))
        for path in (
            "/admin/",
            "/admin/notes/note/",
            "/admin/notes/note/{note}/change/",
            "/admin/profiles/profilerow/",
            "/admin/activity/event/",
            "/admin/cachelayer/clearance/",
            "/admin/config/slowstatement/",
            "/admin/config/store/",
            "/admin/auth/group/",
            "/admin/auth/user/",
        )
    ),
    (
        "GET /admin/profiles/profilerow/",
        "one profile",
        _in_admin("/admin/profiles/profilerow/?user_id={user}"),
    ),
]
PROBES: Final = tuple(
    Probe(group, endpoint, case, call, last=rows is _LAST)
    for group, rows in (
        ("Notes", _OF_NOTES),
        ("Profiles", _OF_PROFILES),
        ("Activity", _OF_ACTIVITY),
        ("Operations", _OF_OPERATIONS),
        ("Operations", _LAST),
        ("Pages", _OF_PAGES),
        ("The admin", _OF_ADMIN),
    )
    for endpoint, case, call in rows
)
