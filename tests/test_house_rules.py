"""The rules of the house that no linter knows."""

import ast
import importlib.metadata
import inspect
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import cachelayer.idempotency
import notes.services
import profiles.services
import profiles.stores
from cachelayer.entries import Overloaded
from cachelayer.http import PreconditionFailed
from config.errors import DOMAIN_ERRORS
from config.stack import ROOT

FOLDERS = ("config", "cachelayer", "notes", "profiles", "activity", "loadtests")
MODULES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not {"migrations", "example"} & set(path.parts)
]
REQUIREMENTS = sorted(ROOT.glob("requirements*.txt"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Each call in the source, with its module."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield named(path), node


class TestModules:
    @pytest.mark.parametrize("path", MODULES, ids=named)
    def test_say_what_they_hold(self, path):
        tree = ast.parse(path.read_text())

        assert path.name == "apps.py" or ast.get_docstring(tree), "no docstring"

    def test_none_has_a_name_that_says_nothing(self):
        nothing = {"utils", "helpers", "common", "core", "misc"}

        assert not [path for path in MODULES if path.stem in nothing]


class TestThreads:
    """No thread in the background dies unseen: supervise starts it, or it is said here why not."""

    EXPLAINED = {
        "cachelayer/listener.py": "a process of its own, which ends with this thread",
        "cachelayer/supervision.py": "starts the others",
        "config/postgres/outages.py": "asks the server once, within its own deadline",
        "config/stack/process.py": "waits for one child process",
        "config/web/token_keys.py": "fetches a key set once; requests wait 2 s for it at most",
    }

    def test_each_is_supervised_or_explained(self):
        starting = {
            module
            for module, call in calls()
            if not module.startswith("loadtests/")  # tools, whose threads are joined
            and getattr(call.func, "attr", getattr(call.func, "id", "")) in ("Thread", "Timer")
        }

        assert starting == set(self.EXPLAINED)


class TestDecoders:
    """
    msgspec completes a type at its first use, in which a second thread dies: decoders are made at import.

    Not so these, for the reason that is said here.
    """

    EXPLAINED = {
        "cachelayer/conf.py": "one thread at a time",
        "config/backup/manifest.py": "of a command, which reads it in one thread",
        "config/management/commands/explain_report.py": "the same",
        "loadtests/lab/results.py": "the same",
    }

    def test_each_type_is_completed_before_there_are_threads_or_it_is_explained(self):
        at_first_use = {
            module
            for module, call in calls()
            if ast.unparse(call.func) == "msgspec.convert"
            or (
                re.fullmatch(r"msgspec\.\w+\.decode", ast.unparse(call.func))
                and [keyword for keyword in call.keywords if keyword.arg == "type"]
            )
        }

        assert at_first_use == set(self.EXPLAINED)


class TestDomainErrors:
    def test_each_error_of_a_service_has_its_answer(self):
        raised = {
            error
            for module in (
                notes.services,
                profiles.services,
                profiles.stores,
                cachelayer.idempotency,
            )
            for _, error in inspect.getmembers(module, inspect.isclass)
            if issubclass(error, Exception) and error.__module__ == module.__name__
        }

        assert set(DOMAIN_ERRORS) == raised | {PreconditionFailed, Overloaded}

    def test_no_two_answers_are_alike(self):
        kinds = [kind for _, kind in DOMAIN_ERRORS.values()]

        assert len(set(kinds)) == len(kinds)
        assert all(isinstance(status, HTTPStatus) for status, _ in DOMAIN_ERRORS.values())


def pins() -> dict[str, str]:
    """Each pinned package with its line."""
    pinned = {}
    for path in REQUIREMENTS:
        for line in path.read_text().splitlines():
            if line and not line.startswith(("#", "-r")):
                pinned[normal(Requirement(line.split("#")[0]).name)] = line
    return pinned


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class TestRequirements:
    def test_each_line_pins_one_version_and_says_why(self):
        for line in pins().values():
            assert "==" in line, line
            assert re.search(r"#\s+\S", line), line

    def test_whatever_a_package_needs_is_pinned_too(self):
        pinned = pins()
        for name in pinned:
            try:
                needed = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue  # for another platform or Python
            for text in needed:
                requirement = Requirement(text)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    assert normal(requirement.name) in pinned, f"{name} needs {requirement.name}"
