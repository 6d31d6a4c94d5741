"""The options of python -m loadtests mix and figures, and what they do with them."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.docs import figures
from loadtests.docs.markers import NoMarks
from loadtests.generators import mixed_workload
from loadtests.testbed.site import running_site


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the two commands to the parser."""
    one = commands.add_parser("mix", help="the site's own meters over a usual mix of requests")
    one.add_argument("--seconds", type=float, default=30.0, help="default 30")
    one.add_argument("--seed", type=int, default=1, help="of the requests (default 1)")
    one.add_argument("--json", type=Path, metavar="FILE", help="write the figures for programs")
    commands.add_parser("figures", help="put what was measured into docs/postmortem.md")


def run_mix(options: argparse.Namespace) -> int:
    """Measure, print, write; return 0, or 1 where requests failed. Raises StackError."""
    command = f"python -m loadtests mix --seconds {options.seconds:g} --seed {options.seed}"
    with running_site(notes=mixed_workload.NOTES) as site:
        found = mixed_workload.mix(site, seconds=options.seconds, seed=options.seed)
    table = Table("figure", "value", title=command, title_justify="left")
    for name, value in found.items():
        table.add_row(name, f"{value:.3g}")
    Console(width=120).print(table)
    if found["failures"]:
        print(f"mix: {found['failures']:.0f} requests failed, so nothing is kept", file=sys.stderr)
        return 1
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(mixed_workload.as_json(found, command=command) + "\n")
    return 0


def run_figures(options: argparse.Namespace) -> int:
    """Fill the page; return 0, or 1 where a file or the page is not as it should be."""
    try:
        figures.write()
    except (figures.Unusable, NoMarks, OSError) as exc:
        print(f"figures: {exc}", file=sys.stderr)
        return 1
    return 0
