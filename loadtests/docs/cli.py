"""The options of python -m loadtests mix and figures, and what they do with them."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from config import output_file
from loadtests.arguments import positive
from loadtests.docs import figures, scale
from loadtests.generators import cli as load_cli
from loadtests.generators import mixed_workload
from loadtests.markers import MissingMarkers
from loadtests.quantities import as_table
from loadtests.testbed.site import running_site


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the two commands to the parser."""
    mix = commands.add_parser("mix", help="the site's own counters under the users of load")
    mix.add_argument("--seconds", type=positive, default=30.0, help="default 30")
    mix.add_argument("--seed", type=int, default=1, help="of the requests (default 1)")
    mix.add_argument("--json", type=Path, metavar="FILE", help="write the figures for programs")
    commands.add_parser(
        "figures", help="write the measured figures into docs/postmortem.md and docs/scale.md"
    )


def run_mix(options: argparse.Namespace) -> int:
    """Measure, print and write; return 0, or 1 if requests failed. Raises StackError, Unwritable."""
    if options.json:
        output_file.refuse_unwritable_folder(options.json.parent)
        output_file.refuse_unwritable(options.json)
    load_cli.require_locust()
    command = f"python -m loadtests mix --seconds {options.seconds:g} --seed {options.seed}"
    with running_site(notes=mixed_workload.NOTES) as site:
        quantities = mixed_workload.mix(site, seconds=options.seconds, seed=options.seed)
    Console(width=120).print(as_table(quantities, title=command, digits=3))
    if quantities["failures"]:
        print(
            f"mix: {quantities['failures']:.0f} requests failed; no file is written",
            file=sys.stderr,
        )
        return 1
    if options.json:
        output_file.write(options.json, mixed_workload.as_json(quantities, command=command) + "\n")
    return 0


def run_figures(options: argparse.Namespace) -> int:
    """Fill in both pages; return 0, or 1 where a file of figures or a page is invalid."""
    try:
        figures.write()
        scale.write()
    except (figures.InvalidMeasurements, LookupError, MissingMarkers, OSError) as exc:
        print(f"figures: {exc}", file=sys.stderr)
        return 1
    return 0
