"""python -m loadtests bench: what the cache is worth, as ratios in one run."""

import json
import platform
import statistics
import sys
import threading
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import track
from rich.table import Table

from loadtests.load import Call, Sample, closed_loop, connected, send
from loadtests.measure import Ratio, percentile, ratio_of_medians
from loadtests.site import THREADS, WORKERS, Site

CONNECTIONS = 8
BASELINE = "cached read"


@dataclass(frozen=True)
class Figure:
    """One arm's result over all rounds."""

    arm: str
    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    time_ratio: Ratio  # of the median time of a request to the baseline's
    errors: int


class Unexpected(Exception):
    """An arm did not do what its name says."""


def bench(site: Site, *, seconds: float, rounds: int) -> list[Figure]:
    """
    Measure every arm in every round, one after the other, seconds for each arm in all.

    Raises Unexpected where an arm turned out to be another one, such as a hit that missed.
    """
    arms = _arms(site)
    _warm(site, arms)
    samples: dict[str, list[list[Sample]]] = defaultdict(list)
    turns = [(number, call, wanted) for number in range(rounds) for call, wanted in arms]
    console = Console(file=sys.stderr)
    for _, call, wanted in track(
        turns, "measuring", console=console, disable=not console.is_terminal, transient=True
    ):
        taken = closed_loop(site.url, call, connections=CONNECTIONS, seconds=seconds / rounds)
        _check(call, wanted, taken)
        samples[call.name].append(taken)
    return [_figure(call.name, samples, seconds / rounds) for call, _ in arms]


def _warm(site: Site, arms: list[tuple[Call, tuple[int, str]]]) -> None:
    """
    Ask until every arm is what its name says, twice in a row, for 10 s at most.

    After a start the change stream still brings what was seeded, and invalidates it.
    """
    in_a_row = 0
    pause = threading.Event()
    with connected(site.url) as connection:
        for _ in range(20):
            answers = [send(connection, call, 0, 0).cache for call, _ in arms]
            good = all(a.startswith(w) for a, (_, (_, w)) in zip(answers, arms, strict=True))
            in_a_row = in_a_row + 1 if good else 0
            if in_a_row == 2:
                return
            pause.wait(0.5)


def _arms(site: Site) -> list[tuple[Call, tuple[int, str]]]:
    """Return each arm with the status and the beginning of Cache-Status that it must show."""
    with connected(site.url) as connection:
        page = send(connection, Call("", "/api/v1/notes?userId=abc"), 0, 0)
        note = f"/api/v1/notes/{json.loads(page.body)['results'][0]['id']}"
        connection.request("GET", note)
        response = connection.getresponse()
        response.read()
        etag = response.headers["ETag"]
    uncached = {"Cache-Control": "no-store"}
    pages = "/api/v1/notes?userId=abc"
    return [
        (Call("bare view: one GET", f"/bare/notes:{note.rpartition('/')[2]}"), (200, "")),
        (Call(BASELINE, note), (200, "hit")),
        (
            Call("cached read, not recorded", note, headers={"X-Recording": "off"}),
            (200, "hit"),
        ),
        (Call("cached profile", "/api/v1/profiles/abc"), (200, "hit")),
        (Call("not modified", note, headers={"If-None-Match": etag}), (304, "hit")),
        (Call("uncached read", note, headers=uncached), (200, "fwd=bypass")),
        (Call("cached page", pages), (200, "hit")),
        (Call("uncached page", pages, headers=uncached), (200, "fwd=bypass")),
    ]


def _check(call: Call, wanted: tuple[int, str], taken: list[Sample]) -> None:
    status, cache = wanted
    odd = [one for one in taken if one.status != status or not one.cache.startswith(cache)]
    # The first requests after a TTL ran out may load; anything more is another measurement.
    if len(odd) > max(2, len(taken) // 100):
        raise Unexpected(
            f"{call.name}: {len(odd)} of {len(taken)} answers were not {status} {cache}, "
            f"such as {odd[0].status} {odd[0].cache}"
        )


def _figure(arm: str, samples: dict[str, list[list[Sample]]], seconds: float) -> Figure:
    rounds = samples[arm]
    latencies = [one.latency_ms for taken in rounds for one in taken]
    medians = [statistics.median(one.latency_ms for one in taken) for taken in rounds]
    base = [statistics.median(one.latency_ms for one in taken) for taken in samples[BASELINE]]
    return Figure(
        arm,
        len(latencies),
        statistics.median(len(taken) for taken in rounds) / seconds,
        percentile(latencies, 0.5),
        percentile(latencies, 0.99),
        ratio_of_medians(medians, base),
        sum(one.status in (0, 500, 503) for taken in rounds for one in taken),
    )


def report(figures: list[Figure], *, command: str) -> Table:
    """Return the figures as a table for a terminal."""
    title = f"{command}: {CONNECTIONS} connections, {WORKERS} workers of {THREADS} threads"
    table = Table(title=title, caption=_circumstances())
    for heading in (
        "request",
        "n",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "time, ratio to cached read",
        "errors",
    ):
        table.add_column(heading, justify="left" if heading == "request" else "right")
    for one in figures:
        ratio = f"{one.time_ratio.value:.2f}  [{one.time_ratio.low:.2f}, {one.time_ratio.high:.2f}]"
        table.add_row(
            one.arm,
            str(one.requests),
            f"{one.requests_per_second:.0f}",
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
            ratio,
            str(one.errors),
        )
    return table


def as_json(figures: list[Figure], *, command: str) -> str:
    """Return the same for programs."""
    facts = {"command": command, "circumstances": _circumstances()}
    return json.dumps(facts | {"figures": [asdict(one) for one in figures]}, indent=1)


def _circumstances() -> str:
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return f"{when}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
