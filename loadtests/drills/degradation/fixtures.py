"""What the degradation matrix requests: notes, profiles, a session, and cached copies, fresh and expired."""

import json
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import urlencode

import pymongo

from config.stack.process import StackError, wait_until
from loadtests.drills.degradation.outage_states import STATES, State
from loadtests.drills.degradation.probes import StateFixtures, profile_of
from loadtests.generators.http_load import Call, connected, create_note, fetch, json_call, send_once
from loadtests.testbed.site import Site

_SECONDS: Final = 30.0
_WRITES: Final = ("put", "patch", "delete", "bulk-delete")  # sent at once, so each has its own note
_PURPOSES: Final = ("cached", "expired", "uncached", "past-cache", *_WRITES)
_SENTINEL: Final = "sentinel"


class MatrixFixtures:
    """Fixtures for each state. Copies are cached by reads of the site, and of one with a TTL of a second."""

    def __init__(self, site: Site, expiring: str) -> None:
        self._site = site
        self._url = site.url
        self._expiring = expiring  # the URL of the site with a TTL of a second
        self._token = site.environment["ADMIN_TOKEN"]
        site.manage("createsuperuser", "--no-input", "--username=root", "--email=r@example.org")
        password = site.environment["DJANGO_SUPERUSER_PASSWORD"]
        self._cookie = logged_in(site.url, "root", password)
        self.fixtures = {state: self._make(state) for state in STATES}
        self._make_profile(_SENTINEL)

    def _make(self, state: State) -> StateFixtures:
        """Create the notes and the profiles of a state."""
        fixtures = StateFixtures(state.label, {}, self._token, self._cookie)
        notes = {}
        for purpose in _PURPOSES:
            owner = fixtures.user("writer" if purpose in _WRITES else purpose)
            notes[purpose] = create_note(self._url, owner, f"A note of a state: {purpose}")
            self._make_profile(fixtures.user(purpose))
        return StateFixtures(state.label, notes, self._token, self._cookie)

    def _make_profile(self, user: str) -> None:
        fetch(self._url, json_call(user, "/api/v1/profiles", profile_of(user)))

    def _await_watcher(self) -> None:
        """
        Wait until the change stream has delivered all writes.

        It invalidates what it delivers, and would do so to copies cached meanwhile. So this edits
        a profile past the service, and waits until the edit is read.
        """
        edited = secrets.token_hex(4)
        send_once(self._url, Call("", f"/api/v1/profiles/{_SENTINEL}"))
        uri = self._site.stack.operator_urls()["MONGODB_URI"]
        with pymongo.MongoClient[dict[str, Any]](uri) as client:
            client["trilith"]["user_profiles"].update_one(
                {"user_id": _SENTINEL}, {"$set": {"preferences.edited": edited}}
            )
        read = Call("", f"/api/v1/profiles/{_SENTINEL}")
        self._await(
            lambda: edited.encode() in send_once(self._url, read).body,
            "the change stream does not deliver an edit",
        )

    def cache_copies(self, group: Iterable[State]) -> None:
        """Cache the copies that the states of the group need. All stores must be up."""
        self._await_watcher()
        required = [
            (key, path, site, reason)
            for state in group
            for purpose, site, reason in (
                ("cached", self._url, None),
                ("expired", self._expiring, "expired"),
            )
            for key, path in self._cacheable(state, purpose).items()
        ]

        def are_cached() -> bool:
            cached = [self._is_cached(*copy) for copy in required]  # a list, so that each is read
            return all(cached)

        self._await(are_cached, "the copies are not cached")

    def _cacheable(self, state: State, purpose: str) -> dict[str, str]:
        """Return the path by the key of its copy: a note, a user's notes, a profile."""
        fixtures = self.fixtures[state]
        note, user = fixtures.notes[purpose], fixtures.user(purpose)
        return {
            f"notes:{note}": f"/api/v1/notes/{note}",
            f"notes:list:user:{user}": f"/api/v1/notes?userId={user}",
            f"user:profile:{user}": f"/api/v1/profiles/{user}",
        }

    def _is_cached(self, key: str, path: str, site: str, expected: str | None) -> bool:
        """Return whether a read of the key misses for this reason (None: hits); else read it."""
        headers = {"Authorization": f"Bearer {self._token}"}
        reply = send_once(
            self._url, Call("", f"/api/v1/admin/cache/explain?key={key}", headers=headers)
        )
        reason = json.loads(reply.body).get("reason", "unknown")
        if reason not in (None, "expired"):
            send_once(site, Call("", path))
        return bool(reason == expected)

    def _await(self, condition: Callable[[], bool], otherwise: str) -> None:
        if not wait_until(condition, _SECONDS):
            raise StackError(f"{otherwise} (log: {self._site.stack.folder}/site.log)")


def logged_in(url: str, name: str, password: str) -> str:
    """Log in to the admin; return the cookies."""
    form = send_once(url, Call("", "/admin/login/"))
    token = re.findall(rb'csrfmiddlewaretoken" value="(\w+)"', form.body)[0].decode()
    csrf = f"csrftoken={token}"
    body = urlencode({"csrfmiddlewaretoken": token, "username": name, "password": password})
    headers = {"Cookie": csrf, "Content-Type": "application/x-www-form-urlencoded"}
    with connected(url) as connection:
        connection.request("POST", "/admin/login/?next=/admin/", body, headers)
        response = connection.getresponse()
        response.read()
        cookies = response.headers.get_all("Set-Cookie") or []
    return "; ".join(
        [csrf, *(cookie.split(";")[0] for cookie in cookies if cookie.startswith("session"))]
    )
