"""The members of a problem that depend on the request."""

import json
import re
from http import HTTPStatus
from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest
from django.core.exceptions import SuspiciousOperation
from django.test import Client

from config.web import problems

pytestmark = pytest.mark.django_db(transaction=True)

PATHS = [
    "/api/v1/notes/a note",
    "/api/v1/notes/ü/€/𝄞",
    '/api/v1/notes/<"^`{|}\\>',
    "/api/v1/notes/100%",
    "/api/v1/notes/%41",
    "/api/v1/notes/x?y#z",
    "/api/v1/notes/[1]",
    "/api/v1/notes/a\tb\nc\0",
    "/api/v1/profiles/mongo/a b",
    "/api/x:y@z;a=b,c!$&'()*+~",
]


def is_uri_reference(text: str) -> bool:
    """RFC 3986, appendix A: nothing but the characters that there are, escapes being whole."""
    return bool(re.fullmatch(r"(?:[A-Za-z0-9._~:/?#@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*", text))


class TestInstance:
    @pytest.mark.parametrize("host", ["testserver", "evil.example"])
    @pytest.mark.parametrize("path", PATHS)
    def test_is_a_uri_reference_to_the_path(self, path, host):
        response = Client().get(quote(path), headers={"Host": host})

        assert response["Content-Type"] == "application/problem+json"
        instance = response.json()["instance"]
        assert is_uri_reference(instance)
        assert unquote(urlsplit(instance).path) == path
        assert urlsplit(urljoin("http://testserver/", instance)).netloc == "testserver"

    def test_names_no_other_host(self, rf):
        instance = problems.problem(rf.get("//evil.example/api"), HTTPStatus.NOT_FOUND, "")[
            "instance"
        ]

        assert urlsplit(urljoin("http://testserver/", instance)).netloc == "testserver"

    def test_of_a_broken_encoding_is_one_too(self):
        assert is_uri_reference(Client().get("/api/v1/notes/%ff%fe").json()["instance"])


class TestMalformed:
    """What Django refuses before a view has read it."""

    @pytest.mark.parametrize(
        ("path", "host", "field", "word"),
        [
            ("/api/v1/notes", "evil.example", "Host", "ALLOWED_HOSTS"),
            ("/api/v1/notes?" + "&".join(["a"] * 1001), "testserver", "query", "1000"),
        ],
    )
    def test_is_named_in_detail_and_errors(self, path, host, field, word):
        response = Client().get(path, headers={"Host": host})

        problem = response.json()
        assert response.status_code == 400
        assert word in problem["detail"]
        assert problem["errors"] == [
            {"field": field, "message": problem["detail"], "code": "invalid"}
        ]

    def test_is_said_to_be_so_where_it_has_no_name(self, rf):
        problem = json.loads(problems.bad_request(rf.get("/api/"), SuspiciousOperation()).content)

        assert [error["field"] for error in problem["errors"]] == ["request"]


class TestFieldNames:
    def fields_of(self, response) -> list[str]:
        assert response.status_code == 400
        return [error["field"] for error in response.json()["errors"]]

    def test_an_empty_one_is_shown_as_such(self):
        assert self.fields_of(Client().get("/api/v1/notes?=1")) == ['""']

        response = Client().post("/api/v1/notes", '{"title": "x", "": 1}', "application/json")

        assert self.fields_of(response) == ['""']
        assert response.json()["detail"] == 'Not valid: "".'

    @pytest.mark.parametrize("note", ["null", "1", "[]", '"x"'])
    def test_an_element_that_is_no_object_is_named_itself(self, note):
        body = f'{{"notes": [{{"title": "x"}}, {note}]}}'

        response = Client().post("/api/v1/notes/bulk", body, "application/json")

        assert self.fields_of(response) == ["notes.1"]

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_is_named_also_by_the_name_of_no_field(self, method):
        name = "non_field_errors"
        query = f"?{name}=1" if method == "GET" else ""
        reply = Client().generic(
            method, f"/api/v1/notes{query}", f'{{"title": "x", "{name}": 1}}', "application/json"
        )

        assert reply.status_code == 400
        assert [error["field"] for error in reply.json()["errors"]] == [name]

    def test_of_what_knows_no_parameter_none_are_offered(self):
        response = Client().post("/api/v1/notes?x=1", '{"title": "x"}', "application/json")

        message = response.json()["errors"][0]["message"]
        assert message == "Unknown parameter; known are none."


class TestNumberOfErrors:
    """A body has room for more mistakes than anybody reads, and each costs time."""

    UNKNOWN = json.dumps({f"k{number}": 1 for number in range(10_000)})
    REPEATED = "{" + ",".join(f'"k{number // 2}":1' for number in range(20_000)) + "}"
    NOTES = json.dumps({"notes": [{f"k{number}": 1 for number in range(200)}] * 100})
    KEYS = json.dumps({f"${number}": 1 for number in range(10_000)})

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/api/v1/notes", UNKNOWN),
            ("POST", "/api/v1/notes", REPEATED),
            ("POST", "/api/v1/notes/bulk", NOTES),
            ("PATCH", "/api/v1/profiles/demo/preferences", KEYS),
        ],
        ids=["unknown", "repeated", "nested", "keys"],
    )
    def test_is_bounded(self, method, path, body):
        response = Client().generic(method, path, body, "application/json")

        problem = response.json()
        assert response.status_code == 400
        assert 50 <= len(problem["errors"]) <= 100
        assert len(response.content) < 20_000

    def test_that_are_left_out_are_mentioned(self):
        for count, is_mentioned in ((100, False), (101, True)):
            body = json.dumps({f"k{number}": 1 for number in range(count)})
            problem = Client().post("/api/v1/notes", body, "application/json").json()

            assert len(problem["errors"]) == 100
            assert problem["detail"].endswith(" There are more mistakes.") is is_mentioned

    def test_keeps_the_time_of_each_in_bounds(self, monkeypatch):
        made = []
        monkeypatch.setattr(
            "config.web.serializers.ErrorDetail", lambda *args: made.append(args) or args[0]
        )

        Client().post("/api/v1/notes", self.UNKNOWN, "application/json")

        assert len(made) < 500
