"""python -m loadtests bench --compare REV: two revisions side by side, in the same run."""

import json
import random
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from config.stack import ROOT
from loadtests.bench import scenarios
from loadtests.bench.report import circumstances_line, ratio_text
from loadtests.bench.runner import Plan, Turn, measure, settle, with_progress
from loadtests.stats import Ratio, ratio_of_medians
from loadtests.testbed.processor import APPLICATION, Processor
from loadtests.testbed.site import Site

ROUNDS: Final = 12
# With fewer, all rounds on the same side are too likely by chance: 2 of 2**n for each ratio.
_TELLING_ROUNDS: Final = 10
_FALSE_ALARM: Final = 0.05  # for the whole table, not for each of its ratios
_NEEDED: Final = ("requirements.txt", "manage.py")
NO_DIFFERENCE: Final = "no difference larger than the noise"


class Incomparable(Exception):
    """A revision cannot be measured beside this tree; says why."""


@dataclass(frozen=True)
class Revision:
    """The files of a revision, in a folder of their own."""

    name: str
    commit: str
    folder: Path


@dataclass(frozen=True)
class Row:
    """One hot path at both; the ratios are this tree's to the revision's."""

    arm: str
    p50_ms: tuple[float, float]  # revision, this tree; medians of the rounds
    p50_ratio: Ratio
    requests_per_second: tuple[float, float]
    requests_per_second_ratio: Ratio
    application_us: tuple[float, float]  # processor time per request in the closed loop
    application_us_ratio: Ratio
    errors: tuple[int, int]
    verdict: str
    rounds_p50_ms: tuple[list[float], list[float]]
    rounds_requests_per_second: tuple[list[float], list[float]]


@contextmanager
def exported(name: str, *, repository: Path = ROOT, own: Path = ROOT) -> Iterator[Revision]:
    """
    Yield the revision's files in a temporary folder, which is deleted in any case.

    git archive, and no git worktree: the repository learns nothing of it, so nothing is left in
    it even by SIGKILL. Raises Incomparable where the revision has not what the bench needs, or
    where its requirements are not those of this tree (own), whose packages both run on.
    """
    commit = _git(repository, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")
    with tempfile.TemporaryDirectory(prefix="trilith-bench-") as temporary:
        archive = Path(temporary) / "revision.tar"
        folder = Path(temporary) / "revision"
        folder.mkdir()
        _git(repository, "archive", "--format=tar", f"--output={archive}", commit)
        subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)  # noqa: S607
        _check_comparable(name, folder, own)
        yield Revision(name, commit[:12], folder)


def compare(before: Site, after: Site, plan: Plan) -> list[Row]:
    """
    Measure every hot path at both sites in every round, in an order drawn each time.

    Raises UnexpectedResponse where an arm is not what its name says at either site.
    """
    pairs = list(zip(scenarios.arms(before), scenarios.arms(after), strict=True))
    settle(before, [arm for arm, _ in pairs])
    settle(after, [arm for _, arm in pairs])
    turns: dict[str, tuple[list[Turn], list[Turn]]] = {arm.name: ([], []) for arm, _ in pairs}
    processors = Processor(before), Processor(after)
    rng = random.Random(plan.seed)  # noqa: S311  # an order is no secret
    steps = [
        (number, pair) for number in range(plan.rounds) for pair in rng.sample(pairs, len(pairs))
    ]
    for number, pair in with_progress(steps):
        for side in rng.sample((0, 1), 2):
            site = (before, after)[side]
            turn = measure(site, processors[side], pair[side], plan, number)
            turns[pair[side].name][side].append(turn)
    confidence = 1 - _FALSE_ALARM / (3 * len(pairs))
    return [_row(name, *both, confidence=confidence) for name, both in turns.items()]


def table(rows: list[Row], old: Revision, *, command: str, facts: dict[str, str]) -> Table:
    """Return the comparison as a table for a terminal."""
    report = Table(title=command, title_justify="left", caption=circumstances_line(facts))
    report.add_column("request")
    for what in ("p50 ms", "requests/s", "application µs"):
        report.add_column(f"{what}: {old.commit}, this tree", justify="right")
        report.add_column("ratio", justify="right")
    report.add_column("errors", justify="right")
    report.add_column("verdict on this tree", no_wrap=True)
    for row in rows:
        report.add_row(
            row.arm,
            ", ".join(f"{value:.2f}" for value in row.p50_ms),
            ratio_text(row.p50_ratio).replace("[", r"\["),
            ", ".join(f"{value:.0f}" for value in row.requests_per_second),
            ratio_text(row.requests_per_second_ratio).replace("[", r"\["),
            ", ".join(f"{value:.1f}" for value in row.application_us),
            ratio_text(row.application_us_ratio).replace("[", r"\["),
            ", ".join(map(str, row.errors)),
            row.verdict,
        )
    return report


def as_json(rows: list[Row], old: Revision, *, command: str, facts: dict[str, str]) -> str:
    """Return the same for programs."""
    return json.dumps(
        {
            "command": command,
            "circumstances": facts,
            "revision": old.commit,
            "rows": [asdict(row) for row in rows],
        },
        indent=1,
    )


def verdict(p50: Ratio, requests_per_second: Ratio, application_us: Ratio, *, rounds: int) -> str:
    """Say what the intervals allow to be said: nothing, unless one excludes 1."""
    if rounds < _TELLING_ROUNDS:
        return f"too few rounds to tell: {_TELLING_ROUNDS} are needed"
    named = (
        (p50, "p50 {} higher", "p50 {} lower"),
        (requests_per_second, "{} more requests/s", "{} fewer requests/s"),
        (application_us, "{} more processor time", "{} less processor time"),
    )
    said = [
        (more if ratio.value > 1 else less).format(f"{abs(ratio.value - 1):.0%}")
        for ratio, more, less in named
        if not ratio.low <= 1 <= ratio.high
    ]
    return ", ".join(said) or NO_DIFFERENCE


def _row(name: str, before: list[Turn], after: list[Turn], *, confidence: float) -> Row:
    old_ms, new_ms = ([turn.p50_ms for turn in turns] for turns in (before, after))
    old_rate, new_rate = ([turn.load.per_second for turn in turns] for turns in (before, after))
    old_us, new_us = (
        [turn.processor_us[APPLICATION] for turn in turns] for turns in (before, after)
    )
    p50 = ratio_of_medians(new_ms, old_ms, confidence=confidence)
    rate = ratio_of_medians(new_rate, old_rate, confidence=confidence)
    application_us = ratio_of_medians(new_us, old_us, confidence=confidence)
    return Row(
        name,
        (statistics.median(old_ms), statistics.median(new_ms)),
        p50,
        (statistics.median(old_rate), statistics.median(new_rate)),
        rate,
        (statistics.median(old_us), statistics.median(new_us)),
        application_us,
        (sum(turn.errors for turn in before), sum(turn.errors for turn in after)),
        verdict(p50, rate, application_us, rounds=len(before)),
        (old_ms, new_ms),
        (old_rate, new_rate),
    )


def _check_comparable(name: str, folder: Path, own: Path) -> None:
    for needed in _NEEDED:
        if not (folder / needed).is_file():
            raise Incomparable(f"{name} has no {needed}, so it cannot be measured")
    pins, own_pins = (_pins(root / "requirements.txt") for root in (folder, own))
    if pins != own_pins:
        others = ", ".join(sorted(pins - own_pins) or ["nothing"])
        instead = ", ".join(sorted(own_pins - pins) or ["nothing"])
        raise Incomparable(
            f"{name} requires other packages ({others} there, {instead} here), "
            "and both run on this tree's: check it out, and measure it by itself"
        )


def _pins(requirements: Path) -> set[str]:
    lines = (line.split("#")[0].strip() for line in requirements.read_text().splitlines())
    return {" ".join(line.split()) for line in lines if line}


def _git(repository: Path, *command: str) -> str:
    """Run git; return what it printed. Raises Incomparable with its last line."""
    try:
        done = subprocess.run(
            ["git", *command],  # noqa: S607
            cwd=repository,
            check=False,
            capture_output=True,
            text=True,
        )
    except OSError as exc:
        raise Incomparable(f"git does not run: {exc.strerror}") from exc
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no such revision"])[-1]
        raise Incomparable(f"git {' '.join(command)}: {reason}")
    return done.stdout.strip()
