"""The files at the top that tools read."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from config.stack import ROOT


def targets() -> list[str]:
    return re.search(r"\.PHONY: (.+)", (ROOT / "Makefile").read_text()).group(1).split()


def recipe(*words: str, root: Path = ROOT) -> str:
    """Return what make would run."""
    done = subprocess.run(
        ["make", "-n", *words], cwd=root, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("target", "option"),
    [(("restore", "DIR=x", "FORCE"), "--force"), (("experiments", "QUICK"), "--quick")],
)
def test_an_option_of_make_is_off_but_for_1(target, option):
    *before, variable = target

    assert option in recipe(*before, f"{variable}=1")
    assert option not in recipe(*before, f"{variable}=0")
    assert option not in recipe(*before)


class TestClean:
    def test_stops_every_stack_before_it_deletes_them(self):
        steps = recipe("clean").splitlines()

        [stop] = [number for number, step in enumerate(steps) if "config.stack reset --all" in step]
        [delete] = [number for number, step in enumerate(steps) if step.startswith("rm -rf .stack")]
        assert stop < delete

    @pytest.mark.parametrize("target", ["clean", "down", "cluster-down"])
    def test_does_without_the_environment(self, tmp_path, target):
        shutil.copy(ROOT / "Makefile", tmp_path)

        done = subprocess.run(
            ["make", target], cwd=tmp_path, capture_output=True, text=True, check=False
        )

        assert (done.returncode, done.stderr) == (0, "")


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
