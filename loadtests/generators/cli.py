"""python -m loadtests load: the users of locustfile.py against a site started for them."""

import argparse
import importlib.util
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from config import output_file
from config.stack import ROOT
from config.stack.process import StackError
from loadtests.arguments import positive
from loadtests.testbed.site import Site, running_site

REPORT: Final = ROOT / ".lab" / "load.html"
KINDS: Final = ("Reader", "Writer", "Mixed", "Profiles", "Activity")
_NOTES: Final = 5_000
_SHUTDOWN_SECONDS: Final = 30.0  # that locust may take beyond its time


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of load."""
    parser.add_argument("--seconds", type=positive, default=60.0)
    parser.add_argument("--users", type=int, choices=range(1, 1001), default=20, metavar="1..1000")
    parser.add_argument(
        "--kind", action="append", choices=[kind.lower() for kind in KINDS], help="default: all"
    )
    parser.add_argument("--fail-ratio", type=_share, default=0.01, help="at most (default 0.01)")
    parser.add_argument("--p95-ms", type=float, default=500.0, help="at most (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="of what users choose (default 1)")
    parser.add_argument("--html", type=Path, default=REPORT, metavar="FILE", help="the report")


def run(options: argparse.Namespace) -> int:
    """
    Start a site, run the users against it, write the report; return 1 if a threshold was exceeded.

    Raises StackError where locust is not installed, or does not end, and Unwritable.
    """
    output_file.refuse_unwritable_folder(options.html.parent)
    output_file.refuse_unwritable(options.html)
    require_locust()
    with running_site("load", notes=_NOTES) as site:
        return run_users(site, options)


def require_locust() -> None:
    """Raise StackError where locust is not installed."""
    if importlib.util.find_spec("locust") is None:
        raise StackError("locust is not installed: pip install -r requirements-load.txt")


def run_users(site: Site, options: argparse.Namespace, *arguments: str) -> int:
    """
    Run locust in a process of its own, since it replaces Python's sockets; return its exit status.

    arguments are further ones of locust's. Raises StackError where it fails or does not end.
    """
    with tempfile.TemporaryFile("w+") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [*_command(site, options), *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            status = _wait(process, options.seconds)
        finally:
            _end(process)
        output.seek(0)
        print(output.read().strip())
    if status not in (0, 1) or time.monotonic() - began < options.seconds / 2:
        raise StackError(f"locust ended with exit status {status}")
    print(f"report: {options.html}")
    return status


def _command(site: Site, options: argparse.Namespace) -> list[str]:
    kinds = options.kind or [kind.lower() for kind in KINDS]
    return [
        *(sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py")),
        *("--headless", "--only-summary", "--loglevel", "WARNING"),
        *("--host", site.url, "--html", str(options.html.resolve())),
        *("--users", str(options.users), "--spawn-rate", str(options.users)),
        *("--run-time", f"{max(1, round(options.seconds))}s", "--stop-timeout", "5"),
        *("--fail-ratio", str(options.fail_ratio), "--p95-ms", str(options.p95_ms)),
        *("--seed", str(options.seed), *(kind.capitalize() for kind in kinds)),
    ]


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Wait for locust to end, with a progress bar on a terminal. Raises StackError if it does not."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("load"), BarColumn(), TimeRemainingColumn())
    deadline = time.monotonic() + seconds + _SHUTDOWN_SECONDS
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        bar = progress.add_task("load", total=seconds)
        while time.monotonic() < deadline:
            try:
                return process.wait(0.5)
            except subprocess.TimeoutExpired:
                progress.advance(bar, 0.5)
    raise StackError(f"locust did not end within {seconds + _SHUTDOWN_SECONDS:g} s; it was killed")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End locust if it still runs, as after Ctrl-C."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("from 0 to 1")
    return share
