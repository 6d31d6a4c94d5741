"""The OpenAPI schema against a real site: schemathesis finds no contradiction, generated clients work."""

import importlib
import json
import os
import re
import shutil
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
BIN = Path(sys.executable).parent
SOURCES = Path(__file__).parent / "clients"
CLIENT = "trilith_client"

pytestmark = [pytest.mark.timeout(3600)] if EXAMPLES else []


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    variables = {"ADMIN_TOKEN": TOKEN, "LOG_LEVEL": "WARNING"}
    with running_site("contract", notes=50, workers=1, threads=8, variables=variables) as running:
        yield running
    running.stack.reset()


def run(*command: str, cwd: Path = ROOT, status: int = 0, **environment: str) -> str:
    """Run a command-line tool, of this environment if it has it; return what it printed."""
    done = subprocess.run(
        [shutil.which(command[0], path=BIN) or command[0], *command[1:]],
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


class TestSchemathesis:
    def test_finds_no_contradiction(self, site):
        report = run(
            *("schemathesis", "run", f"{site.url}/api/schema", "--no-color"),
            *("--header", f"Authorization: Bearer {TOKEN}"),
            # One worker: with two, Python 3.11 fails to parse what schemathesis generates.
            *("--workers", "1", "--continue-on-failure"),
            *(("--max-examples", EXAMPLES) if EXAMPLES else ("--max-examples", "2", "--seed", "1")),
        )

        sys.stdout.write(report)  # shown by -s
        for phase in ("Coverage", "Fuzzing", "Stateful"):
            assert f"✅ {phase}" in report


@pytest.fixture(scope="module")
def clients(site, tmp_path_factory) -> Path:
    """The folder that make client writes, with what uses the clients: the examples of the docs, and SOURCES."""
    folder = tmp_path_factory.mktemp("clients")
    printed = run("make", "client", f"CLIENTS={folder}", f"BIN={BIN}", f"--assume-old={BIN}/.dev")
    assert f"{folder}/python" in printed
    assert f"{folder}/typescript" in printed
    for source in SOURCES.iterdir():
        shutil.copy(source, folder / "python" if source.suffix == ".py" else folder)
    text = (ROOT / "docs/api.md").read_text().replace("http://127.0.0.1:8000", site.url)
    for language, place in (("python", "python/example.py"), ("ts", "example.ts")):
        [example] = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        assert site.url in example
        (folder / place).write_text(example)
    return folder


@pytest.fixture(scope="module")
def client(site, clients) -> Iterator[SimpleNamespace]:
    """The API by the client in Python: its models and its connection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(clients / "python"))
        package = importlib.import_module(CLIENT)
        with package.Client(base_url=site.url) as connection:
            yield SimpleNamespace(
                connection=connection, models=importlib.import_module(f"{CLIENT}.models")
            )


def mistakes(name: str) -> set[tuple[str, str, str]]:
    """Return the name, the line and the code of each mistake that a file declares."""
    lines = enumerate((SOURCES / name).read_text().splitlines(), start=1)
    ends = [(number, re.search(r"; // (TS\d+)$|  # ([a-z-]+)$", line)) for number, line in lines]
    return {(name, str(number), end[1] or end[2]) for number, end in ends if end}


@pytest.fixture
def call(client):
    def call(group: str, operation: str, *arguments: Any, status: int = 200, **named: Any) -> Any:
        """Call an operation as a user; return the parsed reply, of the status that is expected."""
        module = importlib.import_module(f"{CLIENT}.api.{group}.{operation}")
        reply = module.sync_detailed(
            *arguments, client=client.connection, x_user_id="paula", **named
        )
        assert reply.status_code == status, reply.content
        return reply.parsed

    return call


def cursor_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["cursor"][0]


class TestPython:
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
            body=models.ProfileCreateRequest(user_id="paula", email="paula@example.org"),
            status=201,
        )
        assert profile.preferences.theme is models.Theme.SYSTEM

        patch = models.PatchedPreferencesRequest(theme=models.Theme.DARK, language="de-AT")
        patch["editor"] = models.PreferenceObject4.from_dict({"tab_width": 4})
        call("profiles", "profiles_preferences_patch", "paula", body=patch)
        patch = models.PatchedPreferencesRequest(language=None)
        profile = call("profiles", "profiles_preferences_patch", "paula", body=patch)
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

        page = call("notes", "notes_list", userId="paula", limit=2)
        assert [note.title for note in page.results] == ["third again", "second"]
        assert (page.count, page.page) == (3, 1)
        assert len(call("notes", "notes_list", userId="paula", limit=2, page=2).results) == 1
        page = call("notes", "notes_list", userId="paula", limit=2, cursor="")
        assert [note.title for note in page.results] == ["third again", "second"]
        following = cursor_of(page.next_)
        page = call("notes", "notes_list", userId="paula", limit=2, cursor=following)
        assert [note.title for note in page.results] == ["first"]

        call("notes", "notes_delete", notes[0].id, status=204)
        problem = call("notes", "notes_retrieve", notes[0].id, status=404)
        assert problem.type_ == "urn:trilith:problem:note-not-found"

        def actions() -> list[str]:
            feed = call("activity", "activity_feed", "paula", limit=100)
            return [event.action.value for event in feed.results]

        expected = {"profile_created", "preferences_updated", "note_created", "note_deleted"}
        assert wait_until(lambda: expected <= set(actions()), 30)
        page = call("activity", "activity_feed", "paula", limit=1, cursor="")
        assert len(page.results) == 1
        assert call(
            "activity", "activity_feed", "paula", limit=1, cursor=cursor_of(page.next_)
        ).results
        summary = call("activity", "activity_summary", "paula")
        assert {row.action.value: row.count for row in summary.results}["note_created"] == 3

    def test_is_typed(self, clients):
        report = run(
            *("mypy", "--strict", "--config-file=", "--cache-dir", str(clients / "mypy")),
            *("example.py", "mistakes.py"),
            cwd=clients / "python",
            status=1,
        )

        found = re.findall(r"^(\S+):(\d+): error: .*\[([a-z-]+)\]$", report, re.MULTILINE)
        assert set(found) == mistakes("mistakes.py"), report

    def test_the_example_runs(self, clients):
        printed = run("python", "example.py", cwd=clients / "python")

        assert printed == "412 urn:trilith:problem:precondition-failed\n"


@pytest.fixture(scope="module")
def deno(clients):
    """Run Deno, which reaches nothing but this machine, and keeps what it keeps in the clients' folder."""

    def deno(command: str, *arguments: str, **expected: int) -> str:
        return run(
            *("deno", command, "--no-remote", "--no-npm", "--cached-only", *arguments),
            **{"cwd": clients, **expected},
            DENO_DIR=str(clients / "deno"),
            DENO_NO_UPDATE_CHECK="1",
            HOME="/nowhere",
            NO_COLOR="1",
        )

    return deno


class TestTypeScript:
    def test_is_typed(self, deno):
        report = deno("check", "user_flow.ts", "example.ts", "mistakes.ts", status=1)

        each = r"^(TS\d+) \[ERROR\].*?^    at file://\S*?/(\w+\.ts):(\d+):"
        found = re.findall(each, report, re.MULTILINE | re.DOTALL)
        assert {(name, line, code) for code, name, line in found} == mistakes("mistakes.ts"), report

    def test_walks_a_users_flow(self, site, deno):
        deno("run", "--no-prompt", "--allow-net=127.0.0.1", "user_flow.ts", site.url)

    def test_the_example_runs(self, deno):
        printed = deno("run", "--no-prompt", "--allow-net=127.0.0.1", "example.ts")

        assert printed == "412 urn:trilith:problem:precondition-failed\n"
