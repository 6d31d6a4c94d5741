"""python -m loadtests cluster: every drill of the replicated stores, in one report."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from config import output_file
from config.stack import ROOT
from config.stack.cluster import SITES_MAX, Cluster
from loadtests.drills.cluster import EXPERIMENT
from loadtests.drills.cluster.method import DRILLS, INSTANCES, ClusterLab, Observations, observe
from loadtests.lab import experiment, results
from loadtests.lab.reporting import write_reports
from loadtests.lab.reporting.terminal import rows_table, verdicts_line
from loadtests.testbed.environment import describe_environment

NOT_AS_DECLARED: Final = 99
FOLDER: Final = ROOT / ".lab" / "cluster"
_WIDTH: Final = 150
ALL: Final = [*DRILLS, INSTANCES]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--sites", type=int, choices=range(2, SITES_MAX + 1), default=2, metavar="N",
        help=f"instances of the site, 2 to {SITES_MAX} (default 2)",
    )  # fmt: skip
    parser.add_argument(
        "--drill",
        action="append",
        choices=ALL,
        help="only this one, without a report; may be given several times",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=FOLDER,
        metavar="FOLDER",
        help="of result and report (default .lab/cluster)",
    )


def _write_logs(observations: Observations, folder: Path) -> None:
    """Write every request of each drill into FOLDER/DRILL.jsonl, a line each: what stale and lost were counted from."""
    for name, run in observations.runs.items():
        lines = [json.dumps(dataclasses.asdict(operation)) for operation in run.operations]
        output_file.write(folder / f"{name}.jsonl", "\n".join(lines) + "\n")


def _shown(table: experiment.Table) -> Table:
    shown = Table(*table.columns, title=table.title, caption=table.note, title_justify="left")
    for row in table.rows:
        shown.add_row(*row)
    return shown


def command(options: argparse.Namespace) -> int:
    """Run; return 99 where an expectation did not come out as declared. Raises StackError, Unwritable."""
    output_file.refuse_unwritable_folder(options.out)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    started_at = results.now()
    cluster = Cluster("drills", sites=options.sites)
    drills = options.drill or ALL
    try:
        lab = ClusterLab(cluster, drills, lambda text: print(text, file=sys.stderr, flush=True))
        observations = observe(lab)
        environment = describe_environment({node.server: node.version or "" for node in cluster.status() if node.server.endswith("-1")})  # fmt: skip
    finally:
        cluster.down()
    _write_logs(observations, options.out)
    findings = EXPERIMENT.findings(observations)
    result = results.result_of(
        EXPERIMENT,
        findings,
        quick=False,
        seed=0,
        command=f"python -m loadtests cluster --sites {options.sites}",
        started_at=started_at,
        ended_at=results.now(),
        environment=environment,
    )
    for table in result.tables:
        console.print(_shown(table))
    console.print(rows_table(result))
    console.print(verdicts_line(result))
    if drills == ALL:
        results.check(EXPERIMENT, findings, [])
        results.write(result, options.out)
        for file in write_reports([result], options.out):
            print(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)
    return NOT_AS_DECLARED if result.unexpected else 0
