"""The members of a problem that depend on the request."""

import re
from http import HTTPStatus
from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest
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
