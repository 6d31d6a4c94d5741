"""
python -m loadtests figures: the quantitative results of docs/postmortem.md, from measurements.

This module writes what stands between two markers of the page, from the results of the experiments,
of the bench and of the mix; nothing there is written by hand.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from config.stack import ROOT
from loadtests.markers import Markers

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
    """An invalid file of measurements."""


class Source(NamedTuple):
    """A file of measurements below docs/, and the command that writes it."""

    file: str
    command: str


class Figure(NamedTuple):
    """One row: what it is, its unit, where it comes from, and how it is read from there."""

    text: str
    unit: str
    source: Source
    value: Callable[[Document], float]


def _quantity(name: str) -> Callable[[Document], float]:
    return lambda document: float(document["quantities"][name])


def _of_bench(field: str, compare: Callable[[float, float], float]) -> Callable[[Document], float]:
    def value(document: Document) -> float:
        arms = {path["arm"]: float(path[field]) for path in document["paths"]}
        return compare(arms[_CACHED], arms[_UNCACHED])

    return value


def _experiment(name: str) -> Source:
    command = f"python -m loadtests run {name} --out docs/experiments"
    return Source(f"experiments/{name}.json", command)


_BENCH: Final = Source(BENCH, f"python -m loadtests bench --json docs/{BENCH}")
_MIX: Final = Source(MIX, f"python -m loadtests mix --json docs/{MIX}")
FIGURES: Final = (
    Figure("cache hit rate, in the mix", "%", _MIX, _quantity("cache_hit_rate_percent")),
    Figure(
        *("response time of a note saved by the cache, median", "%", _BENCH),
        _of_bench("p50_ms", lambda cached, uncached: 100 * (1 - cached / uncached)),
    ),
    Figure(
        *("time of the query for page 500 saved by the indexes", "%", _experiment("query_plans")),
        _quantity("query_improvement_with_indexes_percent"),
    ),
    Figure(
        *("throughput of a note gained by the cache", "%", _BENCH),
        _of_bench("requests_per_second", lambda cached, uncached: 100 * (cached / uncached - 1)),
    ),
    Figure(
        *("PostgreSQL, average statement, in the mix", "ms", _MIX),
        _quantity("postgres_average_query_ms"),
    ),
    Figure(
        *("MongoDB, average command, in the mix", "ms", _MIX),
        _quantity("mongodb_average_query_ms"),
    ),
    Figure(
        *("cache, average look-up, in the mix", "ms", _MIX),
        _quantity("cache_average_response_ms"),
    ),
    Figure(
        *("utilization of PostgreSQL's connection pool, in the mix", "%", _MIX),
        _quantity("postgres_pool_utilization_percent"),
    ),
    Figure(
        "size of a document from which on MongoDB's nested update is faster",
        *("KB", _experiment("document_or_relational"), _quantity("nested_update_crossover_kb")),
    ),
    Figure(
        "how long an edit in psql stays unseen with the triggers off, at a TTL of 300 s",
        *("s", _experiment("direct_write"), _quantity("window_without_triggers_at_ttl_300_s")),
    ),
)


def table(folder: Path = FOLDER) -> str:
    """Return the rows in Markdown, from the files of the folder. Raises InvalidMeasurements."""
    rows = ["| figure | value | measured | by |", "|---|---:|---|---|"]
    for figure in FIGURES:
        document = _read(folder / figure.source.file)
        if document is None:
            rows.append(f"| {figure.text} | not measured | | `{figure.source.command}` |")
            continue
        try:
            value = figure.value(document)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as exc:
            raise InvalidMeasurements(
                f"{folder / figure.source.file} has no {figure.text}: {exc!r}"
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
    except (ValueError, RecursionError) as exc:
        raise InvalidMeasurements(f"{file} is not JSON: {exc}") from exc
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
