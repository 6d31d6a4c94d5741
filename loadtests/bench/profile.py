"""python -m loadtests profile: where the time of a cached read goes."""

import pstats
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from config.stack import ROOT
from loadtests.generators.http_load import Call, connected, send
from loadtests.testbed.site import Site

REQUESTS: Final = 2_000
# The first that is found in a function's file says whose time it is.
_PARTS: Final = (
    ("cachelayer", "cachelayer"),
    ("notes/", "the view and its parsing"),
    ("config/", "request id, timings, log line"),
    ("structlog", "request id, timings, log line"),
    ("redis", "Redis client and its wait"),
    ("hiredis", "Redis client and its wait"),
    ("prometheus_client", "counting"),
    ("django", "Django"),
    ("rest_framework", "DRF"),
    ("msgspec", "cachelayer"),
)


def profile(site: Site, note: str, file: Path) -> Table:
    """Read one cached note REQUESTS times, from one connection; return the shares by part."""
    with connected(site.url) as connection:
        for _ in range(REQUESTS):
            send(connection, Call("", f"/api/v1/notes/{note}"), 0, 0)
    shares: dict[str, float] = defaultdict(float)
    statistics: Any = pstats.Stats(str(file))
    for (name, _, function), (_, _, own, _, _) in statistics.stats.items():
        shares[_part(name, function)] += own
    total = sum(shares.values())
    table = Table(title=f"python -m loadtests profile: {REQUESTS} cached reads, own time")
    table.add_column("part")
    table.add_column("share", justify="right")
    for part, seconds in sorted(shares.items(), key=lambda item: -item[1]):
        table.add_row(part, f"{100 * seconds / total:.0f} %")
    return table


def _part(file: str, function: str) -> str:
    if "recv" in function or "send" in function:
        return "Redis client and its wait"  # the only socket that a hit uses
    place = file.removeprefix(f"{ROOT}/")
    return next((part for sign, part in _PARTS if sign in place), "built-in functions of Python")
