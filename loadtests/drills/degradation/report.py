"""The degradation matrix as a document, and as the contract has it: docs/degradation.md."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from config.stack import ROOT
from loadtests.drills.degradation.matrix import AT_ONCE_MS, Cell, Outcome
from loadtests.drills.degradation.outage_states import STORES, UP, State
from loadtests.drills.degradation.probes import CACHED, EXPIRED, PROBES, Probe

DOCUMENT: Final = ROOT / "docs" / "degradation.md"
COMMAND: Final = "python -m loadtests matrix --write"
DEADLINE_MS: Final = 3000.0  # the contract's; docs/api.md
_HEALTH: Final = ("GET /health", "GET /health/ready")  # they answer 503 by a contract of their own
_EVENT: Final = "the event of a request that was answered"
_HEAD: Final = """# Degradation

What every endpoint answers while stores do not. Each of the eight combinations of PostgreSQL, MongoDB and Redis killed (SIGKILL)
is brought about on real servers, and each store is paused (SIGSTOP: it accepts connections and does not answer). Then every
request is sent, by `python -m loadtests matrix` (about a minute), which writes this page with `--write`. `make test` does the same, and
fails where a response differs from this page or breaks the contract below, or where an endpoint or a page of the admin is missing.

The site runs as one process, and requests are sent once its breakers have settled. `make drill` shows what the first requests
see; here only their statuses are checked.

| in a cell | is |
|---|---|
| R, P, M above a column | Redis, PostgreSQL, MongoDB do not answer; `up`: all three do |
| `200 hit` | a fresh copy, of Redis or of the process |
| `200 unverified` | a copy that nobody can vouch for, since the trust lease is in PostgreSQL: the newest, unless this process is cut off alone |
| `200 stale` | a copy past its TTL, since its store does not answer |
| `200 miss` | read from its store |
| `200 bypass` | read from its store, as requested |
| `200 cache-down` | read from its store, since Redis does not answer |
| `200` | without a cache; what Redis or MongoDB would contribute is null or left out |
| `503 P`, `503 M` | `Retry-After`, and a problem whose `store` is PostgreSQL, MongoDB; of a page: it names the store |
| `503` | of `/health` and `/health/ready`: what they report |
| `≤ 3 s` | in more than one second and less than three; all other responses came in less than one second |

The contract, in each state:

- Nothing hangs, and nothing is a 500. A failure is a 503 with `Retry-After`, within 3 s, that names a store which is down.
- Without Redis alone no request fails: every status is that of `up`.
- Without MongoDB alone notes are unaffected; without PostgreSQL alone reads of profiles and of activity are.
- Cached notes, lists and profiles are served while Redis answers: marked unverified while PostgreSQL does not, and past their TTL as
  stale while their store does not.
- No event is lost: it waits in the spool, and is shipped once MongoDB answers.

A profile is written only while PostgreSQL answers, too: the invalidation is announced there before MongoDB is written to. The
pages of the admin need PostgreSQL for the session and its user, whatever they show; `ADMIN_TOKEN` needs no store.
"""


def as_markdown(outcome: Outcome) -> str:
    """Return the whole document, which is the same for the same answers."""
    parts = [_HEAD]
    for group in dict.fromkeys(case.group for case in PROBES):
        cases = [case for case in PROBES if case.group == group]
        rows = [
            (case.name, [_told(column[case.name]) for column in outcome.columns.values()])
            for case in cases
        ]
        parts.append(_table(group, list(outcome.columns), rows))
    states = list(outcome.columns)
    events = [outcome.events[state] for state in states]
    parts.append(_table("Events", states, [(_EVENT, events)]))
    parts.append(
        "`in the feed`: within 10 s; `kept`: in the spool until MongoDB answers; `none`: nothing "
        "was answered that is recorded.\n"
    )
    return "\n".join(parts)


def _table(heading: str, states: Sequence[State], rows: Sequence[tuple[str, list[str]]]) -> str:
    lines = [
        f"## {heading}\n",
        f"| request | {' | '.join(map(_heading, states))} |",
        "|---" * (len(states) + 1) + "|",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows),
    ]
    return "\n".join(lines) + "\n"


def _heading(state: State) -> str:
    away = " ".join(name[0] for store, name in STORES.items() if store in state.away)
    return f"{away} paused" if state.paused else away or "up"


def _told(cell: Cell) -> str:
    words = [str(cell.status), cell.source, STORES[cell.store][0] if cell.store else ""]
    if cell.latency_ms >= AT_ONCE_MS:
        words.append("≤ 3 s" if cell.latency_ms < DEADLINE_MS else "> 3 s")
    return " ".join(word for word in words if word)


def violations(outcome: Outcome) -> list[str]:
    """Return each breach of the document's contract as a line; none if there is no breach."""
    broken = []
    up = outcome.columns[UP]
    for state, column in outcome.columns.items():
        for case in PROBES:
            for breach in _breaches(case, column[case.name], state, up[case.name]):
                broken.append(
                    f"{_heading(state)}: {case.name}: {_told(column[case.name])}: {breach}"
                )
        if outcome.events[state] == "lost":
            broken.append(f"{_heading(state)}: events are neither in MongoDB nor in the spool")
        for sample in outcome.first[state]:
            if sample.status not in (200, 503):
                broken.append(f"{_heading(state)}: at first, {sample.call}: {sample.status}")
    if outcome.lost_events:
        broken.append(
            f"{outcome.lost_events} events were acknowledged, and are not in MongoDB at the end"
        )
    return broken


def _breaches(case: Probe, cell: Cell, state: State, up: Cell) -> Iterator[str]:
    if cell.status == 0 or (cell.status >= 500 and cell.status != 503):
        yield "no response, or a server error"
    if cell.latency_ms >= DEADLINE_MS:
        yield "it takes more than 3 s"
    if cell.status == 503 and case.endpoint not in _HEALTH:
        if not cell.retry_after:
            yield "no Retry-After"
        if cell.store not in state.away:
            yield "it names no store that is away"
    if cell.status != up.status and not _may_differ(case, state):
        yield f"it is {up.status} while all stores answer"
    expected = _source_of_copy(case, state)
    if expected and (cell.status, cell.source) != (200, expected):
        yield f"a copy is cached, so it must be 200 {expected}"


def _may_differ(case: Probe, state: State) -> bool:
    """Return whether a status may be another than while all stores answer."""
    if case.endpoint in _HEALTH:
        return case.case == "strict" or bool(state.away & {"postgres", "mongodb"})
    of_notes = case.group == "Notes"
    if of_notes:
        return "postgres" in state.away
    reads_mongodb = case.group == "Activity" or (
        case.group == "Profiles" and case.endpoint.startswith("GET") and "postgres" not in case.name
    )
    if reads_mongodb:
        return "mongodb" in state.away
    if case.group == "Profiles":
        return bool(state.away & {"postgres", "mongodb"})
    return "postgres" in state.away


def _source_of_copy(case: Probe, state: State) -> str:
    """Return where a cached resource must come from, or nothing where there is no promise."""
    if "redis" in state.away or case.case not in (CACHED, EXPIRED):
        return ""
    if case.case == CACHED:
        return "unverified" if "postgres" in state.away else "hit"
    store = "mongodb" if case.group == "Profiles" else "postgres"
    return "stale" if store in state.away else "miss"


def difference(outcome: Outcome, document: Path = DOCUMENT) -> str:
    """Return how the answers differ from the document, as a diff; empty, if they do not."""
    before = document.read_text() if document.exists() else ""
    lines = difflib.unified_diff(
        before.splitlines(),
        as_markdown(outcome).splitlines(),
        f"{document.name} as accepted",
        "as the site answers",
        lineterm="",
        n=0,
    )
    return "\n".join(lines)
