"""The options of python -m loadtests bench, and what it does with them."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from config import output_file
from config.stack import ROOT, Stack
from loadtests.arguments import positive
from loadtests.bench import compare, report, runner
from loadtests.bench.peers import SITE_THREADS
from loadtests.bench.runner import Plan
from loadtests.docs import scale
from loadtests.generators.wrk import require_wrk
from loadtests.testbed.site import NOTES, Site, running_site

_DEFAULTS = {"seconds": 10.0, "rounds": 5, "rate": 50.0, "notes": NOTES}
_QUICK = {"seconds": 0.5, "rounds": 1, "rate": 50.0, "notes": 1_000}
_QUICK_DIVISOR = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of bench."""
    parser.add_argument(
        "--seconds", type=positive, help="for each kind of request in each loop (default 10)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        choices=range(1, 101),
        metavar="1..100",
        help=f"default 5; with --compare {compare.ROUNDS}",
    )
    parser.add_argument(
        "--rate", type=positive, help="requests a second of the open loop (default 50)"
    )
    parser.add_argument("--notes", type=int, help=f"in the database (default {NOTES})")
    parser.add_argument("--seed", type=int, default=1, help="of arrivals and order (default 1)")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures for programs")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--write-docs",
        type=Path,
        metavar="FILE",
        help="write the figures between the file's markers",
    )
    where.add_argument(
        "--compare", metavar="REV", help="this tree beside that revision, in the same run"
    )


def run(options: argparse.Namespace) -> int:
    """
    Measure, print, write; return 0.

    Raises MissingMarkers, Incomparable and Unwritable before anything is measured, UnexpectedResponse,
    and StackError, also where wrk is not installed.
    """
    if options.json:
        output_file.refuse_unwritable(options.json)
    require_wrk()
    defaults = _QUICK if options.quick else _DEFAULTS
    if options.compare and not options.quick:
        defaults = defaults | {"rounds": compare.ROUNDS}
    chosen = {name: getattr(options, name) or value for name, value in defaults.items()}
    plan = Plan(
        chosen["seconds"],
        int(chosen["rounds"]),
        chosen["rate"],
        options.seed,
        _QUICK_DIVISOR if options.quick else 1,
    )
    arguments = " ".join(f"--{name} {value:g}" for name, value in chosen.items())
    quick = " --quick" if options.quick else ""
    command = f"python -m loadtests bench{quick} {arguments} --seed {options.seed}"
    if options.compare:
        return _compare(
            options, plan, int(chosen["notes"]), f"{command} --compare {options.compare}"
        )
    return _measure(options, plan, int(chosen["notes"]), command)


def _scale_page(benchmarks: Path | None) -> Path | None:
    """Return the page that computes with this one's processor times, where it lies beside it."""
    if benchmarks is None or benchmarks.name != scale.BENCHMARKS:
        return None
    page = benchmarks.parent / scale.PAGE
    return page if page.is_file() else None


def _measure(options: argparse.Namespace, plan: Plan, notes: int, command: str) -> int:
    scale_page = _scale_page(options.write_docs)
    if options.write_docs:
        report.MARKERS.check(options.write_docs)
    if scale_page:
        scale.MARKERS.check(scale_page)
    with _fresh_site("bench", notes=notes) as site:
        facts = report.circumstances(site)
        figures = runner.bench(site, plan)
    if options.json:  # files first: the reader of a pipe may be gone
        output_file.write(
            options.json, report.as_json(figures, command=command, rate=plan.rate, facts=facts)
        )
    if options.write_docs:
        report.MARKERS.fill(
            options.write_docs,
            report.as_markdown(figures, command=command, rate=plan.rate, facts=facts),
        )
    if scale_page:
        scale.write(scale_page.parent)
    for table in report.tables(figures, command=command, rate=plan.rate, facts=facts):
        Console(width=180).print(table)
    if options.quick:
        print("--quick: it runs; the figures mean nothing.")
    return 0


def _compare(options: argparse.Namespace, plan: Plan, notes: int, command: str) -> int:
    with (
        compare.exported(options.compare) as old,
        _fresh_site("bench-revision", notes=notes, root=old.folder) as before,
        _fresh_site("bench", notes=notes) as after,
    ):
        facts = report.circumstances(after)
        rows = compare.compare(before, after, plan)
    if options.json:
        output_file.write(options.json, compare.as_json(rows, old, command=command, facts=facts))
    Console(width=180).print(compare.table(rows, old, command=command, facts=facts))
    return 0


@contextmanager
def _fresh_site(name: str, *, notes: int, root: Path = ROOT) -> Iterator[Site]:
    """Yield a site on servers without a past, which are deleted at the end."""
    Stack(name).reset()  # what a killed run left behind
    try:
        with running_site(name, notes=notes, root=root, threads=SITE_THREADS) as site:
            yield site
    finally:
        Stack(name).reset()
