"""python -m loadtests chaos: is any read stale, under every fault."""

import argparse
from typing import Final

from rich.console import Console

from loadtests.arguments import positive
from loadtests.drills.chaos import report
from loadtests.drills.chaos.clients import READ_PAUSE_SECONDS
from loadtests.drills.chaos.run import Injection, Run, run
from loadtests.testbed.faults import FAULTS
from loadtests.testbed.workers import running_workers

WORKERS: Final = 4
LAG_ONE_IN: Final = 4  # loads, that pause between query and storing
_TRACES_SHOWN: Final = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--seconds", type=positive, default=60.0)
    parser.add_argument("--seed", type=int, default=1, help="of the faults (default 1)")
    parser.add_argument(
        "--fault",
        action="append",
        choices=[fault.name for fault in FAULTS],
        help="only this one; may be given several times",
    )
    parser.add_argument(
        "--pace", type=positive, default=1.0, help="factor for the faults' durations (default 1)"
    )
    parser.add_argument(
        "--read-pause-ms",
        type=positive,
        default=READ_PAUSE_SECONDS * 1000,
        help="of each reader after a read, on average (default 12)",
    )
    parser.add_argument("--until-stale", action="store_true", help="end at the first stale read")
    parser.add_argument("--workers", type=int, default=WORKERS, choices=range(2, 9), metavar="N")
    parser.add_argument(
        "--protocol",
        choices=("stamps", "naive"),
        default="stamps",
        help="naive: delete-and-set in the same site, which must be caught",
    )


def command(options: argparse.Namespace) -> int:
    """Run; return 1 where a read was stale or a fault was not tested; the other way round for naive."""
    console = Console(width=180)
    naive = options.protocol == "naive"
    variables = {
        "LOADTESTS_LAG_ONE_IN": str(LAG_ONE_IN),
        "LOADTESTS_PROTOCOL": options.protocol,
        **({"CACHE_FIRST_LEVEL_BYTES": "0"} if naive else {}),
    }
    faults = [fault for fault in FAULTS if options.fault is None or fault.name in options.fault]
    with running_workers("chaos", options.workers, variables=variables) as site:
        outcome = run(
            site,
            seconds=options.seconds,
            seed=options.seed,
            faults=faults,
            pace=options.pace,
            read_pause_seconds=options.read_pause_ms / 1000,
            ends_at_stale=options.until_stale,
            on_injection=lambda injection: console.print(_line(injection), style="dim"),
        )
        audit = "" if naive else site.site.manage("cache", "audit").strip()
    console.print(report.as_table(outcome, options.protocol))
    _print_traces(console, outcome)
    if audit:
        console.print(f"audit afterwards: {audit}")
    found = report.violations(outcome)
    for line in found:
        console.print(f"chaos: {line}")
    if naive:
        return int(not report.stale_reads(outcome))
    return int(bool(found))


def _line(injection: Injection) -> str:
    back = ", ".join(
        "never" if seconds is None else f"{seconds:.2f}" for seconds in injection.hits_back.values()
    )
    failure = f": {injection.failure}" if injection.failure else ""
    variant = f" ({injection.variant})" if injection.variant else ""
    return f"{injection.fault.name}{variant} for {injection.seconds} s, hits back after {back} s{failure}"


def _print_traces(console: Console, outcome: Run) -> None:
    for trace in outcome.outcome.traces[:_TRACES_SHOWN]:
        fault = outcome.injections[min(trace.phase // 2, len(outcome.injections) - 1)].fault.name
        when = "after" if trace.phase % 2 else "during"
        console.print(
            f"stale {when} {fault}: {trace.path} by worker {trace.worker}: {trace.number} instead of "
            f"{trace.floor}, which worker {trace.written_by} had acknowledged {trace.after_ms} ms before; "
            f"{trace.cache}; {trace.took_ms} ms"
        )
