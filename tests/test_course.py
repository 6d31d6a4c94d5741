"""The lessons of docs/course: every command is run, and what it prints compared; ... stands for anything."""

import doctest
import re
import subprocess
from collections.abc import Iterator

import pytest
from django.core.management import get_commands

from config.stack import ROOT
from loadtests.experiments import EXPERIMENTS
from loadtests.testbed.site import Site, running_site

COURSE = ROOT / "docs/course"
LESSONS = sorted(COURSE.glob("[0-9]*.md"))
END = "\x1e\n"


def commands(page: str) -> list[tuple[str, str]]:
    """Return each command of the blocks of a page with what it prints."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *rest = part.splitlines(keepends=True)
            while rest and rest[0].startswith("> "):
                command += rest.pop(0)[2:]
            found.append((command, "".join(rest)))
    return found


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site("course", notes=2_000) as site:
        site.manage("seed", "--size=small")
        yield site
    site.stack.reset()


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_each_command_prints_what_the_lesson_says(lesson, site):
    steps = commands(lesson.read_text())
    script = ". docs/course/lesson.sh\n"
    script += "".join(f"printf '%s' '{END}'\n{command}" for command, _ in steps)
    environment = {
        **site.environment,
        "COURSE_URL": site.url,
        "COURSE_STACK": site.stack.name,
        "COURSE_MANAGE": ".venv/bin/python manage.py",
    }
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=ROOT,
        env=environment,
        text=True,
        check=False,
        stdout=-1,
        stderr=-2,
    )
    first, *outputs = done.stdout.split(END)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

    assert not first
    for (command, printed), output in zip(steps, outputs, strict=True):
        if not doctest.OutputChecker().check_output(printed, output, options):
            pytest.fail(f"$ {command}prints\n{output}and not\n{printed}")


SECTIONS = {
    "To explain": 23,
    "To do unaided": 22,
    "To diagnose": 19,
}  # questions in the module's section 8


def test_each_question_has_a_command_of_a_lesson():
    page = (COURSE / "questions.md").read_text()
    lessons = {path.name[0]: "".join(c for c, _ in commands(path.read_text())) for path in LESSONS}
    rows = re.findall(r"^\| ([^|]+) \| (\d) \| `(.+)` \|$", page, re.MULTILINE)

    for question, lesson, command in rows:
        assert command.replace("\\|", "|") in lessons[lesson], question
    assert len({question for question, _, _ in rows}) == len(rows)
    assert {
        part.splitlines()[0]: len(re.findall(r"^\| .+ \| \d \|", part, re.MULTILINE))
        for part in page.split("\n## ")[1:]
    } == SECTIONS


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_each_lesson_has_its_parts_and_is_short(lesson):
    page = lesson.read_text()
    parts = ("**Read** ", "**Predict.** ", "**Run**\n", "**Explain.** ", "**Reflect**\n")
    places = [page.find(part) for part in parts]

    assert places == sorted(places)
    assert places[0] > 0
    assert len(page.splitlines()) <= 60
    assert f"]({lesson.name})" in (COURSE / "index.md").read_text()


def test_what_is_named_beside_the_commands_exists():
    pages = "".join(path.read_text() for path in COURSE.glob("*.md"))
    targets = re.search(r"\.PHONY: (.+)", (ROOT / "Makefile").read_text()).group(1).split()

    assert set(re.findall(r"`make ([a-z-]+)", pages)) <= set(targets)
    assert set(re.findall(r"`manage\.py (\w+)", pages)) <= set(get_commands())
    assert set(re.findall(r"loadtests run (\w+)", pages)) <= set(EXPERIMENTS)
