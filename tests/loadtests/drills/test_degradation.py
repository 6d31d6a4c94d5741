"""docs/degradation.md against a real site, whose stores are killed and paused."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from django.contrib import admin
from django.urls import get_resolver, reverse
from drf_spectacular.generators import SchemaGenerator

from loadtests.__main__ import main
from loadtests.drills.degradation import matrix
from loadtests.drills.degradation import report as degradation_report
from loadtests.drills.degradation.matrix import Cell, Outcome
from loadtests.drills.degradation.outage_states import GROUPS, STATES, UP, State
from loadtests.drills.degradation.probes import PROBES
from loadtests.generators.http_load import Sample
from tests.test_docs import routes

ENDPOINTS = {case.endpoint for case in PROBES}
AWAY = State(frozenset({"postgres"}))


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return matrix.run()


class TestRun:
    def test_every_answer_keeps_the_contract(self, outcome):
        assert degradation_report.violations(outcome) == []

    def test_every_answer_is_as_accepted(self, outcome):
        different = degradation_report.difference(outcome)

        assert not different, f"\n{different}\n\nTo accept it: {degradation_report.COMMAND}"


class TestStates:
    def test_are_each_combination_and_each_pause(self):
        killed = [state.killed for state in STATES if not state.paused]

        assert len(killed) == len(set(killed)) == 2**3
        assert {state.paused for state in STATES} == {"", "redis", "postgres", "mongodb"}
        assert Counter(STATES) == Counter(state for group in GROUPS for state in group)


class TestUseCases:
    """Fail for an endpoint that is not requested in each state: add it to loadtests/drills/degradation/probes.py."""

    def test_hold_each_call_of_the_schema(self):
        paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
        calls = {f"{method.upper()} {path}" for path, calls in paths.items() for method in calls}

        assert calls - ENDPOINTS == set()

    def test_hold_each_route(self):
        probed = {endpoint.split()[1] for endpoint in ENDPOINTS}

        assert set(routes(get_resolver().url_patterns)) - probed == set()

    def test_hold_each_page_of_the_admin(self):
        pages = {
            reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            for model in admin.site._registry
        }

        assert {f"GET {page}" for page in pages} - ENDPOINTS == set()

    def test_hold_nothing_that_is_gone(self):
        known = set(routes(get_resolver().url_patterns))

        gone = {endpoint for endpoint in ENDPOINTS if not endpoint.split()[1].startswith("/admin/")}
        assert {endpoint.split()[1] for endpoint in gone} - known == set()

    def test_have_names_of_their_own(self):
        names = [case.name for case in PROBES]

        assert len(set(names)) == len(names)


def made_up(**changes: Cell) -> Outcome:
    """An outcome of two states in which everything is well but for the changes by use case."""
    well = {case.name: Cell(200, "", "", "", 5.0) for case in PROBES}
    copies = {
        case.name: Cell(200, "hit" if case.case == "cached" else "miss", "", "", 5.0)
        for case in PROBES
        if case.case.startswith("cached")
    }
    stale = {
        name: replace(cell, source="stale")
        for name, cell in copies.items()
        if "past its TTL" in name and "notes" in name
    }
    unverified = {
        name: replace(cell, source="unverified")
        for name, cell in copies.items()
        if cell.source == "hit"
    }
    up = well | copies
    away = up | unverified | stale | changes
    events = dict.fromkeys((UP, AWAY), "in the feed")
    return Outcome({UP: up, AWAY: away}, events, {UP: [], AWAY: []}, 0)


NOTE = "`GET /api/v1/notes/{note_id}`"
FAILED = Cell(503, "", "postgres", "1", 5.0)


class TestViolations:
    @pytest.mark.parametrize(
        ("name", "cell", "breach"),
        [
            (
                f"{NOTE}, not cached",
                replace(FAILED, status=500),
                "500 P: no response, or a server error",
            ),
            (f"{NOTE}, not cached", replace(FAILED, status=0), "no response"),
            (f"{NOTE}, not cached", replace(FAILED, retry_after=""), "no Retry-After"),
            (f"{NOTE}, not cached", replace(FAILED, store="mongodb"), "names no store that is"),
            (f"{NOTE}, not cached", replace(FAILED, store=""), "names no store that is"),
            (f"{NOTE}, not cached", replace(FAILED, latency_ms=3100.0), "> 3 s: it takes more"),
            (f"{NOTE}, cached", FAILED, "a copy is cached, so it must be 200 unverified"),
            (f"{NOTE}, cached, past its TTL", FAILED, "so it must be 200 stale"),
            ("`GET /api/v1/activity/recent`", FAILED, "it is 200 while all stores answer"),
            ("`GET /api/v1/metrics/db`", replace(FAILED, status=404), "404 P"),
        ],
    )
    def test_tell_each_breach(self, name, cell, breach):
        violations = degradation_report.violations(made_up(**{name: cell}))

        if cell.status == 404:
            assert (
                violations == []
            )  # PostgreSQL is away, and this page may say what it likes of that
        else:
            assert any(breach in violation and name in violation for violation in violations), (
                violations
            )

    def test_are_none_where_all_is_well(self):
        assert degradation_report.violations(made_up(**{f"{NOTE}, not cached": FAILED})) == []

    def test_tell_of_events_and_of_the_first_requests(self):
        outcome = made_up()
        outcome.events[AWAY] = "lost"
        outcome.first[AWAY].append(Sample("a note", 0, 1, 500))

        violations = degradation_report.violations(replace(outcome, lost_events=3))

        assert [re.sub(".*: ", "", violation) for violation in violations] == [
            "events are neither in MongoDB nor in the spool",
            "500",
            "3 events were acknowledged, and are not in MongoDB at the end",
        ]


class TestMatrixCommand:
    @pytest.fixture(autouse=True)
    def _document(self, monkeypatch, tmp_path):
        monkeypatch.setattr(degradation_report, "DOCUMENT", tmp_path / "degradation.md")
        monkeypatch.setattr(
            degradation_report.difference, "__defaults__", (tmp_path / "degradation.md",)
        )

    def test_writes_what_it_then_holds_to(self, monkeypatch, capsys):
        monkeypatch.setattr(matrix, "run", lambda on_state: made_up())
        assert main(["matrix"]) == 1  # nothing was accepted so far
        assert main(["matrix", "--write"]) == 0
        capsys.readouterr()
        assert main(["matrix"]) == 0
        assert capsys.readouterr().out == ""

        slower = replace(FAILED, latency_ms=1500.0)
        monkeypatch.setattr(
            matrix, "run", lambda on_state: made_up(**{f"{NOTE}, not cached": slower})
        )

        assert main(["matrix"]) == 1
        output = capsys.readouterr().out
        assert "+| `GET /api/v1/notes/{note_id}`, not cached | 200 | 503 P ≤ 3 s |" in output
        assert "To accept it: python -m loadtests matrix --write" in output

    def test_accepts_no_breach(self, monkeypatch, capsys):
        monkeypatch.setattr(matrix, "run", lambda on_state: made_up(**{f"{NOTE}, cached": FAILED}))

        assert main(["matrix", "--write"]) == 1
        assert "so it must be 200 unverified" in capsys.readouterr().out
        assert not degradation_report.DOCUMENT.exists()
