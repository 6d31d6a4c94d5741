"""Preconditions (RFC 9110, 13) of every method, at notes, lists, profiles and what has no ETag."""

import json
from typing import NamedTuple

import pytest
from django.test import Client

from notes.models import Note
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "a token that only staff has"
UNKNOWN = "00000000-0000-0000-0000-000000000000"
OTHER = '"00000000000000000000000000000000"'


class Target(NamedTuple):
    """A resource, and the writes that it takes with their bodies."""

    path: str
    writes: dict[str, object]


@pytest.fixture(params=["note", "profile", "preferences", "notes"])
def target(request, api) -> Target:
    UserProfile.ensure_indexes()
    UserProfile._get_collection().delete_many({})
    ProfileRow.objects.all().delete()
    note_id = make_note()
    profile = {"user_id": "abc", "email": "abc@example.org"}
    assert send(api, "POST", "/api/v1/profiles", profile).status_code == 201
    note = {"title": "New", "content": "New"}
    return {
        "note": Target(f"/api/v1/notes/{note_id}", {"PUT": note, "PATCH": note, "DELETE": None}),
        "profile": Target(
            "/api/v1/profiles/abc",
            {"PUT": {"email": "new@example.org", "preferences": {}}, "DELETE": None},
        ),
        "preferences": Target("/api/v1/profiles/abc/preferences", {"PATCH": {"theme": "dark"}}),
        "notes": Target("/api/v1/notes", {"POST": note}),
    }[request.param]


def send(api: Client, method: str, path: str, body: object = None, **headers: str | None):
    named = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    data = b"" if body is None else json.dumps(body)
    return api.generic(method, path, data, "application/json", headers=named)


def current(api: Client, target: Target) -> str:
    """Return the ETag of the target; of preferences, which are read with their profile, that one's."""
    return api.get(target.path.removesuffix("/preferences"))["ETag"]


def state() -> object:
    """Return what a write would change."""
    documents = UserProfile._get_collection().find({}, {"_id": 0, "version": 1, "user_id": 1})
    return sorted(Note.objects.values_list("id", "version")), list(documents)


def problem(response, status: int) -> dict:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    return response.json()


FAILING = {
    "If-Match of another": {"If_Match": OTHER},
    "If-Match, weakly": {"If_Match": "W/{}"},
    "If-Match, malformed": {"If_Match": "unquoted"},
    "If-Match of nothing": {"If_Match": ""},
    "If-None-Match of any": {"If_None_Match": "*"},
    "If-None-Match of this": {"If_None_Match": "{}"},
    "If-None-Match, weakly": {"If_None_Match": f"{OTHER}, W/{{}}"},
    "If-None-Match, malformed": {"If_None_Match": '*, "x"'},
    "If-Match alone of both": {"If_Match": OTHER, "If_None_Match": OTHER},
    "If-None-Match alone of both": {"If_Match": "{}", "If_None_Match": "{}"},
}
HOLDING = {
    "If-Match of any": {"If_Match": "*"},
    "If-Match of this": {"If_Match": "{}"},
    "If-Match of several": {"If_Match": f'{OTHER},, "a,b" ,{{}}'},
    "If-None-Match of another": {"If_None_Match": f"{OTHER}, W/{OTHER}"},
    "If-None-Match of nothing": {"If_None_Match": ""},
    "both": {"If_Match": "{}", "If_None_Match": OTHER},
}


class TestWrites:
    @pytest.mark.parametrize("case", FAILING)
    def test_do_not_happen_where_one_fails(self, api, target, case):
        etag = current(api, target)
        headers = {name: value.format(etag) for name, value in FAILING[case].items()}
        before = state()

        for method, body in target.writes.items():
            body = problem(send(api, method, target.path, body, **headers), 412)
            assert body["type"] == "urn:trilith:problem:precondition-failed"
            assert body["detail"].split()[0] in {name.replace("_", "-") for name in headers}

        assert state() == before

    @pytest.mark.parametrize("case", HOLDING)
    def test_happen_where_all_hold(self, api, target, case):
        for method, body in target.writes.items():
            etag = current(api, target)
            headers = {name: value.format(etag) for name, value in HOLDING[case].items()}

            assert send(api, method, target.path, body, **headers).status_code < 300, method

    @pytest.mark.parametrize("field", ["If_Match", "If_None_Match"])
    @pytest.mark.parametrize("path", [f"notes/{UNKNOWN}", "profiles/abc"])
    def test_of_what_is_not_there_are_a_404(self, api, field, path):
        """13.2.1: what would fail anyway fails as it would."""
        UserProfile._get_collection().delete_many({})
        body = {"title": "x", "content": "y", "email": "x@example.org", "preferences": {}}
        keys = ("title", "content") if "notes" in path else ("email", "preferences")
        body = {key: body[key] for key in keys}

        for method in ("GET", "HEAD", "PUT", "DELETE"):
            answer = send(api, method, f"/api/v1/{path}", body, **{field: "*"})
            assert answer.status_code == 404, method

    def test_of_another_user_are_a_403(self, api, target):
        if target.path == "/api/v1/notes":
            return  # where anyone may create
        eve = Client(headers={"X-User-Id": "eve"})

        for method, body in target.writes.items():
            problem(send(eve, method, target.path, body, If_None_Match="*"), 403)

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"If_Match": "*"}, 412),
            ({"If_Match": OTHER}, 412),
            ({"If_None_Match": "*"}, 201),
            ({"If_None_Match": OTHER}, 201),
        ],
    )
    def test_of_profiles_which_is_nothing_to_read(self, api, headers, status):
        UserProfile.ensure_indexes()
        UserProfile._get_collection().delete_many({})
        body = {"user_id": "abc", "email": "abc@example.org"}

        answer = send(api, "POST", "/api/v1/profiles", body, **headers)

        assert answer.status_code == status
        assert len(UserProfile.objects) == (status == 201)

    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    def test_of_the_cache_which_is_nothing_to_read(self, settings, method):
        settings.ADMIN_TOKEN = TOKEN
        staff = Client(headers={"Authorization": f"Bearer {TOKEN}"})
        path = "/api/v1/admin/cache/clear"

        problem(send(staff, method, path, If_Match="*"), 412)
        assert send(staff, method, path, If_None_Match="*").status_code == 200
        problem(send(Client(), method, path, If_Match="*"), 401)


READS = ["note", "profile", "notes"]


@pytest.mark.parametrize("target", READS, indirect=True)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("is_cached", [True, False])
class TestReads:
    def read(self, api, target, method, is_cached, **headers):
        etag = current(api, target)  # from here on it is a hit
        named = {name: value.format(etag) for name, value in headers.items()}
        bypass = {} if is_cached else {"Cache_Control": "no-cache"}
        return etag, send(api, method, target.path, **named, **bypass)

    @pytest.mark.parametrize("case", [case for case in FAILING if case.startswith("If-Match")])
    def test_if_match_that_fails_is_a_412(self, api, target, method, is_cached, case):
        _, response = self.read(api, target, method, is_cached, **FAILING[case])

        assert response.status_code == 412
        assert response["Content-Type"] == "application/problem+json"
        assert "ETag" not in response
        plain = api.get(target.path)  # what it says of the cache is said all the same
        for name in ("Cache-Status", "Cache-Control", "Vary"):
            assert (name in response) == (name in plain)

    def test_if_match_comes_before_if_none_match(self, api, target, method, is_cached):
        _, response = self.read(api, target, method, is_cached, If_Match=OTHER, If_None_Match="{}")

        assert response.status_code == 412

    @pytest.mark.parametrize(
        "headers",
        [
            {"If_None_Match": "*"},
            {"If_None_Match": "{}"},
            {"If_None_Match": f"{OTHER}, W/{{}}"},
            {"If_None_Match": "{}", "If_Match": "{}"},
            {"If_None_Match": "{}", "If_Match": "*"},
        ],
    )
    def test_if_none_match_that_fails_is_a_304(self, api, target, method, is_cached, headers):
        etag, response = self.read(api, target, method, is_cached, **headers)

        assert (response.status_code, response.content) == (304, b"")
        assert response["ETag"] == etag
        assert response["Cache-Control"] == "private, no-cache"
        assert response["Cache-Status"].startswith("trilith; ")
        assert "Content-Type" not in response

    @pytest.mark.parametrize("case", list(HOLDING))
    def test_all_that_hold_are_answered_in_full(self, api, target, method, is_cached, case):
        etag, response = self.read(api, target, method, is_cached, **HOLDING[case])

        assert (response.status_code, response["ETag"]) == (200, etag)
        assert method == "HEAD" or response.json()

    def test_if_none_match_that_is_malformed_says_nothing(self, api, target, method, is_cached):
        _, response = self.read(api, target, method, is_cached, If_None_Match="unquoted")

        assert response.status_code == 200


class TestReadsWithoutAnETag:
    @pytest.mark.parametrize("path", ["activity/recent", "activity/abc", "metrics/db"])
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"If_Match": "*"}, 200),
            ({"If_Match": OTHER}, 412),
            ({"If_None_Match": "*"}, 304),
            ({"If_None_Match": OTHER}, 200),
        ],
    )
    def test_have_a_representation_but_no_tag(self, api, path, headers, status):
        assert send(api, "GET", f"/api/v1/{path}", **headers).status_code == status


class TestEvents:
    @pytest.mark.parametrize("headers", [{"If_Match": OTHER}, {"If_None_Match": "*"}])
    def test_none_is_recorded_of_a_read_that_was_not_answered(self, api, headers, monkeypatch):
        recorded = []

        def recorder(action: str, *of_what: object):
            return lambda *by_whom: recorded.append(action)

        monkeypatch.setattr("activity.services.recorder", recorder)
        path = f"/api/v1/notes/{make_note()}"

        send(api, "GET", path, **headers)
        send(api, "GET", path)

        assert recorded == ["note_viewed"]
