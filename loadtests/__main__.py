"""
Measure the site, and experiment with it, from outside, on servers of its own.

list, run, report  the experiments: which expectations of the seed module hold
bench  what requests cost, as ratios within one run; --compare: in this revision and another
load  simulated users for a minute, with thresholds and an HTML report
drill  what requests see while each server is killed or paused and then brought back, and while Redis
       refuses writes, is full, slow or cut off; what that costs
costs  what single parts cost: an invalidation among many keys, an audit under load, the parts of
       a cached read, the places where events could wait for MongoDB
sizes  bytes per note, cached entry and event, and what a write sends to replicas
redis-cluster  what a look and an invalidation would cost in a Redis Cluster, by the layout of keys
mix  hit rate, statements per request and pool utilization, from the site's own counters
figures  write the measured figures into docs/postmortem.md and docs/scale.md
activity-outage  MongoDB down for half a minute, a worker killed: is any event lost or duplicated?
matrix  what every endpoint answers in every state of the stores, as in docs/degradation.md
pictures  take the screenshots in docs/
pages  the pages of notes in headless Chromium: keyboard, phone, dark, attacks, times
chaos  reads and writes over 4 workers under every fault of Redis, of PostgreSQL and of the workers:
       is any read stale?
cluster  replicated stores, several sites and a balancer on this machine: each node fails in turn
synchronous-replication  what a write costs there that waits for PostgreSQL's standby
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from config import output_file
from config.output_file import Unwritable
from config.stack import ROOT
from config.stack.process import StackError, ending_with_its_reader
from loadtests.bench import cli as bench_cli
from loadtests.bench import costs, redis_cluster, sizes
from loadtests.bench.compare import Incomparable
from loadtests.docs import cli as docs_cli
from loadtests.docs import pages, screenshots
from loadtests.drills import event_loss, outage_costs, store_outage
from loadtests.drills.chaos import cli as chaos_cli
from loadtests.drills.cluster import cli as cluster_cli
from loadtests.drills.cluster import synchronous
from loadtests.drills.degradation import matrix, outage_states
from loadtests.drills.degradation import report as degradation_report
from loadtests.experiments import cli as experiments_cli
from loadtests.generators import cli as load_cli
from loadtests.generators.http_load import UnexpectedResponse
from loadtests.markers import MissingMarkers
from loadtests.testbed.site import NOTES, running_site
from loadtests.testbed.workers import running_workers


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0, or 1 if it failed or a promise was not kept."""
    options = _parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except (StackError, UnexpectedResponse, MissingMarkers, Incomparable, Unwritable) as exc:
        print(f"{options.command}: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. The site and its servers are stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    experiments_cli.add_to(commands)
    docs_cli.add_to(commands)
    bench_cli.add_options(commands.add_parser("bench", help="costs as ratios"))
    load_cli.add_options(commands.add_parser("load", help="simulated users, with thresholds"))
    faults = commands.add_parser(
        "drill", help="failures, request by request, and what they cost (about 6 minutes)"
    )
    faults.add_argument(
        "--server", choices=("redis", "postgres", "mongodb"), help="only this server"
    )
    costs.add_options(commands.add_parser("costs", help="of single parts (about 3 minutes)"))
    sizes.add_options(commands.add_parser("sizes", help="bytes of each thing (about 3 minutes)"))
    commands.add_parser("redis-cluster", help="a look there, by the layout of keys (20 seconds)")
    commands.add_parser("activity-outage", help="exit status 1 if an event is lost or duplicated")
    pictures = commands.add_parser("pictures", help="screenshots for docs (4 minutes)")
    pictures.add_argument("--out", type=Path, default=ROOT / "docs", metavar="FOLDER")
    browsed = commands.add_parser("pages", help="exit status 1 where a page is not as promised")
    browsed.add_argument("--out", type=Path, default=ROOT / "docs", metavar="FOLDER")
    every = commands.add_parser(
        "matrix", help="exit status 1 where an answer breaks the contract, or is not as accepted"
    )
    every.add_argument("--write", action="store_true", help="accept: write docs/degradation.md")
    hard = commands.add_parser(
        "chaos", help="exit status 1 where a read was stale, or a fault was not tested"
    )
    chaos_cli.add_options(hard)
    commands.add_parser("synchronous-replication", help="what its wait costs (2 minutes)")
    cluster_cli.add_options(
        commands.add_parser(
            "cluster",
            help="each node of replicated stores fails; then 1, 2 and 4 instances (8 minutes)",
        )
    )
    return parser


def _drill(options: argparse.Namespace) -> int:
    console = Console(width=150)
    all_hold = True
    with running_workers("loadtests", store_outage.WORKERS, notes=NOTES) as site:
        for server, fault in store_outage.faults(options.server):
            run = store_outage.run_fault(site, server, fault)
            console.print(store_outage.timeline(run))
            table = Table("promise", "observed", "holds", title="verdicts", title_justify="left")
            for verdict in store_outage.verdicts(run):
                table.add_row(verdict.promise, verdict.observed, "yes" if verdict.holds else "NO")
                all_hold = all_hold and verdict.holds
            console.print(table)
        if options.server in (None, "redis"):
            costs_of_outages = [
                outage_costs.measure(site, fault) for fault in outage_costs.faults()
            ]
            console.print(outage_costs.as_table(costs_of_outages))
    return 0 if all_hold else 1


def _outage(options: argparse.Namespace) -> int:
    with running_site(notes=100) as site:
        outcome = event_loss.outage(site)
    Console(width=140).print(event_loss.as_table(outcome))
    return 0 if event_loss.holds(outcome) else 1


def _matrix(options: argparse.Namespace) -> int:
    if options.write:
        output_file.refuse_unwritable(degradation_report.DOCUMENT)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("states", total=len(outage_states.STATES))
        outcome = matrix.run(lambda state: progress.advance(task))
    violations = degradation_report.violations(outcome)
    for violation in violations:
        print(violation)
    if options.write and not violations:
        output_file.write(degradation_report.DOCUMENT, degradation_report.as_markdown(outcome))
        return 0
    different = degradation_report.difference(outcome)
    if different:
        print(f"{different}\n\nTo accept it: {degradation_report.COMMAND}")
    return 1 if violations or different else 0


COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "list": experiments_cli.list_experiments,
    "run": experiments_cli.run,
    "report": experiments_cli.report,
    "mix": docs_cli.run_mix,
    "figures": docs_cli.run_figures,
    "bench": bench_cli.run,
    "load": load_cli.run,
    "drill": _drill,
    "chaos": chaos_cli.command,
    "cluster": cluster_cli.command,
    "synchronous-replication": synchronous.run,
    "costs": costs.run,
    "sizes": sizes.run,
    "redis-cluster": redis_cluster.run,
    "activity-outage": _outage,
    "matrix": _matrix,
    "pictures": screenshots.run,
    "pages": pages.run,
}

if __name__ == "__main__":
    with ending_with_its_reader():
        sys.exit(main())
