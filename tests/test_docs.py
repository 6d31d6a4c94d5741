"""Every list in the documents, held against the code that it is about."""

import re

import pytest
from django.core.management import get_commands
from django.urls import URLPattern, URLResolver, get_resolver

from activity.documents import ActivityEvent
from cachelayer import keys
from cachelayer.http import _TOLD
from config.stack import ROOT, VARIABLES
from config.stack.__main__ import _SINGLE, _WHOLE
from loadtests.__main__ import COMMANDS
from notes.models import Note
from profiles.documents import UserProfile
from profiles.models import ProfileRow

DOCS = ROOT / "docs"
APPS = ("config", "cachelayer", "notes", "profiles", "activity")


def text(name: str) -> str:
    return (ROOT / name).read_text()


def first_cells(name: str) -> list[str]:
    """The first cell of each row of each table."""
    return re.findall(r"^\| (.+?) \|", text(name), re.MULTILINE)


def routes(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> list[str]:
    found = []
    for one in patterns:
        path = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(one.pattern))
        if isinstance(one, URLResolver):
            found += ["/admin/"] if path == "/admin/" else routes(one.url_patterns, path)
        else:
            found.append(path)
    return found


class TestKeys:
    @pytest.mark.parametrize("namespace", keys.NAMESPACES, ids=lambda one: one.name)
    def test_each_family_has_its_row(self, namespace):
        row = (
            f"| `{namespace.name}` | `{namespace.pattern}` | {namespace.ttl_seconds} "
            f"| {namespace.absent_ttl_seconds} | {namespace.holds} | {namespace.invalidated_by} "
            f"| {'yes' if namespace.personal_data else 'no'} |"
        )

        assert row in text("docs/caching-strategy.md")

    def test_no_row_is_of_a_family_that_is_gone(self):
        rows = re.findall(r"^\| `([\w:]+)` \| `", text("docs/caching-strategy.md"), re.MULTILINE)

        assert rows == [namespace.name for namespace in keys.NAMESPACES]


class TestIndexes:
    def test_each_index_of_the_notes_has_its_row(self):
        rows = re.findall(r"^\| `(idx_notes\w+)`", text("docs/data.md"), re.MULTILINE)

        assert rows == [index.name for index in Note._meta.indexes]

    def test_each_index_of_the_profiles_twin_has_its_row(self):
        rows = re.findall(r"^\| `(\w*profiles_\w+)` \| `?[^`|]", text("docs/data.md"), re.MULTILINE)
        constraints = [one.name for one in ProfileRow._meta.constraints]
        indexes = [one.name for one in ProfileRow._meta.indexes]

        assert [row for row in rows if row != "user_profiles_pkey"] == constraints + indexes

    def test_each_index_of_the_collections_has_its_row(self):
        rows = re.findall(
            r"^\| `(user_profiles|activity_logs)` \| `(\w+)`", text("docs/data.md"), re.M
        )

        assert rows == [
            (document._meta["collection"], index["name"])
            for document in (UserProfile, ActivityEvent)
            for index in document._meta["indexes"]
        ]


class TestSettings:
    def test_each_variable_has_its_row(self):
        named = re.findall(r"`([A-Z][A-Z_]+)`", " ".join(first_cells("docs/settings.md")))
        known = re.findall(r"^# ([A-Z][A-Z_]+)=", text(".env.example"), re.MULTILINE)

        assert sorted(named) == sorted(known)


class TestEndpoints:
    @pytest.mark.parametrize("page", ["README.md"])
    def test_each_route_is_in_the_readme(self, page):
        for route in routes(get_resolver().url_patterns):
            assert f"`{route}`" in text(page), route

    def test_each_call_is_in_the_contract(self):
        calls = re.findall(r"^\| `([A-Z]+) (/[^`]+)`", text("docs/api.md"), re.MULTILINE)

        assert set(calls) == {
            ("GET", "/api/v1/notes"),
            ("POST", "/api/v1/notes"),
            *((method, "/api/v1/notes/{note_id}") for method in ("GET", "PUT", "PATCH", "DELETE")),
            ("POST", "/api/v1/profiles"),
            *((method, "/api/v1/profiles/{user_id}") for method in ("GET", "PUT", "DELETE")),
            ("PATCH", "/api/v1/profiles/{user_id}/preferences"),
            ("GET", "/api/v1/profiles/mongo/{user_id}"),
            ("GET", "/api/v1/profiles/postgres/{user_id}"),
            ("GET", "/api/v1/activity/recent"),
            ("GET", "/api/v1/activity/trend"),
            *(
                ("GET", f"/api/v1/activity/{{user_id}}{path}")
                for path in ("", "/summary", "/daily")
            ),
            *(
                ("GET", f"/api/v1/activity/insights/{what}")
                for what in ("resources", "hours", "retention")
            ),
            ("POST", "/api/v1/admin/cache/clear"),
            ("GET", "/api/v1/admin/cache/explain"),
            ("GET", "/api/v1/metrics/cache"),
            ("GET", "/api/v1/metrics/db"),
            ("GET", "/metrics"),
        }

    def test_each_cache_status_is_explained(self):
        told = re.findall(r"^\| `trilith; (.+?)`", text("docs/api.md"), re.MULTILINE)

        assert sorted(re.sub(r"ttl=-?\d+", "ttl={ttl}", one) for one in told) == sorted(
            _TOLD.values()
        )


class TestCommands:
    def test_each_command_of_ours_is_told(self):
        ours = {name for name, app in get_commands().items() if app in APPS}
        told = set(re.findall(r"^\| `manage\.py (\w+)", text("docs/operations.md"), re.MULTILINE))

        assert told - {"migrate"} == ours

    def test_each_command_of_the_stack_is_told(self):
        rows = " ".join(first_cells("docs/operations.md"))

        for name in (*_WHOLE, *_SINGLE, *VARIABLES):
            assert f"`{name}`" in rows or f"config.stack {name}`" in rows, name

    def test_each_command_of_the_load_tests_is_told(self):
        rows = [cell for cell in first_cells("docs/operations.md") if "loadtests" in cell]
        named = re.findall(r"`(?:python -m loadtests )?([a-z-]+)[^`]*`", " ".join(rows))

        assert set(named) == set(COMMANDS)

    def test_each_target_of_the_makefile_explains_itself(self):
        declared = re.search(r"\.PHONY: (.+)", text("Makefile")).group(1).split()
        explained = re.findall(r"^([a-z]+):.*## ", text("Makefile"), re.MULTILINE)

        assert sorted(explained) == sorted(declared)


class TestLinks:
    @pytest.mark.parametrize(
        "page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name
    )
    def test_lead_to_files_that_are_there(self, page):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), target

    def test_the_index_names_every_page(self):
        named = set(re.findall(r"\]\(([\w-]+\.md)\)", text("docs/index.md")))

        assert named == {page.name for page in DOCS.glob("*.md")} - {"index.md"}
