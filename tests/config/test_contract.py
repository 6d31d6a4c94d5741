"""The OpenAPI schema against a real site: schemathesis finds no contradiction, a generated client works."""

import importlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from config.stack import ROOT
from config.stack.process import wait_until
from loadtests.testbed.site import Site, running_site

# make contract asks for more, and for other cases each time.
EXAMPLES = os.environ.get("CONTRACT_EXAMPLES")
TOKEN = "a token that only staff has"
CLIENT = "generated_client"

pytestmark = pytest.mark.timeout(3600 if EXAMPLES else 600)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    variables = {"ADMIN_TOKEN": TOKEN, "LOG_LEVEL": "WARNING"}
    with running_site("contract", notes=50, workers=1, threads=8, variables=variables) as running:
        yield running
    running.stack.reset()


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run a command-line tool of this environment; return what it printed. Fails where it does."""
    done = subprocess.run(
        [Path(sys.executable).parent / command[0], *command[1:]],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class TestSchemathesis:
    def test_finds_no_contradiction(self, site):
        report = run(
            *("schemathesis", "run", f"{site.url}/api/schema", "--no-color"),
            *("--header", f"Authorization: Bearer {TOKEN}"),
            # One worker: with two, Python 3.11 fails to parse what schemathesis generates.
            *("--workers", "1", "--continue-on-failure"),
            *(("--max-examples", EXAMPLES) if EXAMPLES else ("--max-examples", "8", "--seed", "1")),
        )

        sys.stdout.write(report)  # shown by -s
        for phase in ("Coverage", "Fuzzing", "Stateful"):
            assert f"✅ {phase}" in report


@pytest.fixture(scope="module")
def client(site, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """The API by a client that is generated from the schema: its operations, models and caller."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "config.json").write_text(json.dumps({"post_hooks": []}))  # code, not laid out
    run(
        *("openapi-python-client", "generate", "--url", f"{site.url}/api/schema"),
        *("--config", "config.json", "--meta", "none", "--output-path", CLIENT),
        "--fail-on-warning",
        cwd=folder,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        package = importlib.import_module(CLIENT)
        with package.Client(base_url=site.url) as connection:
            yield SimpleNamespace(
                connection=connection, models=importlib.import_module(f"{CLIENT}.models")
            )


@pytest.fixture
def call(client):
    def call(group: str, operation: str, *arguments: Any, status: int = 200, **named: Any) -> Any:
        """Call an operation as a user; return the parsed reply, of the status that is expected."""
        module = importlib.import_module(f"{CLIENT}.api.{group}.{operation}")
        reply = module.sync_detailed(
            *arguments, client=client.connection, x_user_id="erika", **named
        )
        assert reply.status_code == status, reply.content
        return reply.parsed

    return call


def cursor_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["cursor"][0]


class TestGeneratedClient:
    def test_has_every_operation(self, site, client):
        with urllib.request.urlopen(f"{site.url}/api/schema") as reply:
            schema = json.load(reply)
        for path in schema["paths"].values():
            for operation in path.values():
                group, name = operation["tags"][0], operation["operationId"]
                importlib.import_module(f"{CLIENT}.api.{group}.{name}")

    def test_walks_a_users_flow(self, client, call):
        models = client.models
        profile = call(
            *("profiles", "profiles_create"),
            body=models.ProfileCreateRequest(user_id="erika", email="erika@example.org"),
            status=201,
        )
        assert profile.preferences.theme is models.Theme.SYSTEM

        patch = models.PatchedPreferencesRequest(theme=models.Theme.DARK, language="de-AT")
        patch["editor"] = models.PreferenceValue4Type5.from_dict({"tab_width": 4})
        call("profiles", "profiles_preferences_patch", "erika", body=patch)
        patch = models.PatchedPreferencesRequest(language=None)
        profile = call("profiles", "profiles_preferences_patch", "erika", body=patch)
        assert profile.preferences.theme is models.Theme.DARK
        assert profile.preferences.language == "en"
        assert profile.preferences["editor"].to_dict() == {"tab_width": 4}

        notes = [
            call("notes", "notes_create", body=models.NoteCreateRequest(title=title), status=201)
            for title in ("first", "second", "third")
        ]
        changed = call(
            *("notes", "notes_change", notes[0].id),
            body=models.PatchedNoteChangeRequest(content="words"),
        )
        assert (changed.title, changed.content, changed.version) == ("first", "words", 2)
        replacement = models.NoteReplaceRequest(title="third again", content="")
        call("notes", "notes_replace", notes[2].id, body=replacement)
        assert call("notes", "notes_retrieve", notes[2].id).title == "third again"

        page = call("notes", "notes_list", userId="erika", limit=2)
        assert [note.title for note in page.results] == ["third again", "second"]
        assert (page.count, page.page) == (3, 1)
        assert len(call("notes", "notes_list", userId="erika", limit=2, page=2).results) == 1
        page = call("notes", "notes_list", userId="erika", limit=2, cursor="")
        assert [note.title for note in page.results] == ["third again", "second"]
        following = cursor_of(page.next_)
        page = call("notes", "notes_list", userId="erika", limit=2, cursor=following)
        assert [note.title for note in page.results] == ["first"]

        call("notes", "notes_delete", notes[0].id, status=204)
        problem = call("notes", "notes_retrieve", notes[0].id, status=404)
        assert problem.type_ == "urn:trilith:problem:note-not-found"

        def actions() -> list[str]:
            feed = call("activity", "activity_feed", "erika", limit=100)
            return [event.action.value for event in feed.results]

        expected = {"profile_created", "preferences_updated", "note_created", "note_deleted"}
        assert wait_until(lambda: expected <= set(actions()), 30)
        page = call("activity", "activity_feed", "erika", limit=1, cursor="")
        assert len(page.results) == 1
        assert call(
            "activity", "activity_feed", "erika", limit=1, cursor=cursor_of(page.next_)
        ).results
        summary = call("activity", "activity_summary", "erika")
        assert {row.action.value: row.count for row in summary.results}["note_created"] == 3
