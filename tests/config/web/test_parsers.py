"""The bodies that every endpoint accepts and refuses."""

import gzip
import json

import pytest

from notes.models import Note
from profiles.documents import UserProfile
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)

ENDPOINTS = [
    ("POST", "/api/v1/notes"),
    ("PUT", "/api/v1/notes/{note_id}"),
    ("PATCH", "/api/v1/notes/{note_id}"),
    ("POST", "/api/v1/profiles"),
    ("PUT", "/api/v1/profiles/abc"),
    ("PATCH", "/api/v1/profiles/abc/preferences"),
]
NOT_JSON = {
    "a byte order mark": (b"\xef\xbb\xbf{}", "byte order mark"),
    "UTF-16": ('{"title": "x"}'.encode("utf-16"), "not JSON"),
    "Latin-1": ('{"title": "é"}'.encode("latin-1"), "utf-8"),
    "a lone surrogate": (rb'{"title": "\ud800"}', "not JSON"),
    "a raw control character": (b'{"title": "\x00"}', "not JSON"),
    "deep nesting": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    "deep lists": (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    "an integer of 5 000 digits": (b'{"title": ' + b"1" * 5000 + b"}", "out of range"),
    "a number beyond all floats": (b'{"title": 1e999}', "out of range"),
    "NaN": (b'{"title": NaN}', "not JSON"),
    "two texts": (b"{}{}", "trailing"),
    "a cut text": (b'{"title": "x"', "truncated"),
    "single quotes": (b"{'title': 'x'}", "not JSON"),
    "a comment": (b'{/* */"title": "x"}', "not JSON"),
}


@pytest.fixture
def stored(api):
    """Return what is stored of the note and the profile that the endpoints are about."""
    UserProfile.ensure_indexes()
    UserProfile._get_collection().delete_many({})
    note_id = make_note(title="T", content="C")
    body = json.dumps({"user_id": "abc", "email": "abc@example.org"})
    assert api.post("/api/v1/profiles", body, "application/json").status_code == 201

    def state():
        profiles = UserProfile._get_collection().find()
        return (
            list(Note.objects.values_list("id", "title", "content", "version")),
            [
                (profile["user_id"], profile["preferences"], profile["version"])
                for profile in profiles
            ],
        )

    state.note_id = note_id
    return state


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
class TestBody:
    def send(self, api, stored, method, path, body, **headers):
        path = path.format(note_id=stored.note_id)
        return api.generic(method, path, body, "application/json", headers=headers)

    @pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t "])
    def test_nothing_is_a_400_and_writes_nothing(self, api, stored, method, path, body):
        before = stored()

        response = self.send(api, stored, method, path, body)

        assert response.status_code == 400
        assert response.json()["errors"] == [
            {
                "field": "body",
                "message": "The body is empty; JSON is expected.",
                "code": "parse_error",
            }
        ]
        assert stored() == before

    @pytest.mark.parametrize("kind", NOT_JSON)
    def test_what_is_not_json_is_a_400_that_says_why(self, api, stored, method, path, kind):
        before = stored()
        body, reason = NOT_JSON[kind]

        response = self.send(api, stored, method, path, body)

        assert response.status_code == 400
        assert reason in response.json()["errors"][0]["message"]
        assert stored() == before

    @pytest.mark.parametrize(
        "body",
        [
            b'{"title": "x", "title": "y"}',
            b'{"title": "x", "\\u0074itle": "y"}',
            b'{"preferences": {"a": [{"title": 1, "b": 2, "title": 1}]}}',
        ],
    )
    def test_a_name_that_stands_twice_is_a_400_that_names_it(self, api, stored, method, path, body):
        before = stored()

        response = self.send(api, stored, method, path, body)

        assert response.status_code == 400
        assert response.json()["errors"] == [
            {"field": "title", "message": "Given more than once.", "code": "repeated"}
        ]
        assert stored() == before

    @pytest.mark.parametrize("coding", ["gzip", "br", "x-gzip, deflate", "identity, gzip", "odd"])
    def test_in_a_content_coding_is_a_415_that_names_it(self, api, stored, method, path, coding):
        before = stored()
        body = gzip.compress(b'{"title": "x"}')

        response = self.send(api, stored, method, path, body, **{"Content-Encoding": coding})

        assert response.status_code == 415
        assert coding in response.json()["detail"]
        assert response["Content-Type"] == "application/problem+json"
        assert response["Accept-Encoding"] == "identity"
        assert stored() == before

    @pytest.mark.parametrize("coding", ["identity", "Identity", "", " , "])
    def test_in_none_it_is_read(self, api, stored, method, path, coding):
        body = b'{"title": "x", "content": "", "no": 1}'

        response = self.send(api, stored, method, path, body, **{"Content-Encoding": coding})

        assert response.status_code in (200, 400)

    def test_of_another_media_type_is_a_415_without_accept_encoding(
        self, api, stored, method, path
    ):
        path = path.format(note_id=stored.note_id)

        response = api.generic(method, path, b"{}", "text/plain")

        assert response.status_code == 415
        assert "Accept-Encoding" not in response  # RFC 9110, 12.5.3


class TestMediaTypes:
    @pytest.mark.parametrize(
        ("path", "types"),
        [
            ("/api/v1/notes/{note_id}", "application/json"),
            (
                "/api/v1/profiles/abc/preferences",
                "application/json, application/merge-patch+json",
            ),
        ],
    )
    def test_of_patch_stand_on_options_and_on_415(self, api, stored, path, types):
        path = path.format(note_id=stored.note_id)

        assert api.options(path)["Accept-Patch"] == types
        refused = api.generic("PATCH", path, b"{}", "text/plain")
        assert (refused.status_code, refused["Accept-Patch"]) == (415, types)
        for media_type in types.split(", "):
            assert api.generic("PATCH", path, b'{"title": "x"}', media_type).status_code == 200
            with_charset = f"{media_type.title()}; charset=utf-8"
            assert api.generic("PATCH", path, b'{"title": "x"}', with_charset).status_code == 200

    @pytest.mark.parametrize(("method", "path"), ENDPOINTS)
    def test_that_are_accepted_stand_on_415(self, api, stored, method, path):
        path = path.format(note_id=stored.note_id)

        refused = api.generic(method, path, b"{}", "text/plain")

        assert refused["Accept"].startswith("application/json")
        assert ("Accept-Patch" in refused) is (method == "PATCH")
        assert "Accept-Patch" not in api.options("/api/v1/notes")
