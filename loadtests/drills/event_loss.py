"""python -m loadtests activity-outage: is an event lost or duplicated when MongoDB and a worker die."""

import itertools
import json
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psutil
import pymongo
from rich.table import Table

from config.stack.process import wait_until
from loadtests.generators.http_load import Call, OpenLoop, Sample, create_note
from loadtests.testbed.site import Site

PER_SECOND: Final = 60.0
BEFORE_SECONDS: Final = 5.0
OUTAGE_SECONDS: Final = 30.0
AFTER_SECONDS: Final = 5.0
SHIPPED_SECONDS: Final = 60.0  # how long the rest may take once MongoDB is back
_USER: Final = "outage"


@dataclass(frozen=True)
class Outcome:
    """Events by request id: what clients were answered, against what MongoDB has."""

    answered: int  # 2xx: the event was acknowledged before the answer left
    unanswered: int  # cut off by the kill: the event may be there or not
    refused: Counter[int]  # other statuses
    stored: int
    lost: int
    duplicated: int
    unknown: int  # stored, of no request that was sent
    killed: int  # worker processes
    account: str  # what activity_reconcile says


def outage(site: Site) -> Outcome:
    """
    Load over HTTP; kill MongoDB for OUTAGE_SECONDS, and a worker with SIGKILL in the middle of it.

    Every request has an id of its own, which its event carries; so each can be looked for.
    """
    run = f"outage-{secrets.token_hex(4)}"  # the servers keep the events of former runs
    since = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime())
    loop = OpenLoop(site.url, per_second=PER_SECOND)
    calls = _calls(site, run)
    killed = 0
    try:
        loop.run(calls, seconds=BEFORE_SECONDS)
        site.stack.kill("mongodb")
        loop.run(calls, seconds=OUTAGE_SECONDS / 2)
        killed = _kill_a_worker(site)
        loop.run(calls, seconds=OUTAGE_SECONDS / 2)
    finally:
        site.stack.start("mongodb")
    loop.run(calls, seconds=AFTER_SECONDS)
    samples = loop.finish()
    wait_until(lambda: _is_shipped(site), SHIPPED_SECONDS)
    return _outcome(samples, _stored(site, run), killed, _account(site, since))


def _calls(site: Site, run: str) -> Iterator[Call]:
    """Yield, for ever: reads of two notes, a list, and a write, each named by its request id."""
    notes = [create_note(site.url, _USER, title) for title in ("one", "two")]
    for number in itertools.count():
        name = f"{run}-{number}"
        headers = {"X-User-Id": _USER, "X-Request-ID": name, "Content-Type": "application/json"}
        yield (
            Call(name, f"/api/v1/notes/{notes[0]}", headers=headers),
            Call(name, f"/api/v1/notes/{notes[1]}", headers=headers),
            Call(name, "/api/v1/notes?userId=outage", headers=headers),
            Call(
                *(name, f"/api/v1/notes/{notes[0]}", "PATCH", headers),
                json.dumps({"title": str(number)}),
            ),
        )[number % 4]


def _kill_a_worker(site: Site) -> int:
    """End one worker process with SIGKILL; the site starts another. Return how many were."""
    for worker in psutil.Process(site.pid).children():
        with suppress(psutil.NoSuchProcess):
            if any("granian" in argument for argument in worker.cmdline()):
                worker.kill()
                return 1
    return 0


def _is_shipped(site: Site) -> bool:
    threading.Event().wait(0.5)
    waiting = re.search(r"\b(\d+) waiting", site.manage("activity_reconcile"))
    return waiting is not None and waiting[1] == "0"


def _account(site: Site, since: str) -> str:
    return site.manage("activity_reconcile", "--since", since).strip()


def _stored(site: Site, run: str) -> Counter[str]:
    """Return how many events there are of each request of this run."""
    with pymongo.MongoClient[dict[str, Any]](site.stack.operator_urls()["MONGODB_URI"]) as client:
        events = client["trilith"]["activity_logs"].find(
            {"request_id": {"$regex": f"^{run}-"}}, {"request_id": 1}
        )
        return Counter(event["request_id"] for event in events)


def _outcome(samples: list[Sample], stored: Counter[str], killed: int, account: str) -> Outcome:
    answered = {sample.call for sample in samples if 200 <= sample.status < 300}
    cut_off = {sample.call for sample in samples if sample.status == 0}
    return Outcome(
        answered=len(answered),
        unanswered=len(cut_off),
        refused=Counter(s.status for s in samples if s.status and not 200 <= s.status < 300),
        stored=stored.total(),
        lost=sum(stored[name] == 0 for name in answered),
        duplicated=sum(number - 1 for number in stored.values() if number > 1),
        unknown=sum(stored[name] for name in stored if name not in answered | cut_off),
        killed=killed,
        account=account,
    )


def as_table(outcome: Outcome) -> Table:
    """Return the outcome as a table for a terminal."""
    table = Table(
        title=f"activity-outage: MongoDB killed for {OUTAGE_SECONDS:g} s, a worker killed"
    )
    table.add_column("counted")
    table.add_column("number", justify="right")
    table.add_row("requests answered 2xx: events acknowledged", str(outcome.answered))
    table.add_row("requests cut off by the kill", str(outcome.unanswered))
    for status, number in sorted(outcome.refused.items()):
        table.add_row(f"requests answered {status}", str(number))
    table.add_row("worker processes killed", str(outcome.killed))
    table.add_row("events stored", str(outcome.stored))
    table.add_row("[bold]events lost[/bold]", f"[bold]{outcome.lost}[/bold]")
    table.add_row("[bold]events duplicated[/bold]", f"[bold]{outcome.duplicated}[/bold]")
    table.add_row("activity_reconcile", outcome.account)
    return table


def holds(outcome: Outcome) -> bool:
    """Return whether the promise was kept, and put to the test at all."""
    return (
        outcome.lost == outcome.duplicated == outcome.unknown == 0
        and outcome.answered > 0
        and outcome.killed == 1
    )
