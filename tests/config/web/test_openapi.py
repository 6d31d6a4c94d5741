"""The OpenAPI schema: it says what the API does, no more and no less."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from activity.time_window import MOMENT_PATTERN, parse_moment
from config.web.openapi import CURSOR_PATTERN
from config.web.serializers import trimmed_pattern
from config.web.user_ids import NEW_USER_ID_PATTERN
from notes.limits import TITLE_MAX_CHARACTERS
from tests.builders import make_note

pytestmark = pytest.mark.django_db
# Every read answers preconditions (RFC 9110, 13).
READS = ("activity_recent", "activity_feed", "metrics_cache", "cache_explain", "notes_retrieve")
SURROUNDING = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return Client().get("/api/schema").json()


@pytest.fixture(scope="module")
def operations(schema) -> dict[str, dict[str, Any]]:
    return {
        item["operationId"]: item for path in schema["paths"].values() for item in path.values()
    }


def parameters_of(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in operation["parameters"]}


class TestParameters:
    def test_the_caller_is_an_optional_header_with_a_pattern_and_a_default(self, operations):
        for name, operation in operations.items():
            if {"staff": []} not in operation.get("security", []) or {} in operation["security"]:
                header = parameters_of(operation)["X-User-Id"]
                assert "required" not in header, name
                assert header["schema"]["pattern"] == NEW_USER_ID_PATTERN
                assert header["schema"]["default"] == "demo"

    def test_staff_is_required_where_nobody_else_may(self, operations):
        security = {name: operation.get("security") for name, operation in operations.items()}

        assert security["cache_clear"] == security["cache_explain"] == [{"staff": []}]
        assert security["profiles_replace"] == [{}, {"staff": []}]
        assert security["profiles_retrieve"] is security["notes_replace"] is None

    def test_only_the_key_to_explain_is_required_in_a_query(self, operations):
        required = {
            (name, parameter["name"])
            for name, operation in operations.items()
            for parameter in operation["parameters"]
            if parameter.get("required") and parameter["in"] == "query"
        }

        assert required == {("cache_explain", "key")}

    def test_what_excludes_another_has_no_default_that_a_client_would_send(self, operations):
        listing = parameters_of(operations["notes_list"])

        for name in ("page", "count", "q", "cursor", "userId", "user_id"):
            assert "default" not in listing[name]["schema"]

    def test_the_pattern_of_a_cursor_fits_those_that_are_made(self, api):
        make_note(), make_note()
        page = api.get("/api/v1/notes", {"cursor": "", "limit": 1}).json()
        cursor = re.search("cursor=([^&]+)", page["next"])[1].replace("%3A", ":")

        assert re.fullmatch(CURSOR_PATTERN, cursor)
        assert re.fullmatch(CURSOR_PATTERN, "")

    @pytest.mark.parametrize(
        "text",
        [
            *("1969-12-31", "1970-01-01", "2999-12-31", "3000-01-01", "2026-02-29", "2024-02-29"),
            *("2000-02-29", "2100-02-29", "2026-04-31", "2026-13-01", "2026-00-10", "2026-1-1"),
            *("2026-01-31T23:59:59Z", "2026-01-31t23:59:59.1234567890z", "2026-01-31T24:00:00Z"),
            *("2026-01-31T23:59:59+05:30", "2026-01-31T23:59:59", "2026-01-31 23:59:59Z"),
            *("2016-12-31T23:59:60Z", "2016-12-31T22:59:60Z", "2026-01-31T23:59:59+24:00"),
        ],
    )
    def test_the_pattern_of_a_time_says_what_is_read(self, text):
        moment = parse_moment(text)
        is_read = moment is not None and 1970 <= moment.second.year < 3000

        assert bool(re.fullmatch(MOMENT_PATTERN, text)) == is_read


class TestBodies:
    @pytest.mark.parametrize(
        ("title", "is_valid"),
        [
            ("a", True),
            ("", False),
            (SURROUNDING, False),
            (f"{SURROUNDING}a b{SURROUNDING}", True),
            (f" {'a' * TITLE_MAX_CHARACTERS} ", True),
            ("a" * (TITLE_MAX_CHARACTERS + 1), False),
            ("a\0", False),
            ("\ufeff", True),
        ],
        ids=range(8),
    )
    def test_the_pattern_of_a_title_says_what_is_accepted(self, api, title, is_valid):
        reply = api.post("/api/v1/notes", {"title": title}, content_type="application/json")

        assert reply.status_code == (201 if is_valid else 400)
        assert bool(re.fullmatch(trimmed_pattern(TITLE_MAX_CHARACTERS), title)) == is_valid

    def test_each_refuses_unknown_fields_and_is_required(self, schema, operations):
        for operation in operations.values():
            body = operation.get("requestBody")
            for media in body["content"].values() if body else ():
                assert body["required"]
                name = media["schema"]["$ref"].rpartition("/")[2]
                component = schema["components"]["schemas"][name]
                assert "Preferences" in name or component["additionalProperties"] is False


class TestResponses:
    def test_none_is_left_to_a_default(self, operations):
        assert not [item for item in operations.values() if "default" in item["responses"]]

    def test_say_which_errors_there_are(self, operations):
        codes = {name: set(operation["responses"]) for name, operation in operations.items()}

        assert codes["notes_list"] == {"200", "304", "400", "412", "429", "503"}
        assert codes["notes_replace"] == {
            *("200", "400", "403", "404", "412", "413", "415", "429", "503"),
        }
        assert codes["profiles_create"] == {
            *("201", "400", "403", "409", "412", "413", "415", "429", "503"),
        }
        assert codes["cache_clear"] == {"200", "400", "401", "403", "412", "503"}
        assert all({"304", "412"} <= codes[name] for name in READS)

    def test_every_link_leads_to_an_operation(self, operations):
        links = [
            (link["operationId"], name.partition(".")[2])
            for operation in operations.values()
            for response in operation["responses"].values()
            for link in response.get("links", {}).values()
            for name in link["parameters"]
        ]

        assert links
        for operation, parameter in links:
            assert parameter in parameters_of(operations[operation])


class TestWhatItSays:
    @pytest.mark.parametrize("name", ["profiles", "metrics-cache", "activity-recent"])
    def test_a_method_that_is_not_there_is_a_405_whoever_calls(self, name):
        reply = Client().generic("TRACE", reverse(name), headers={"X-User-Id": "no user"})

        assert reply.status_code == 405
        assert reply["Allow"]
        assert reply["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/api/v1/metrics/cache"),
            ("GET", "/api/v1/metrics/db"),
            ("POST", "/api/v1/notes"),
            ("POST", "/api/v1/profiles"),
            ("DELETE", "/api/v1/profiles/abc"),
            ("PATCH", "/api/v1/profiles/abc/preferences"),
            ("PUT", "/api/v1/notes/5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b"),
        ],
    )
    def test_a_parameter_that_is_not_there_is_a_400_that_names_it(self, api, method, path):
        reply = api.generic(method, f"{path}?nonsense=1", "{}", content_type="application/json")

        assert reply.status_code == 400
        assert [error["field"] for error in reply.json()["errors"]] == ["nonsense"]

    def test_a_malformed_user_is_a_400_for_staff_as_well(self, settings):
        settings.ADMIN_TOKEN = "a token that only staff has"
        staff = Client(headers={"Authorization": f"Bearer {settings.ADMIN_TOKEN}"})

        reply = staff.delete("/api/v1/profiles/abc", headers={"X-User-Id": "no user"})

        assert reply.status_code == 400
        assert [error["field"] for error in reply.json()["errors"]] == ["X-User-Id"]
