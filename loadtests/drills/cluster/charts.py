"""What the drills' report shows: series, a table of all drills, and when writes were acknowledged."""

from config.charts import Axis, Bar, BarChart
from loadtests.drills.cluster.hammer import longest_gap_s
from loadtests.drills.cluster.method import DrillRun, Observations
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
        series=[one for name, run in observations.runs.items() for one in _series(name, run)],
        charts=[
            BarChart(
                title="Writes stop longest where the others must be sure that a host is gone.",
                axis=Axis(label="s"),
                bars=tuple(gaps),
            )
        ],
        tables=[_table(observations)],
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


def _table(observations: Observations) -> Table:
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
    return Table(
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
