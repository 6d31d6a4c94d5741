"""Every request in every state of the three stores: killed, in every combination, and paused one at a time."""

import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from config.stack import Stack
from config.stack.process import StackError, wait_until
from loadtests.drills.degradation.fixtures import MatrixFixtures
from loadtests.drills.degradation.outage_states import GROUPS, STATES, UP, State
from loadtests.drills.degradation.probes import PROBES, Probe, StateFixtures
from loadtests.generators.http_load import Call, Sample, send_once
from loadtests.testbed.site import Site, running_site, second_site

AT_ONCE_MS: Final = 1000.0  # far below every deadline, far above what an answer takes
SETTLED_SECONDS: Final = 30.0
FEED_SECONDS: Final = 10.0
# Of a slow request, later: one that waits for a store waits again, a busy machine is not busy for so long.
_REPEATS: Final = 4
_REPEATED_AFTER_SECONDS: Final = 1.0
_AT_A_TIME: Final = 4
_RECORDED_GROUPS: Final = ("Notes", "Profiles")  # of probes; each success of these is an event


@dataclass(frozen=True)
class Cell:
    """The response to one request in one state."""

    status: int
    source: str  # of Cache-Status, in one word; empty where there is none
    store: str  # that a 503 names
    retry_after: str
    latency_ms: float  # of the fastest of several tries, if the first was slow


Column = dict[str, Cell]  # by the name of the request


@dataclass(frozen=True)
class Outcome:
    """The matrix, what became of events, and the first responses after each fault, before breakers settled."""

    columns: Mapping[State, Column]
    events: Mapping[State, str]
    first: Mapping[State, list[Sample]]
    lost_events: int  # acknowledged, and not in MongoDB at the end


def run(on_state: Callable[[State], None] = lambda state: None) -> Outcome:
    """
    Start a site of one process on servers of its own; enter each state, and send every request.

    One process, since each has its own breakers, and a state is measured only once they have
    settled. on_state is called after each state. Raises StackError.
    """
    variables = {
        "ADMIN_TOKEN": secrets.token_urlsafe(16),
        "DJANGO_SUPERUSER_PASSWORD": secrets.token_urlsafe(16),
        **{f"CACHE_TTL_{what}_SECONDS": "3600" for what in ("NOTE", "LIST", "PROFILE")},
    }
    brief = {f"CACHE_TTL_{what}_SECONDS": "1" for what in ("NOTE", "LIST", "PROFILE")}
    stack = Stack("matrix", own_only=True)
    stack.reset()  # of what a killed run has left
    with (
        _removed(stack),
        running_site("matrix", notes=0, workers=1, variables=variables) as site,
        second_site(site, variables=brief) as expiring,
    ):
        probe = _MatrixRun(site, expiring)
        for group in GROUPS:
            probe.prepare(group)
            for state in group:
                probe.measure(state)
                on_state(state)
        probe.enter(UP)
        return probe.outcome()


@contextmanager
def _removed(stack: Stack) -> Iterator[None]:
    try:
        yield
    finally:
        stack.reset()


class _MatrixRun:
    """The site, its fixtures, and its responses so far."""

    def __init__(self, site: Site, expiring: str) -> None:
        self._site = site
        self._columns: dict[State, Column] = {}
        self._events: dict[State, str] = {}
        self._first: dict[State, list[Sample]] = {}
        self._fixtures = MatrixFixtures(site, expiring)

    def outcome(self) -> Outcome:
        """Return all results, in the order of the tables."""
        wait_until(lambda: self._events_on_their_way() == 0, FEED_SECONDS)
        columns = {state: self._columns[state] for state in STATES}
        return Outcome(columns, self._events, self._first, self._events_on_their_way())

    def prepare(self, group: tuple[State, ...]) -> None:
        """Bring all stores up, and cache the copies that the states of the group need."""
        self.enter(UP)
        self._fixtures.cache_copies(group)

    def enter(self, state: State) -> None:
        """Kill, pause and start servers to enter the state; wait until every breaker shows it."""
        stack = self._site.stack
        for server in stack.status():
            required = (
                "stopped" if server.server in state.killed
                else "paused" if server.server == state.paused
                else "running"
            )  # fmt: skip
            if server.state == required:
                continue
            if required == "running":
                stack.start(server.server)
            elif required == "stopped":
                stack.kill(server.server)
            else:
                stack.pause(server.server)
        first = self._first.setdefault(state, [])
        if not wait_until(lambda: self._has_settled(state, first), SETTLED_SECONDS):
            raise StackError(f"{state.label}: the breakers do not settle (log: {stack.folder})")

    def _has_settled(self, state: State, first: list[Sample]) -> bool:
        """Use each store through the site; return whether each breaker is as the state requires."""
        fixtures = self._fixtures.fixtures[state]
        past = {"Cache-Control": "no-cache"}
        calls = [
            Call("a note past the cache", f"/api/v1/notes/{fixtures.notes['put']}", headers=past),
            Call("a profile of MongoDB", f"/api/v1/profiles/mongo/{fixtures.user('put')}"),
        ]
        for call in calls:
            first.append(self._ask(call))
        stores = json.loads(self._ask(Call("", "/api/v1/metrics/db")).body)
        cache = json.loads(self._ask(Call("", "/api/v1/metrics/cache")).body)
        opened = {
            "redis": cache["breaker"]["open"],
            **{store: stores[store]["breaker_open"] for store in ("postgres", "mongodb")},
        }
        if any(is_open != (store in state.away) for store, is_open in opened.items()):
            return False
        return self._trusts_as(state)

    def _trusts_as(self, state: State) -> bool:
        """Return whether a cached note is served as the state requires: the lease lapses some time later."""
        note = self._fixtures.fixtures[state].notes["cached"]
        source = _source(self._ask(Call("", f"/api/v1/notes/{note}")).cache)
        if "redis" in state.away:
            return source not in ("hit", "unverified")
        return source == ("unverified" if "postgres" in state.away else "hit")

    def measure(self, state: State) -> None:
        """Enter the state and send all requests, in parallel; last those that change the cache."""
        self.enter(state)
        recorded = self._spool()["recorded"]
        fixtures = self._fixtures.fixtures[state]
        column: Column = {}
        for last in (False, True):
            cases = [case for case in PROBES if case.last is last]
            with ThreadPoolExecutor(1 if last else _AT_A_TIME) as pool:
                cells = list(pool.map(lambda case: self._cell(case, fixtures, state), cases))
                cells = list(pool.map(partial(self._fastest, fixtures), cases, cells))
                column |= {case.name: cell for case, cell in zip(cases, cells, strict=True)}
        self._columns[state] = column
        answered = any(
            column[case.name].status < 300 for case in PROBES if case.group in _RECORDED_GROUPS
        )
        self._events[state] = self._became_of_events(state, recorded) if answered else "none"

    def _cell(self, case: Probe, fixtures: StateFixtures, state: State) -> Cell:
        call = case.sent(fixtures)
        sample = self._ask(call)
        # The lease may lapse for a moment on a machine that is too busy to renew it.
        if _source(sample.cache) == "untrusted" and "redis" not in state.away:
            wait_until(lambda: self._trusts_as(state), SETTLED_SECONDS)
            sample = self._ask(call)
        return Cell(
            sample.status,
            _source(sample.cache),
            _store(sample),
            sample.retry_after,
            sample.latency_ms,
        )

    def _fastest(self, fixtures: StateFixtures, case: Probe, cell: Cell) -> Cell:
        """Send a request that was slow again, a few times; return its cell with the least latency."""
        least = cell.latency_ms
        for _ in range(_REPEATS):
            if least < AT_ONCE_MS:
                break
            threading.Event().wait(_REPEATED_AFTER_SECONDS)
            least = min(least, self._ask(case.sent(fixtures)).latency_ms)
        return replace(cell, latency_ms=least)

    def _became_of_events(self, state: State, recorded: int) -> str:
        # Each process counts what it has recorded now and then.
        if not wait_until(lambda: self._spool()["recorded"] > recorded, FEED_SECONDS):
            return "lost"
        if "mongodb" in state.away:
            return "kept" if self._spool()["depth_events"] else "lost"
        shipped = wait_until(lambda: self._spool()["depth_events"] == 0, FEED_SECONDS)
        return "in the feed" if shipped else "kept"

    def _events_on_their_way(self) -> int:
        spool = self._spool()
        return int(spool["recorded"] - spool["shipped"] - spool["repeated"])

    def _spool(self) -> dict[str, Any]:
        metrics = json.loads(self._ask(Call("", "/api/v1/metrics/db")).body)
        spool: dict[str, Any] = metrics["mongodb"]["spool"]
        return spool

    def _ask(self, call: Call) -> Sample:
        return send_once(self._site.url, call)


def _source(cache_status: str) -> str:
    """
    Return Cache-Status in one word.

    Left out are the level of a hit, and whether a miss was stored, which a write may forbid.
    """
    first, *parameters = [part.strip() for part in cache_status.split(";")]
    details = [part.removeprefix("detail=") for part in parameters if part.startswith("detail=")]
    if details and details != ["L1"]:
        return details[0]
    return {"fwd=uri-miss": "miss", "fwd=bypass": "bypass"}.get(first, first)


def _store(sample: Sample) -> str:
    """Return the store that a problem names, or the page of one."""
    if sample.status != 503:
        return ""
    named = re.search(rb'data-store="(\w+)"', sample.body)
    if named:
        return named[1].decode()
    try:
        return str(json.loads(sample.body).get("store", ""))
    except ValueError:
        return ""
