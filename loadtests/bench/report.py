"""The figures of a bench as tables, as Markdown and as JSON."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from rich.table import Table

from loadtests.bench import goals
from loadtests.bench.peers import SITE, SITE_THREADS
from loadtests.bench.runner import CONNECTIONS, LATER, Figures
from loadtests.markers import Markers
from loadtests.stats import Ratio
from loadtests.testbed.environment import describe_environment
from loadtests.testbed.processor import APPLICATION, MONGODB, POSTGRES, REDIS
from loadtests.testbed.site import WORKERS, Site

MARKERS: Final = Markers(
    "<!-- written by python -m loadtests bench --write-docs: begin -->",
    "<!-- written by python -m loadtests bench --write-docs: end -->",
)
_SATURATIONS: Final = (
    ("request", "left"),
    ("server", "left"),
    ("requests/s", "right"),
    (f"{SITE}, times [95 %]", "right"),
    ("p50 ms", "right"),
    ("p99 ms", "right"),
    ("application µs", "right"),
    ("PostgreSQL µs", "right"),
    ("Redis µs", "right"),
    ("MongoDB µs", "right"),
    ("later µs", "right"),
    ("errors", "right"),
)
_GOALS: Final = (
    ("request", "left"),
    ("goal", "left"),
    ("measured", "left"),
    ("reached", "left"),
)
_PATHS: Final = (
    ("request", "left"),
    ("n", "right"),
    ("p50 ms", "right"),
    ("p95 ms", "right"),
    ("p99 ms", "right"),
    ("p50, ratio [95 %]", "right"),
    ("requests/s", "right"),
    ("requests/s, ratio [95 %]", "right"),
    ("baseline", "left"),
    ("open loop, of requests/s", "right"),
    ("errors", "right"),
)
_COUNTS: Final = (
    ("run", "left"),
    ("request", "left"),
    ("ms in all", "right"),
    ("requests/s", "right"),
    ("time, ratio [95 %]", "right"),
    ("baseline", "left"),
    ("errors", "right"),
)
_CLOSED_LOOP: Final = f"Closed loop by wrk over {CONNECTIONS} connections; processor time per request, and after the load"
_FIXED_COUNTS: Final = (
    "Fixed counts, -n requests -c concurrency, each request over a connection of its own"
)


def tables(figures: Figures, *, command: str, rate: float, facts: dict[str, str]) -> list[Table]:
    """Return the figures as tables for a terminal."""
    return [
        _table(f"{command}\n{_CLOSED_LOOP}", _SATURATIONS, _saturation_rows(figures)),
        _table("goals", _GOALS, _goal_rows(figures)),
        _table(_open_loop(rate), _PATHS, _path_rows(figures, rate)),
        _table(_FIXED_COUNTS, _COUNTS, _count_rows(figures), circumstances_line(facts)),
    ]


def as_json(figures: Figures, *, command: str, rate: float, facts: dict[str, str]) -> str:
    """Return the same for programs, each round's medians included."""
    loops = {"open_loop_requests_per_second": rate, "closed_loop_connections": CONNECTIONS}
    return json.dumps(
        {"command": command, "circumstances": facts} | loops | asdict(figures), indent=1
    )


def as_markdown(figures: Figures, *, command: str, rate: float, facts: dict[str, str]) -> str:
    """Return the same for the docs."""
    return "\n".join(
        [
            f"`{command}`: {circumstances_line(facts)}.",
            "",
            f"{_CLOSED_LOOP}.",
            "",
            *_markdown(_SATURATIONS, _saturation_rows(figures)),
            "",
            "Goals, beside the figures of the same run:",
            "",
            *_markdown(_GOALS, _goal_rows(figures)),
            "",
            f"{_open_loop(rate)}.",
            "",
            *_markdown(_PATHS, _path_rows(figures, rate)),
            "",
            f"{_FIXED_COUNTS}:",
            "",
            *_markdown(_COUNTS, _count_rows(figures)),
        ]
    )


def circumstances(site: Site) -> dict[str, str]:
    """Return what a figure depends on: date, revision, machine, versions."""
    servers = {server.server: server.version or "not known" for server in site.stack.status()}
    environment = describe_environment(servers)
    versions = (
        f"{name} {version.partition(' (')[0]}" for name, version in environment.versions.items()
    )
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "revision": f"{environment.revision or 'not known'}{', modified' if environment.modified else ''}",
        "machine": f"{environment.processor}, {environment.cores} cores, {environment.memory_gib:g} GiB",
        "system": environment.system,
        "versions": ", ".join(versions),
        "site": f"{WORKERS} processes of {SITE_THREADS} threads, beside its clients",
    }


def circumstances_line(facts: dict[str, str]) -> str:
    """Return the circumstances in a line."""
    return "; ".join(f"{name} {value}" for name, value in facts.items())


def ratio_text(ratio: Ratio) -> str:
    """Return a ratio with its interval."""
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _open_loop(rate: float) -> str:
    return (
        f"{SITE} alone. Latency: open loop, Poisson arrivals at {rate:g} a second; "
        "requests/s: the closed loop"
    )


def _saturation_rows(figures: Figures) -> list[list[str]]:
    return [
        [
            row.arm,
            row.server,
            f"{row.requests_per_second:.0f}",
            "" if row.server == SITE else ratio_text(row.ratio),
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            *(
                f"{row.processor_us[name]:.1f}"
                for name in (APPLICATION, POSTGRES, REDIS, MONGODB, LATER)
            ),
            str(row.errors),
        ]
        for row in figures.saturations
    ]


def _goal_rows(figures: Figures) -> list[list[str]]:
    return [
        [outcome.arm, outcome.goal, outcome.measured, "yes" if outcome.holds else "no"]
        for outcome in goals.outcomes(figures)
    ]


def _path_rows(figures: Figures, rate: float) -> list[list[str]]:
    return [
        [
            path.arm,
            str(path.requests),
            f"{path.p50_ms:.2f}",
            f"{path.p95_ms:.2f}",
            f"{path.p99_ms:.2f}",
            ratio_text(path.p50_ratio),
            f"{path.requests_per_second:.0f}",
            ratio_text(path.requests_per_second_ratio),
            path.baseline,
            _load(rate / path.requests_per_second),
            str(path.errors),
        ]
        for path in figures.paths
    ]


def _load(share: float) -> str:
    """Return the open loop's rate as a share of the throughput, and whether it is too much."""
    return f"{share:.0%}" + (" (too high: lower --rate)" if share > 0.5 else "")


def _count_rows(figures: Figures) -> list[list[str]]:
    return [
        [
            f"-n {run.requests} -c {run.concurrency}",
            run.run,
            f"{run.milliseconds:.0f}",
            f"{run.requests_per_second:.0f}",
            ratio_text(run.time_ratio),
            run.baseline,
            str(run.errors),
        ]
        for run in figures.counts
    ]


def _table(
    title: str, columns: tuple[tuple[str, str], ...], rows: list[list[str]], caption: str = ""
) -> Table:
    table = Table(title=title, title_justify="left", caption=caption or None)
    for heading, side in columns:
        table.add_column(heading, justify="right" if side == "right" else "left")
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    return table


def _markdown(columns: tuple[tuple[str, str], ...], rows: list[list[str]]) -> list[str]:
    heads = [heading for heading, _ in columns]
    rule = ["---:" if side == "right" else "---" for _, side in columns]
    return [f"| {' | '.join(row)} |" for row in (heads, rule, *rows)]
