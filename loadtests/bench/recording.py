"""python -m loadtests recording: what recording adds to a cached read, and what the spool takes in."""

import http.client
import json
import statistics
import time
from typing import Final

from rich.table import Table

from loadtests.generators.http_load import Call, closed_loop, connected, send
from loadtests.stats import ratio_of_medians
from loadtests.testbed.site import Site

PAIRS: Final = 60
REQUESTS: Final = 100  # in a row of each arm in a pair
INGEST_SECONDS: Final = 10.0
INGEST_CONNECTIONS: Final = 8


def recording(site: Site) -> Table:
    """
    Read one cached note, one request after the other, in pairs of recorded and not recorded.

    What is shipped meanwhile is part of the cost: it runs in the same processes. Then read it
    over many connections, and compare what was answered with what was stored.
    """
    with connected(site.url) as connection:
        page = send(connection, Call("", "/api/v1/notes?userId=abc&limit=1"), 0, 0)
        path = f"/api/v1/notes/{json.loads(page.body)['results'][0]['id']}"
        arms = [Call("on", path), Call("off", path, headers={"X-Recording": "off"})]
        medians: dict[str, list[float]] = {"on": [], "off": []}
        for number in range(PAIRS):
            for call in arms if number % 2 else reversed(arms):
                taken = [_latency_ms(connection, call) for _ in range(REQUESTS)]
                medians[call.name].append(statistics.median(taken))
    ratio = ratio_of_medians(medians["on"], medians["off"])
    table = Table(title="python -m loadtests recording")
    for heading in ("what", "n", "on", "off", "ratio"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    table.add_row(
        "a cached read, one after the other, p50 ms",
        str(PAIRS * REQUESTS),
        f"{statistics.median(medians['on']):.3f}",
        f"{statistics.median(medians['off']):.3f}",
        f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
    )
    rates = {
        call.name: len(
            closed_loop(site.url, call, connections=INGEST_CONNECTIONS, seconds=INGEST_SECONDS / 2)
        )
        / (INGEST_SECONDS / 2)
        for call in arms
    }
    table.add_row(
        f"cached reads a second over {INGEST_CONNECTIONS} connections",
        "",
        f"{rates['on']:.0f}",
        f"{rates['off']:.0f}",
        f"{rates['on'] / rates['off']:.3f}",
    )
    table.caption = site.manage("activity_reconcile").strip()
    return table


def _latency_ms(connection: http.client.HTTPConnection, call: Call) -> float:
    began = time.perf_counter()
    return send(connection, call, began, began).latency_ms
