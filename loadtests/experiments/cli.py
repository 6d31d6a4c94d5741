"""
python -m loadtests list, run and report: the experiments from the command line.

Exit status: 0 where every expectation came out as declared, 99 where one did not, 1 for an error,
2 for a wrong call, 130 for Ctrl-C.
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.status import Status
from rich.text import Text

from config import output_file
from config.stack import ROOT
from config.stack.process import StackError
from loadtests.experiments import EXPERIMENTS
from loadtests.lab import predictions, results, runner
from loadtests.lab.reporting import write_reports
from loadtests.lab.reporting.terminal import experiments_table, rows_table, verdicts_line
from loadtests.lab.results import Result, UnreadableResult
from loadtests.lab.runner import RunRequest, RunSummary

NOT_AS_DECLARED: Final = 99
INTERRUPTED: Final = 130
FOLDER: Final = ROOT / ".lab"
ALL: Final = "all"
_WIDTH: Final = 150


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the three commands to the parser."""
    commands.add_parser("list", help="list the experiments with their questions")
    run_command = commands.add_parser(
        "run", help="run one experiment, or all; exit status 99 if an outcome is not as declared"
    )
    run_command.add_argument(
        "name", type=_known, metavar="NAME", help=f"{', '.join(EXPERIMENTS)}; or all"
    )
    run_command.add_argument("--quick", action="store_true", help="small sizes, as in CI")
    run_command.add_argument(
        "--seed", type=int, default=1, help="seed of all random choices (default 1)"
    )
    run_command.add_argument(
        "--predict", action="store_true", help="ask for your predictions first"
    )
    report_command = commands.add_parser("report", help="write the reports of earlier runs again")
    for command in (run_command, report_command):
        command.add_argument(
            "--out",
            type=Path,
            default=FOLDER,
            metavar="FOLDER",
            help="the folder of results and reports (default .lab)",
        )


def _known(name: str) -> str:
    if name == ALL or name in EXPERIMENTS:
        return name
    near = difflib.get_close_matches(name, [ALL, *EXPERIMENTS], n=3, cutoff=0.4)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    raise argparse.ArgumentTypeError(
        f"there is no experiment {name!r}{meant} (there are {', '.join(EXPERIMENTS)})"
    )


def list_experiments(options: argparse.Namespace) -> int:
    """Print the name, question and lines of each."""
    _console().print(experiments_table(EXPERIMENTS.values()))
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the reports of the results in the folder; return 1 if there are none, or one is damaged."""
    try:
        read_results = results.read(options.out)
    except UnreadableResult as exc:
        print(f"report: {exc}", file=sys.stderr)
        return 1
    if not read_results:
        print(
            f"report: there are no results in {options.out}; create some with: python -m loadtests run all",
            file=sys.stderr,
        )
        return 1
    _write(read_results, options.out)
    return NOT_AS_DECLARED if any(result.failing for result in read_results) else 0


def run(options: argparse.Namespace) -> int:
    """Run the requested experiments, print their rows, write results and reports. Raises Unwritable."""
    chosen = list(EXPERIMENTS.values()) if options.name == ALL else [EXPERIMENTS[options.name]]
    try:
        guesses = predictions.ask(chosen) if options.predict else {}
    except predictions.NoNumber as exc:
        print(f"run: {exc}", file=sys.stderr)
        return 1
    output_file.refuse_unwritable_folder(options.out)
    request = RunRequest(
        experiments=chosen,
        quick=options.quick,
        seed=options.seed,
        folder=options.out,
        predictions=guesses,
    )
    summary = RunSummary()
    status = _run(request, summary)
    if summary.results:
        try:
            _write(results.read(request.folder), request.folder)
        except UnreadableResult as exc:
            print(f"report: {exc}", file=sys.stderr)
            status = status or 1
    return status


def _run(request: RunRequest, summary: RunSummary) -> int:
    console = _console()
    progress = Console(stderr=True)
    with progress.status("") as status:
        try:
            runner.run(
                request,
                _progress_printer(progress, status),
                _result_printer(console, status),
                summary,
            )
        except KeyboardInterrupt:
            finished = (
                ", ".join(result.name for result in summary.results)
                or "nothing, as no experiment had finished"
            )
            print(
                f"Interrupted. Everything is restored and stopped. Kept: {finished}.",
                file=sys.stderr,
            )
            return INTERRUPTED
        except StackError as exc:
            print(f"run: {exc}", file=sys.stderr)
            return 1
    for name, why in summary.failures.items():
        print(f"{name} failed: {why}", file=sys.stderr)
    if summary.failures:
        return 1
    return NOT_AS_DECLARED if any(result.failing for result in summary.results) else 0


def _progress_printer(progress: Console, status: Status) -> Callable[[str], None]:
    """Return a function that shows progress: in place on a terminal, otherwise line by line."""
    if progress.is_terminal:
        return lambda text: status.update(Text(text))
    return lambda text: print(text, file=sys.stderr, flush=True)


def _result_printer(console: Console, status: Status) -> Callable[[Result], None]:
    """Return a function that prints a result, and hides the line of progress meanwhile."""

    def done(result: Result) -> None:
        status.stop()
        console.print(rows_table(result))
        console.print(verdicts_line(result))
        status.start()

    return done


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH)


def _write(read_results: Sequence[Result], folder: Path) -> None:
    for file in write_reports(read_results, folder):
        print(f"{file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}")
