"""
python -m loadtests figures: the quantitative results, put into a page from what was measured.

Between two marks of the page stands what this module writes, from the results of the experiments,
of the bench and of the mix; nothing there is written by hand.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from config.stack import ROOT
from loadtests.docs.markers import Markers

MARKERS: Final = Markers(
    "<!-- figures:begin, written by python -m loadtests figures -->", "<!-- figures:end -->"
)
PAGE: Final = ROOT / "docs" / "postmortem.md"
FOLDER: Final = ROOT / "docs"
BENCH: Final = "figures/bench.json"
MIX: Final = "figures/mix.json"
_CACHED, _UNCACHED = "cached read", "uncached read"
Document = Mapping[str, Any]


class InvalidMeasurements(Exception):
    """A file of results that is not one."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row: what it is, and from which file it comes and how."""

    text: str
    unit: str
    file: str  # below docs/
    make: str  # the command that writes the file
    pick: Callable[[Document], float]


def _quantity(name: str) -> Callable[[Document], float]:
    return lambda document: float(document["quantities"][name])


def _of_bench(field: str, compare: Callable[[float, float], float]) -> Callable[[Document], float]:
    def pick(document: Document) -> float:
        arms = {path["arm"]: float(path[field]) for path in document["paths"]}
        return compare(arms[_CACHED], arms[_UNCACHED])

    return pick


def _experiment(name: str) -> dict[str, str]:
    return {
        "file": f"experiments/{name}.json",
        "make": f"python -m loadtests run {name} --out docs/experiments",
    }


_BENCH: Final = {"file": BENCH, "make": f"python -m loadtests bench --json docs/{BENCH}"}
_MIX: Final = {"file": MIX, "make": f"python -m loadtests mix --json docs/{MIX}"}
FIGURES: Final = (
    Figure(
        text="cache hit rate, in the mix",
        unit="%",
        pick=_quantity("cache_hit_rate_percent"),
        **_MIX,
    ),
    Figure(
        text="response time of a note saved by the cache, median",
        unit="%",
        pick=_of_bench("p50_ms", lambda cached, uncached: 100 * (1 - cached / uncached)),
        **_BENCH,
    ),
    Figure(
        text="time of the query for page 500 saved by the indexes",
        unit="%",
        pick=_quantity("query_improvement_with_indexes_percent"),
        **_experiment("query_plans"),
    ),
    Figure(
        text="throughput of a note gained by the cache",
        unit="%",
        pick=_of_bench(
            "requests_per_second", lambda cached, uncached: 100 * (cached / uncached - 1)
        ),
        **_BENCH,
    ),
    Figure(
        text="PostgreSQL, average statement, in the mix",
        unit="ms",
        pick=_quantity("postgres_average_query_ms"),
        **_MIX,
    ),
    Figure(
        text="MongoDB, average command, in the mix",
        unit="ms",
        pick=_quantity("mongodb_average_query_ms"),
        **_MIX,
    ),
    Figure(
        text="cache, average look-up, in the mix",
        unit="ms",
        pick=_quantity("cache_average_response_ms"),
        **_MIX,
    ),
    Figure(
        text="utilization of PostgreSQL's connection pool, in the mix",
        unit="%",
        pick=_quantity("postgres_pool_utilization_percent"),
        **_MIX,
    ),
    Figure(
        text="size of a document from which on MongoDB's nested update is faster",
        unit="KB",
        pick=_quantity("nested_update_crossover_kb"),
        **_experiment("document_or_relational"),
    ),
    Figure(
        text="how long an edit in psql stays unseen with the triggers off, at a TTL of 300 s",
        unit="s",
        pick=_quantity("window_without_triggers_at_ttl_300_s"),
        **_experiment("direct_write"),
    ),
)


def table(folder: Path = FOLDER) -> str:
    """Return the rows in Markdown, from the files of the folder. Raises InvalidMeasurements."""
    rows = ["| figure | value | measured | by |", "|---|---:|---|---|"]
    for figure in FIGURES:
        document = _read(folder / figure.file)
        if document is None:
            rows.append(f"| {figure.text} | not measured | | `{figure.make}` |")
            continue
        try:
            value = figure.pick(document)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as exc:
            raise InvalidMeasurements(
                f"{folder / figure.file} has no {figure.text}: {exc!r}"
            ) from exc
        rows.append(
            f"| {figure.text} | {_rounded(value)} {figure.unit} | {_date(document)} | `{document['command']}` |"
        )
    return "\n".join(rows)


def write(page: Path = PAGE, folder: Path = FOLDER) -> None:
    """Put the figures of the folder into the page, in one step. Raises InvalidMeasurements, MissingMarkers."""
    MARKERS.fill(page, table(folder))


def _read(file: Path) -> Document | None:
    if not file.exists():
        return None
    try:
        document = json.loads(file.read_text())
    except ValueError as exc:
        raise InvalidMeasurements(f"{file} is no JSON: {exc}") from exc
    if not isinstance(document, dict) or "command" not in document:
        raise InvalidMeasurements(f"{file} does not say which command wrote it")
    return document


def _date(document: Document) -> str:
    """Return the day of the measurement, as an experiment, the bench or the mix writes it."""
    circumstances = document.get("circumstances")
    date = circumstances.get("date") if isinstance(circumstances, dict) else None
    return str(date or document.get("date") or document.get("started_at", ""))[:10]


def _rounded(value: float) -> str:
    """Return three digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
