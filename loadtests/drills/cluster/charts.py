"""What the drills' report shows: series, a table of all drills, and when writes were acknowledged."""

import statistics
from collections.abc import Sequence

from config.charts import Axis, Bar, BarChart
from loadtests.drills.cluster.expectations import memory_of, processor_time_of, throughput_of
from loadtests.drills.cluster.hammer import longest_gap_s
from loadtests.drills.cluster.instances import CONNECTIONS, GENERATOR, SHARES, Scale
from loadtests.drills.cluster.method import DrillRun, Observations
from loadtests.drills.cluster.nodes import PARTS, SITES
from loadtests.lab.builders import series
from loadtests.lab.experiment import Findings, Series, Table


def present(observations: Observations) -> Findings:
    """Return all findings but the rows."""
    gaps = [
        Bar(name=name, value=gap, label=f"{gap:.1f} s")
        for name, run in observations.runs.items()
        if (gap := _gap(run)) != float("inf")
    ]
    return Findings(
        series=[
            *(one for name, run in observations.runs.items() for one in _series(name, run)),
            *(one for scale in observations.scales for one in _series_of_scale(scale)),
        ],
        charts=[
            BarChart(
                title="Writes stop longest where the others must be sure that a host is gone.",
                axis=Axis(label="s"),
                bars=tuple(gaps),
            )
        ],
        tables=[*_tables_of_runs(observations), *_tables_of_scales(observations.scales)],
        quantities={
            "start_of_the_topology_s": round(observations.start_seconds, 1),
            "memory_of_the_topology_mib": round(observations.memory_mib),
        },
    )


def _gap(run: DrillRun) -> float:
    return longest_gap_s(run.operations, lambda one: one.is_write)


def _series(name: str, run: DrillRun) -> list[Series]:
    return [
        series(
            f"{name}: latency of {what}",
            "treatment",
            "ms",
            [
                (one.ended_s - one.began_s) * 1000
                for one in run.operations
                if one.is_write == is_write
            ],
        )
        for what, is_write in (("reads", False), ("writes", True))
    ]


def _tables_of_runs(observations: Observations) -> list[Table]:
    rows = []
    for name, run in observations.runs.items():
        reads = [one for one in run.during if not one.is_write]
        writes = [one for one in run.during if one.is_write]
        rows.append(
            (
                name,
                str(len(reads)),
                str(sum(not one.ok for one in reads)),
                str(len(writes)),
                str(sum(not one.ok for one in writes)),
                f"{_gap(run):.1f}",
                str(run.stale),
                str(run.lost),
                f"{max((one.ended_s - one.began_s for one in run.during), default=0.0):.2f}",
            )
        )
    table = Table(
        title="The drills",
        columns=(
            "drill",
            "reads",
            "failed",
            "writes",
            "failed",
            "longest time without an acknowledged write, s",
            "stale",
            "lost",
            "slowest, s",
        ),
        rows=tuple(rows),
        note="Counted from the fault on. A write that failed may have been made; a lost one was acknowledged.",
    )
    return [table] if rows else []


def _series_of_scale(scale: Scale) -> list[Series]:
    number = scale.instances
    return [
        series(throughput_of(number), "both", "/s", [one.load.per_second for one in scale.turns]),
        series(
            processor_time_of(number),
            "both",
            "µs",
            scale.processor_us(SITES),
        ),
        series(memory_of(number), "both", "MiB", [scale.memory_mib]),
    ]


def _tables_of_scales(scales: Sequence[Scale]) -> list[Table]:
    parts = [*PARTS, GENERATOR]
    rows = tuple(
        (
            str(scale.instances),
            f"{scale.requests_per_second:.0f}",
            f"{statistics.median(turn.load.p50_ms for turn in scale.turns):.1f}",
            f"{statistics.median(turn.load.p99_ms for turn in scale.turns):.1f}",
            *(f"{statistics.median(scale.processor_us(part)):.0f}" for part in parts),
            f"{1000 * scale.resting[SITES]:.0f}",
            f"{scale.idle:.0%}",
            f"{scale.others:.0%}",
            f"{scale.memory_mib:.0f}",
            str(sum(turn.load.errors for turn in scale.turns)),
            scale.bound,
        )
        for scale in scales
    )
    columns = (
        *("instances", "requests/s", "p50, ms", "p99, ms"),
        *(f"{part}, µs" for part in parts),
        *("instances at rest, ms/s", "idle", "other programs", "memory, MiB", "errors", "bound"),
    )
    note = (
        f"{CONNECTIONS} connections in a closed loop through the balancer; "
        f"{', '.join(f'{share:.0%} {what}' for what, share in SHARES.items())}; medians of the turns. µs: "
        "processor time per request of each part and of the load's generator, beyond what it takes at rest; ms/s: of all instances."
    )
    title = "The same load, by the number of instances"
    return [Table(title=title, columns=columns, rows=rows, note=note)] if rows else []
