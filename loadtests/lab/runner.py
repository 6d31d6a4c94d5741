"""Run experiments one after the other on the lab's servers, and write the result of each."""

import fcntl
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

import psycopg
import pymongo.errors
import redis

from config.stack import ROOT
from config.stack.process import StackError
from loadtests.generators.http_load import UnexpectedResponse
from loadtests.lab import results
from loadtests.lab.experiment import Experiment, Outcome
from loadtests.lab.lab import STACK, Lab
from loadtests.lab.predictions import Predictions, compared
from loadtests.lab.results import Incomplete, Result
from loadtests.testbed import drift
from loadtests.testbed.environment import Environment, describe_environment
from loadtests.testbed.servers import Servers, running_servers

FAILURES: Final = (
    StackError,
    UnexpectedResponse,
    Incomplete,
    psycopg.Error,
    pymongo.errors.PyMongoError,
    redis.RedisError,
    OSError,
)


class NotRestored(Incomplete):
    """An experiment did not restore the servers."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """Which experiments to run, and how."""

    experiments: Sequence[Experiment]
    quick: bool
    seed: int
    folder: Path
    predictions: Predictions = field(default_factory=dict)

    def command(self, experiment: Experiment) -> str:
        """Return the command that repeats one of them."""
        quick = " --quick" if self.quick else ""
        return f"python -m loadtests run {experiment.name}{quick} --seed {self.seed}"


@dataclass(kw_only=True)
class RunSummary:
    """The results of a run; failures: the reason by name of the experiment."""

    results: list[Result] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def run(
    request: RunRequest,
    progress: Callable[[str], None],
    done: Callable[[Result], None],
    summary: RunSummary,
) -> None:
    """
    Run the requested experiments; each result is written, and passed to done, at once.

    A quick run has too few samples for a busy machine: where rows that it is held to are not as
    declared, none of them a violated invariant, it is repeated once. A failure is recorded in summary,
    and the next experiment runs. Raises StackError if the servers do not start, and KeyboardInterrupt after Ctrl-C or SIGTERM,
    once everything is restored.
    """
    with _interrupted_once(progress), _locked():
        progress("starting the servers")
        with running_servers(STACK) as servers:
            _ensure_migrated(servers, progress)
            environment = describe_environment(servers.versions())
            for experiment in request.experiments:
                run_once = partial(
                    _run_experiment, experiment, request, servers, environment, progress
                )
                try:
                    result = run_once()
                    if request.quick and _may_be_noise(result):
                        rows = ", ".join(row.expectation.key for row in result.failing)
                        progress(
                            f"{experiment.name}: once more, not as declared in so short a run: {rows}"
                        )
                        result = run_once()
                    results.write(result, request.folder)
                except FAILURES as exc:
                    summary.failures[experiment.name] = f"{type(exc).__name__}: {exc}".strip()
                    progress(f"{experiment.name} failed: {summary.failures[experiment.name]}")
                else:
                    summary.results.append(result)
                    done(result)


def _run_experiment(
    experiment: Experiment,
    request: RunRequest,
    servers: Servers,
    environment: Environment,
    progress: Callable[[str], None],
) -> Result:
    lab = Lab(
        quick=request.quick,
        seed=request.seed,
        progress=lambda text: progress(f"{experiment.name}: {text}"),
        servers=servers,
    )
    started_at = results.now()
    before = drift.snapshot(servers)
    try:
        findings = experiment.run(lab)
    finally:
        servers.stack.up()
    changes = drift.differences(before, drift.snapshot(servers))
    if changes:
        raise NotRestored(f"{'; '.join(changes)}; the next run begins with new servers")
    results.check(experiment, findings, lab.steady)
    return results.result_of(
        experiment,
        findings,
        quick=request.quick,
        seed=request.seed,
        command=request.command(experiment),
        started_at=started_at,
        ended_at=results.now(),
        environment=environment,
        steady=lab.steady,
        guess_results=compared(experiment, request.predictions, findings.quantities),
    )


def _may_be_noise(result: Result) -> bool:
    """Return whether rows fail the run, but no invariant was violated."""
    return bool(result.failing) and not any(
        row.expectation.invariant and row.outcome is Outcome.REFUTED for row in result.failing
    )


def _ensure_migrated(servers: Servers, progress: Callable[[str], None]) -> None:
    """Check that indexes, triggers and settings are as migrated; otherwise create new servers."""
    servers.claim()
    file = servers.stack.folder / "as-migrated.json"
    saved = drift.load(file)
    now = drift.snapshot(servers)
    is_fresh = not any(name.startswith("column ") for name in now)
    if not is_fresh and saved != now:
        left = drift.differences(saved, now) if saved else ["no record of that run exists"]
        changes = "; ".join(left[:5]) + ("; ..." if len(left) > 5 else "")
        progress(
            f"an earlier run was killed and left changes behind ({changes}); creating new servers"
        )
        servers.anew()
        servers.claim()
    else:
        progress("indexes, triggers and settings are unchanged")
    servers.migrate()
    drift.save(drift.snapshot(servers), file)


@contextmanager
def _locked() -> Iterator[None]:
    """Refuse a second run in this checkout, which would disturb the servers of the first."""
    folder = ROOT / ".stack"
    folder.mkdir(mode=0o711, exist_ok=True)
    with (folder / f"{STACK}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError("another run uses the lab's servers: wait for it") from None
        yield


@contextmanager
def _interrupted_once(progress: Callable[[str], None]) -> Iterator[None]:
    """Raise KeyboardInterrupt at the first SIGINT or SIGTERM; ignore further ones during the restore."""
    is_ending = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_ending
        if is_ending:
            progress("restoring everything; this takes a moment")
            return
        is_ending = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
