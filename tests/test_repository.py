"""The files at the top that tools read."""

import json
import re

import yaml

from config.stack import ROOT


def targets() -> list[str]:
    return re.search(r"\.PHONY: (.+)", (ROOT / "Makefile").read_text()).group(1).split()


def test_each_commit_is_checked_as_the_gate_does():
    [source] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    [hook] = source["hooks"]

    assert source["repo"] == "local"
    assert hook["entry"] == "make check"
    assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == ("system", False, True)
    assert "make check" in (ROOT / ".ci/run").read_text().splitlines()


def test_the_development_container_is_made_by_targets_that_exist():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    image = re.search(r"^FROM (python:[\d.]+)-slim$", (ROOT / "Dockerfile").read_text(), re.M)[1]

    assert container["image"] == image
    assert container["postCreateCommand"].removeprefix("make ") in targets()


def test_the_pages_name_targets_that_exist():
    for page in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        assert set(re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text())) <= set(targets()), (
            page
        )
