"""
Which identity is given which answer, in each state of the cache: every endpoint of the table in docs/api.md.

The table is the expectation: a row says who may read where READS=owner, and no row is missing.
"""

import contextlib
import json
import re
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.test import Client
from django.urls import get_resolver
from limits import parse

from cachelayer import client as cache_client
from cachelayer import first_level, protocol
from config.stack import ROOT
from config.stack.process import wait_until
from config.web.callers import identity_of_settings
from notes import selectors
from profiles import backends
from profiles import services as profiles
from tests.builders import make_note
from tests.cachelayer.test_first_level import level_on  # noqa: F401  # a fixture
from tests.config.web.test_tokens import (  # noqa: F401  # a fixture
    RSA_KEY,
    _anew,
    pem,
    token_of,
    use,
)
from tests.test_docs import routes
from tests.wsgi import Site, environ_of

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "only abc may read this"
EMAIL = "abc@secret.example"
ROW = re.compile(r"^\| `(/[^`]*)` \| ([A-Z, ]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "api.md").read_text())
READS = {path: rule.strip() for path, methods, _, rule in ROWS if "GET" in methods}
API = sorted(path for path in READS if path.startswith("/api/v1/"))
ADMIN_TOKEN = "a token that only staff has"

# Of which user each identity is, for the path of user abc; None: it is refused as nobody.
IDENTITIES = {
    "stub": {"owner": "abc", "other": "def", "nobody": "demo", "staff-token": "staff"},
    "jwt": {
        "owner": "abc",
        "other": "def",
        "nobody": None,
        "staff-token": "staff",
        "expired": None,
        "header-alone": None,
        "staff-session": "staff",
    },
    "session": {
        "owner": "abc",
        "other": "def",
        "nobody": None,
        "staff-token": "staff",
        "ended": None,
        "header-alone": None,
        "staff-session": "staff",
    },
}
CASES = [(mode, name) for mode, names in IDENTITIES.items() for name in names]
MODES = list(IDENTITIES)


def session_of(name: str, **flags: bool) -> str:
    account, _ = get_user_model().objects.get_or_create(username=name, defaults=flags)
    client = Client()
    client.force_login(account)
    return f"sessionid={client.cookies[django_settings.SESSION_COOKIE_NAME].value}"


def headers_of(mode: str, name: str) -> dict[str, str]:
    """The header fields that make a request one of this identity."""
    same = {
        "staff-token": lambda: {"Authorization": f"Bearer {ADMIN_TOKEN}"},
        "staff-session": lambda: {"Cookie": session_of("boss", is_staff=True)},
        "header-alone": lambda: {"X_User_Id": "abc"},
        "nobody": dict,
        "expired": lambda: {"Authorization": f"Bearer {token_of(exp=1)}"},
        "ended": lambda: {"Cookie": "sessionid=0123456789abcdef0123456789abcdef"},
    }
    if name in same:
        return same[name]()
    user_id = IDENTITIES[mode][name]
    if mode == "stub":
        return {"X_User_Id": user_id}
    if mode == "jwt":
        return {"Authorization": f"Bearer {token_of(sub=user_id)}"}
    return {"Cookie": session_of(user_id)}


@pytest.fixture
def own(level_on, settings) -> SimpleNamespace:  # noqa: F811
    """A note and a profile of abc; make(mode) makes the site."""
    settings.READS, settings.ADMIN_TOKEN = "owner", ADMIN_TOKEN
    note_id = str(make_note(title=SECRET, content=SECRET * 200))
    make_note(user_id="def", title="of def")

    def make(mode: str) -> Site:
        if mode == "jwt":
            use(settings, key=pem(RSA_KEY))
        settings.AUTHENTICATION = mode
        return Site()

    with contextlib.suppress(profiles.ProfileNotFound):  # MongoDB keeps what other tests left there
        profiles.profile_delete(user_id="abc", caller="abc")
    profiles.profile_create(
        user_id="abc", email=EMAIL, preferences={"secret": SECRET}, caller="abc"
    )
    yield SimpleNamespace(note_id=note_id, make=make)
    profiles.profile_delete(user_id="abc", caller="abc")


def target(path: str, own) -> str:
    named = path.replace("{note_id}", own.note_id).replace("{user_id}", "abc")
    return f"{named}?key=notes:{own.note_id}" if named.endswith("explain") else named


def expected(path: str, mode: str, name: str) -> int:
    rule, user = READS[path], IDENTITIES[mode][name]
    if rule == "anyone" or user == "staff":
        return 200
    if rule.startswith("listed"):  # as 127.0.0.1 is; but a token that is none is refused anywhere
        return 401 if name == "expired" else 200
    if user is None or "/admin/" in path:
        return 401 if user is None or mode != "session" else 403
    if rule == "staff":
        return 403
    return 200 if rule.startswith(("callers", "own")) or user == "abc" else 403


def assert_right(reply, path: str, mode: str, name: str) -> None:
    what = path, mode, name, reply.body[:300]
    status = expected(path, mode, name)
    allowed = {status} | ({401, 403} if "/admin/" in path and status != 200 else set())
    assert reply.status in allowed, what
    seen = SECRET.encode() in reply.body or EMAIL.encode() in reply.body
    if reply.status != 200 or IDENTITIES[mode][name] not in ("abc", "staff"):
        assert not seen, what
    if reply.status in (401, 403):
        fields = dict(reply.headers)
        assert "ETag" not in fields, what
        assert (reply.status == 401) == ("WWW-Authenticate" in fields), what
        assert fields["Content-Type"] == "application/problem+json", what
    elif path.startswith(("/api/v1/notes", "/api/v1/profiles/{")):
        assert dict(reply.headers).get("Vary") or "mongo" in path or "postgres" in path, what


class TestTable:
    def test_has_a_row_for_each_endpoint_and_each_method(self):
        known = {path for path, *_ in ROWS}
        assert known == set(routes(get_resolver().url_patterns))

        for pattern in get_resolver().url_patterns:
            for each in getattr(pattern, "url_patterns", [pattern]):
                view = getattr(getattr(each, "callback", None), "view_class", None)
                path = f"/{pattern.pattern}{each.pattern if each is not pattern else ''}"
                if view is None or not path.startswith("/api/v1/"):
                    continue
                path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
                methods = {
                    m.upper() for m in ("get", "post", "put", "patch", "delete") if hasattr(view, m)
                }
                rows = {m for row, text, *_ in ROWS if row == path for m in text.split(", ")}
                assert rows == methods, path


@pytest.mark.parametrize("mode", IDENTITIES)
@pytest.mark.parametrize("path", ["/api/schema", "/api/docs"])
def test_the_documentation_is_for_anyone(own, mode, path):
    assert READS[path] == "anyone"
    assert own.make(mode).send("GET", path).status == 200


@pytest.mark.parametrize(("mode", "name"), CASES)
class TestIdentities:
    """Each identity after the owner has filled every level of the cache, and before anyone has."""

    def test_see_what_the_table_says_of_a_cold_cache(self, own, mode, name):
        site, headers = own.make(mode), headers_of(mode, name)
        for path in API:
            assert_right(site.send("GET", target(path, own), **headers), path, mode, name)

    def test_see_the_same_of_copies_at_every_level(self, own, mode, name):
        site, headers, owner = own.make(mode), headers_of(mode, name), headers_of(mode, "owner")
        for path in API:
            for _ in range(3):  # store, Redis, edge
                site.send("GET", target(path, own), **owner)
            for _ in range(2):
                assert_right(site.send("GET", target(path, own), **headers), path, mode, name)
            first_level.copies.clear()  # so that Redis has it, and nobody else
            assert_right(site.send("GET", target(path, own), **headers), path, mode, name)

    def test_see_no_304_and_no_etag_of_what_is_not_theirs(self, own, mode, name):
        site, headers, owner = own.make(mode), headers_of(mode, name), headers_of(mode, "owner")
        for path in ("/api/v1/notes/{note_id}", "/api/v1/profiles/{user_id}"):
            etag = site.send("GET", target(path, own), **owner)["ETag"]
            for field in (etag, "*"):
                reply = site.send("GET", target(path, own), If_None_Match=field, **headers)
                wanted = expected(path, mode, name)
                assert reply.status == (304 if wanted == 200 else wanted)
            assert site.send("GET", target(path, own), If_Match='"x"', **headers).status == (
                412 if expected(path, mode, name) == 200 else expected(path, mode, name)
            )


@pytest.mark.parametrize("mode", MODES)
class TestStates:
    PATHS = ("/api/v1/notes", "/api/v1/notes/{note_id}", "/api/v1/profiles/{user_id}")

    def every(self, site, own, mode, seen: str | None = None) -> None:
        for path in self.PATHS:
            for name in IDENTITIES[mode]:
                reply = site.send("GET", target(path, own), **headers_of(mode, name))
                assert_right(reply, path, mode, name)
                if seen and name == "owner":
                    assert seen in reply["Cache-Status"], path

    def fill(self, site, own, mode) -> None:
        for path in self.PATHS:
            site.send("GET", target(path, own), **headers_of(mode, "owner"))

    def test_while_redis_is_away(self, own, mode, monkeypatch):
        site = own.make(mode)
        self.fill(site, own, mode)
        first_level.copies.clear()

        def away(*args, **kwargs):
            raise cache_client.CacheDown

        monkeypatch.setattr(protocol, "look", away)
        monkeypatch.setattr(protocol, "look_head", away)
        self.every(site, own, mode, "cache-down")

    def test_past_their_time_while_the_store_is_away(self, own, mode, monkeypatch):
        site = own.make(mode)
        self.fill(site, own, mode)
        first_level.copies.clear()
        monkeypatch.setattr("cachelayer.entries.time.time", later_by(2_000))

        def away(*args, **kwargs):
            raise OperationalError("the store is away")

        monkeypatch.setattr(selectors, "_load_note", away)
        monkeypatch.setattr(selectors, "load_list", away)
        monkeypatch.setattr(type(backends.primary()), "get", away)
        for path in self.PATHS[1:]:
            for name in IDENTITIES[mode]:
                if name in ("expired", "owner", "other") and mode == "jwt":
                    continue  # their tokens end with the clock
                reply = site.send("GET", target(path, own), **headers_of(mode, name))
                assert_right(reply, path, mode, name)
                if reply.status == 200:
                    assert "detail=stale" in reply["Cache-Status"]

    def test_being_refreshed(self, own, mode, monkeypatch):
        site = own.make(mode)
        self.fill(site, own, mode)
        first_level.copies.clear()
        monkeypatch.setattr("cachelayer.entries.Lookup.wants_refresh", True)
        self.every(site, own, mode, "hit")

    def test_of_which_the_client_has_a_copy_without_the_first_level(self, own, mode, settings):
        settings.CACHELAYER = settings.CACHELAYER | {"FIRST_LEVEL_BYTES": 0}
        site = own.make(mode)
        path = self.PATHS[1]
        etag = site.send("GET", target(path, own), **headers_of(mode, "owner"))["ETag"]
        for name in IDENTITIES[mode]:
            headers = {"If_None_Match": etag, **headers_of(mode, name)}
            wanted = expected(path, mode, name)
            status = site.send("GET", target(path, own), **headers).status
            assert status == (304 if wanted == 200 else wanted), name

    def test_past_the_cache(self, own, mode):
        site = own.make(mode)
        for directive in ("no-cache", "no-store"):
            for path in self.PATHS:
                for name in IDENTITIES[mode]:
                    headers = {"Cache_Control": directive, **headers_of(mode, name)}
                    assert_right(site.send("GET", target(path, own), **headers), path, mode, name)


def later_by(seconds: float):
    return lambda real=time.time: real() + seconds


class TestLists:
    """A list, its count, its search and its links are the caller's own."""

    def titles(self, site, query: str, **headers: str) -> list[str]:
        reply = site.send("GET", f"/api/v1/notes{query}", **headers)
        assert reply.status == 200, reply.body
        page = json.loads(reply.body)
        assert page.get("count", len(page["results"])) == len(page["results"])
        return [note["title"] for note in page["results"]]

    @pytest.mark.parametrize(
        "query", ["", "?cursor=", "?q=abc", "?userId=def", "?user_id=def&sort=title:ASC"]
    )
    def test_hold_no_note_of_another(self, own, query):
        site = own.make("stub")
        site.send("GET", f"/api/v1/notes{query}".replace("def", "abc"), X_User_Id="abc")

        titles = self.titles(site, query, X_User_Id="def")
        assert titles == ([] if "q=" in query else ["of def"])

    @pytest.mark.parametrize("query", ["?userId=abc", "?user_id=abc&q=only", "?userId=abc&cursor="])
    def test_of_another_are_refused(self, own, query):
        site = own.make("stub")
        site.send("GET", f"/api/v1/notes{query}", X_User_Id="abc")

        assert site.send("GET", f"/api/v1/notes{query}", X_User_Id="def").status == 403

    def test_cursors_are_of_their_user(self, own):
        site = own.make("stub")
        make_note(title="second")
        first = site.send("GET", "/api/v1/notes?cursor=&limit=1", X_User_Id="abc")
        link = json.loads(first.body)["next"]
        query = urlsplit(link).query

        assert site.send("GET", f"/api/v1/notes?{query}", X_User_Id="abc").status == 200
        assert site.send("GET", f"/api/v1/notes?{query}", X_User_Id="def").status == 403
        without = query.replace("userId=abc&", "")
        assert site.send("GET", f"/api/v1/notes?{without}", X_User_Id="def").status == 400

    def test_all_are_staffs(self, own):
        titles = self.titles(own.make("stub"), "", Authorization=f"Bearer {ADMIN_TOKEN}")

        assert set(titles) == {SECRET, "of def"}


class TestEdge:
    def test_answers_known_tokens_by_itself_each_its_own(self, own, settings):
        site = own.make("jwt")
        path = target("/api/v1/notes", own)
        abc, other = headers_of("jwt", "owner"), headers_of("jwt", "other")
        assert wait_until(lambda: is_hit(site, path, abc), 10)
        assert not is_hit(site, path, other)
        assert wait_until(lambda: is_hit(site, path, other), 10)
        assert SECRET.encode() not in site.send("GET", path, **other).body

    def test_knows_a_token_no_longer_than_it_lasts(self, own, monkeypatch):
        site = own.make("jwt")
        headers = headers_of("jwt", "owner")
        environ = {"HTTP_AUTHORIZATION": headers["Authorization"]}
        site.send("GET", "/api/v1/notes", **headers)
        assert identity_of_settings().user_id_at_edge(environ) == "abc"
        monkeypatch.setattr("config.web.callers.time.time", later_by(61))

        assert identity_of_settings().user_id_at_edge(environ) is None

    def test_leaves_sessions_to_django(self, own):
        site = own.make("session")
        headers = headers_of("session", "owner")

        assert not any(is_hit(site, "/api/v1/notes", headers) for _ in range(3))


def is_hit(site: Site, path: str, headers: dict[str, str]) -> bool:
    passed = site.passed
    assert site.send("GET", path, **headers).status == 200
    return site.passed == passed


class TestRateLimits:
    """They count by the same identity, before Django and after."""

    @pytest.mark.parametrize("mode", MODES)
    def test_count_each_identity_apart_and_nobody_that_is_refused(self, own, mode):
        own.make(mode)
        counted = {
            name: identity_of_settings().counted_as(
                environ_of("GET", "/api/v1/notes", headers_of(mode, name))
            )
            for name in IDENTITIES[mode]
        }

        assert counted["owner"] != counted["other"]
        assert counted["nobody"] == ("demo" if mode == "stub" else "anonymous")
        assert counted.get("expired") is None
        if mode != "stub":
            assert counted["staff-token"] == "admin-token"
            assert counted["header-alone"] == "anonymous"

    def test_refuse_a_token_beyond_its_limit_at_the_edge(self, own, settings):
        settings.RATE_LIMIT_READ = parse("2/minute")
        site = own.make("jwt")
        abc, other = headers_of("jwt", "owner"), headers_of("jwt", "other")
        statuses = [site.send("GET", "/api/v1/notes", **abc).status for _ in range(3)]

        assert statuses == [200, 200, 429]
        assert site.send("GET", "/api/v1/notes", **other).status == 200
