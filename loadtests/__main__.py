"""
Measurements of the site, seen from outside, on servers of their own.

bench  what a cached read, an uncached one and a page cost, as ratios in one run
drill  what requests see while each server is killed, paused and brought back
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from config.stack.process import StackError
from loadtests import bench, drill
from loadtests.site import running_site


def main(arguments: list[str] | None = None) -> int:
    """Run one measurement; return 0, or 1 where it failed or a promise was not kept."""
    options = _parser().parse_args(arguments)
    try:
        return _bench(options) if options.command == "bench" else _drill()
    except (StackError, bench.Unexpected) as exc:
        print(f"{options.command}: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; site and servers are stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("bench", help="costs as ratios")
    one.add_argument("--seconds", type=_positive, default=10.0, help="for each kind of request")
    one.add_argument("--rounds", type=int, choices=range(1, 101), default=5, metavar="1..100")
    one.add_argument("--json", type=Path, metavar="FILE", help="write the figures for programs")
    commands.add_parser("drill", help="failures, request by request (about 2 minutes)")
    return parser


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 600:
        raise argparse.ArgumentTypeError("from 0 to 600 seconds")
    return seconds


def _bench(options: argparse.Namespace) -> int:
    command = f"python -m loadtests bench --seconds {options.seconds:g} --rounds {options.rounds}"
    with running_site() as site:
        figures = bench.bench(site, seconds=options.seconds, rounds=options.rounds)
    Console(width=120).print(bench.report(figures, command=command))
    if options.json:
        options.json.write_text(bench.as_json(figures, command=command))
    return 0


def _drill() -> int:
    console = Console(width=150)
    kept = True
    with running_site() as site:
        for server, fault in drill.FAULTS:
            run = drill.run_fault(site, server, fault)
            console.print(drill.timeline(run))
            table = Table("promise", "seen", "kept", title="verdicts", title_justify="left")
            for verdict in drill.verdicts(run):
                table.add_row(verdict.promise, verdict.seen, "yes" if verdict.kept else "NO")
                kept = kept and verdict.kept
            console.print(table)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
