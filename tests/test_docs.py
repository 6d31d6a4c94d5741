"""Every list in the documents, held against the code that it is about."""

import ast
import re

import pytest
from django.apps import apps
from django.core.management import get_commands
from django.urls import URLPattern, URLResolver, get_resolver

import loadtests
from activity.documents import ActivityEvent
from cachelayer import namespace, popularity, protocol
from cachelayer.http import _CACHE_STATUS
from config.observability import capped_list
from config.stack import ROOT, VARIABLES
from config.stack.__main__ import _HA, _SINGLE, _WHOLE
from loadtests.__main__ import COMMANDS
from loadtests.docs import figures
from loadtests.experiments import EXPERIMENTS
from notes import cache_keys as note_keys
from notes.models import Note
from profiles import cache_keys as profile_keys
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from tests.cachelayer.test_checks import NAMESPACES

DOCS = ROOT / "docs"
ADRS = sorted((DOCS / "adr").glob("*.md"))
CACHING = "docs/caching-strategy.md"
TOKENS = "change_stream_tokens"
SEED = "docs/from-the-seed.md"
APPS = ("config", "cachelayer", "notes", "profiles", "activity")


def text(name: str) -> str:
    return (ROOT / name).read_text()


def first_cells(name: str) -> list[str]:
    """The first cell of each row of each table."""
    return re.findall(r"^\| (.+?) \|", text(name), re.MULTILINE)


def routes(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> list[str]:
    paths = []
    for pattern in patterns:
        path = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            paths += ["/admin/"] if path == "/admin/" else routes(pattern.url_patterns, path)
        elif not path.startswith("/admin/"):  # the row of the admin stands for all of it
            paths.append(path)
    return paths


class TestKeys:
    @pytest.mark.parametrize("namespace", NAMESPACES, ids=lambda namespace: namespace.name)
    def test_each_namespace_has_its_row(self, namespace):
        row = (
            f"| `{namespace.name}` | `{namespace.pattern}` | {namespace.ttl_seconds} "
            f"| {namespace.absent_ttl_seconds} | {namespace.holds} | {namespace.invalidated_by} "
            f"| {'yes' if namespace.personal_data else 'no'} |"
        )

        assert row in text("docs/caching-strategy.md")

    def test_no_row_is_of_a_namespace_that_is_gone(self):
        rows = re.findall(r"^\| `([\w:]+)` \| `", text("docs/caching-strategy.md"), re.MULTILINE)

        assert rows == [namespace.name for namespace in NAMESPACES]

    def test_each_write_ends_what_its_row_says(self):
        rows = dict(re.findall(r"^\| a (note|profile) \| (`.+`) \|$", text(CACHING), re.MULTILINE))
        tags = {
            "note": note_keys.tags_of_note(note_id="{id}", user_id="{userId}"),
            "profile": profile_keys.tags_of_profile("{userId}"),
        }

        assert rows == {
            what: ", ".join(f"`{tag}`" for tag in names) for what, names in tags.items()
        }

    def test_each_other_key_lives_as_long_as_its_row_says(self):
        rows = re.findall(r"^\| (`\w+:\{.+?`) \| .+ \| (\d+) \|$", text(CACHING), re.MULTILINE)

        assert {name: int(seconds) for name, seconds in rows} == {
            "`missed:{key}`, `invalidated:{tag}`": protocol._RECORD_SECONDS,
            "`hot:{namespace}`": popularity._HOT_TTL_SECONDS,
            "`minute:{minute}`": (popularity.MINUTES_KEPT + 1) * popularity.MINUTE_SECONDS,
            "`kept:{list}`": capped_list.TTL_SECONDS,
        }
        assert f"| {namespace.STAMP_MARGIN_SECONDS} more than any entry that carries it |" in text(
            CACHING
        )


class TestTables:
    def test_each_table_and_collection_has_its_row(self):
        rows = re.findall(
            r"^\| (PostgreSQL|MongoDB) \| `(\w+)`", text("docs/data.md"), re.MULTILINE
        )
        models = [m for app in APPS for m in apps.get_app_config(app).get_models()]
        tables = {m._meta.db_table for m in models if m._meta.managed}
        collections = {d._meta["collection"] for d in (UserProfile, ActivityEvent)}

        assert {name for store_name, name in rows if store_name == "PostgreSQL"} == tables
        assert {name for store_name, name in rows if store_name == "MongoDB"} == {
            *collections,
            TOKENS,
        }
        assert f'["{TOKENS}"]' in text("profiles/change_stream.py")


class TestIndexes:
    def test_each_index_of_the_notes_has_its_row(self):
        rows = re.findall(r"^\| `(idx_notes\w+)`", text("docs/data.md"), re.MULTILINE)

        assert rows == [index.name for index in Note._meta.indexes]

    def test_each_index_of_the_profiles_mirror_has_its_row(self):
        rows = re.findall(r"^\| `(\w*profiles_\w+)` \| `?[^`|]", text("docs/data.md"), re.MULTILINE)
        constraints = [constraint.name for constraint in ProfileRow._meta.constraints]
        indexes = [index.name for index in ProfileRow._meta.indexes]

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
            ("POST", "/api/v1/notes/bulk"),
            ("POST", "/api/v1/notes/bulk/delete"),
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
        values = re.findall(r"^\| `trilith; (.+?)`", text("docs/api.md"), re.MULTILINE)

        assert sorted(re.sub(r"ttl=-?\d+", "ttl={ttl}", value) for value in values) == sorted(
            _CACHE_STATUS.values()
        )


class TestCommands:
    def test_each_command_of_ours_is_told(self):
        ours = {name for name, app in get_commands().items() if app in APPS}
        listed = set(re.findall(r"^\| `manage\.py (\w+)", text("docs/operations.md"), re.MULTILINE))

        assert listed == ours

    def test_each_command_of_the_stack_is_told(self):
        rows = " ".join(first_cells("docs/operations.md"))

        for name in (*_WHOLE, *_SINGLE, *VARIABLES):
            assert f"`{name}`" in rows or f"config.stack {name}`" in rows, name
        for name in _HA:
            assert f"config.stack --topology ha {name}`" in rows, name

    def test_each_command_of_the_load_tests_is_told(self):
        rows = [cell for cell in first_cells("docs/operations.md") if "loadtests" in cell]
        named = re.findall(r"`(?:python -m loadtests )?([a-z-]+)[^`]*`", " ".join(rows))

        assert set(named) == set(COMMANDS)

    def test_each_target_of_the_makefile_explains_itself(self):
        declared = re.search(r"\.PHONY: (.+)", text("Makefile")).group(1).split()
        explained = re.findall(r"^([a-z-]+):.*## ", text("Makefile"), re.MULTILINE)

        assert sorted(explained) == sorted(declared)


LEVELS = {"warning": "warning", "error": "error", "exception": "error", "critical": "critical"}


def events_of(call: ast.AST) -> list[tuple[str, str]]:
    """The events that a call of log spells out, with their level; of a breaker, what it will log."""
    match call:
        case ast.Call(ast.Attribute(ast.Name("log"), method), [event, *_]) if method in LEVELS:
            texts = [part.value for part in ast.walk(event) if isinstance(part, ast.Constant)]
            return [(text, LEVELS[method]) for text in texts]
        case ast.Call(ast.Name("Breaker"), [ast.Constant(name), *_]):
            return [(f"{name} {event}", "warning") for event in ("unavailable", "available again")]
    return []


class TestLogs:
    def test_each_event_of_warning_or_above_has_its_row_and_no_row_is_of_one_that_is_gone(self):
        section = text("docs/operations.md").split("\n## Logs\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| (`.+`) \| (warning|error|critical) \|", section, re.MULTILINE)
        modules = [path for app in APPS for path in (ROOT / app).rglob("*.py")]
        calls = [
            call
            for path in modules
            if "example" not in path.parts
            for call in ast.walk(ast.parse(path.read_text()))
        ]

        listed = [(event, level) for cell, level in rows for event in re.findall(r"`(.+?)`", cell)]
        logged = {event for call in calls for event in events_of(call)}

        assert sorted(listed) == sorted(logged)


class TestFromTheSeed:
    def test_each_command_exists(self):
        page = text(SEED)
        targets = set(re.search(r"\.PHONY: (.+)", text("Makefile")).group(1).split())

        assert set(re.findall(r"`make (\w+)", page)) <= targets
        assert set(re.findall(r"`manage\.py (\w+)", page)) <= set(get_commands())
        assert set(re.findall(r"loadtests ([\w-]+)", page)) <= set(COMMANDS)
        assert set(re.findall(r"loadtests run (\w+)", page)) == set(EXPERIMENTS)
        assert set(re.findall(r"config\.stack (\w+)", page)) <= {*_WHOLE, *_SINGLE, "env"}

    def test_each_query_of_the_report_exists(self):
        names = set(re.findall(r"explain_report --query ([\w-]+)", text(SEED)))

        assert names == {"user-deep"}
        assert '"user-deep"' in text("config/explain/catalogue.py")

    def test_each_endpoint_exists(self):
        known = set(routes(get_resolver().url_patterns))
        cells = [row.rpartition("| ")[2] for row in text(SEED).splitlines() if row.startswith("|")]
        named = {
            path
            for cell in cells
            for path in re.findall(r"`(?:GET|POST|PUT|PATCH|DELETE) (/[^`?]+)", cell)
        }

        assert named
        assert named <= known

    def test_each_setting_exists(self):
        named = set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=\d+)?`", text(SEED)))

        assert named <= set(re.findall(r"^# ([A-Z][A-Z_]+)=", text(".env.example"), re.MULTILINE))


class TestDecisions:
    @pytest.mark.parametrize("page", ADRS, ids=lambda page: page.stem)
    def test_each_has_all_sections_in_order(self, page):
        content = page.read_text()
        sections = (
            *("# ", "**Date:** ", "**Status:** ", "## Context", "## Decision", "## Consequences"),
            *("**Positive:**", "**Negative:**", "## Alternatives considered"),
        )
        places = [content.find(f"{section}") for section in sections]

        assert re.fullmatch(r"\d{4}-[a-z0-9-]+", page.stem)
        assert places == sorted(places)
        assert places[0] == 0
        assert re.search(r"^\*\*Date:\*\* \d{4}-\d\d-\d\d$", content, re.MULTILINE)
        assert re.search(
            r"^\*\*Status:\*\* (Accepted|Proposed: .+|Superseded by .+)$", content, re.MULTILINE
        )
        filled = re.findall(r"^(?:## |\*\*)(\w+).*\n\n(?=[^#*\n])", content, re.MULTILINE)
        assert filled == ["Context", "Decision", "Positive", "Negative", "Alternatives"]
        assert len(content.splitlines()) <= 60, "one page each"

    @pytest.mark.parametrize("page", ADRS, ids=lambda page: page.stem)
    def test_what_each_names_is_there(self, page):
        content = page.read_text()

        for path in re.findall(r"`((?:tests|config|profiles|notes|activity)/[\w/]+\.py)", content):
            assert (ROOT / path).exists(), path
        assert set(re.findall(r"manage\.py (\w+)", content)) <= set(get_commands())
        assert set(re.findall(r"loadtests ([\w-]+)", content)) <= set(COMMANDS)
        assert set(re.findall(r"loadtests run (\w+)", content)) <= set(EXPERIMENTS)

    def test_the_overview_lists_each_by_its_title(self):
        rows = re.findall(
            r"^\| \[(\d{4})\]\(adr/(.+?)\) \| (.+) \|$", text("docs/database-decisions.md"), re.M
        )

        assert rows == [
            (page.name[:4], page.name, page.read_text().splitlines()[0].removeprefix("# "))
            for page in ADRS
        ]


class TestFigures:
    def test_the_page_says_what_was_measured(self):
        page = text("docs/postmortem.md")

        assert page == figures.MARKERS.filled(page, figures.table())


class TestConsistency:
    def test_each_test_that_it_names_is_there(self):
        for path in re.findall(r"tests/[\w/]+\.py", text("docs/consistency.md")):
            assert (ROOT / path).exists(), path

    def test_its_commands_are_there(self):
        page = text("docs/consistency.md")

        assert set(re.findall(r"`make (\w+)", page)) <= {"run", "test", "drill", "chaos"}
        assert set(re.findall(r"python -m loadtests ([\w-]+)", page)) <= set(COMMANDS)
        assert set(re.findall(r"loadtests run (\w+)", page)) <= set(EXPERIMENTS)
        assert set(re.findall(r"manage\.py (\w+)", page)) <= set(get_commands())
        assert set(re.findall(r"\$S (\w+)", page)) <= {*_SINGLE, "env"}


class TestLinks:
    @pytest.mark.parametrize(
        "page",
        [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))],
        ids=lambda page: str(page.relative_to(ROOT)),
    )
    def test_lead_to_files_that_are_there(self, page):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), target

    def test_the_index_names_every_page(self):
        named = set(re.findall(r"\]\(([\w-]+\.md)\)", text("docs/index.md")))

        assert named == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


class TestMapOfLoadTests:
    def test_names_each_module(self):
        named = set(re.findall(r"\w+", loadtests.__doc__))

        for path in (ROOT / "loadtests").iterdir():
            if not path.name.startswith("_"):
                assert path.stem in named, path.stem
