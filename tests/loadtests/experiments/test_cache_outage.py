"""Judging an outage of Redis on made-up samples, and bringing Redis back."""

import dataclasses
import json

import pytest

from loadtests.experiments.cache_outage import EXPERIMENT, method
from loadtests.experiments.cache_outage.expectations import slowdown, undisturbed
from loadtests.experiments.cache_outage.method import (
    Observations,
    Outage,
    Phase,
    Scale,
    _Run,
)
from loadtests.experiments.cache_outage.traffic import Event, event_of, states
from loadtests.generators.http_load import Sample
from loadtests.lab.experiment import Outcome
from loadtests.lab.lab import Lab
from loadtests.testbed.site import Site
from loadtests.testbed.statement_log import Statement

LINE = (
    b'{"operation":"breaker","state":"open","event":"Cache unavailable","level":"warning",'
    b'"timestamp":"2026-11-24T10:00:00.250000Z"}\n'
)
NAMES = ("up", "killed", "mending", "up", "paused", "mending", "up")


def phase(number: int, name: str) -> Phase:
    down = name in ("killed", "paused")
    start = 2.0 * number
    phase_ = Phase(name, start, start + 2.0, number)
    kinds = ("read",) * 20 + ("page", "write", "health")
    for place, kind in enumerate(kinds):
        # What a process holds outlasts a Redis that hangs for as long as the lease.
        is_miss = down and not (name == "paused" and place == 0)
        cache = "fwd=miss; detail=cache-down" if is_miss else "hit; ttl=299"
        health = {
            "status": "degraded" if down else "ok",
            "redis": {"status": "down" if down else "ok"},
        }
        phase_.samples.append(
            Sample(
                f"outage-x-{name}{number}-{kind}-{place}",
                start + place * 0.08,
                6.0 if down else 2.0,
                200,
                cache,
                body=json.dumps(health).encode(),
            )
        )
    if down:
        phase_.lookups = [
            Statement(0.0, 0.2, 1, f"SELECT 1 /*request_id='{sample.call}'*/")
            for sample in phase_.of("read")
        ]
    return phase_


def outage(fault: str) -> Outage:
    first = "fwd=uri-miss; stored" if fault == "kill" else "hit; ttl=200"
    opened, closed = (
        Event(at, "warning", state, "Cache") for at, state in ((1.0, "open"), (4.0, "closed"))
    )
    return Outage(
        fault,
        2.0,
        events=[opened, opened, closed, closed],
        trusted_after_s=1.0,
        recovery=[(Sample("", 0, 5.0, 200, first), Sample("", 0, 1.5, 200, "hit; ttl=299"))] * 8,
    )


@pytest.fixture
def observations() -> Observations:
    return Observations(
        phases=[phase(number, name) for number, name in enumerate(NAMES)],
        outages=[outage("kill"), outage("pause")],
        both_ways=[(1.5, 4.0)] * 40,
        swept=[dataclasses.replace(outage("kill"), seconds=seconds) for seconds in (1.0, 4.0)],
    )


def outcome(observations: Observations, key: str) -> Outcome:
    rows = EXPERIMENT.findings(observations).rows
    return next(row.outcome for row in rows if row.expectation.key == key)


def change(phase: Phase, kind: str, **values: object) -> None:
    """Let the first request of a kind be another one."""
    first = phase.of(kind)[0]
    phase.samples[phase.samples.index(first)] = dataclasses.replace(first, **values)


class TestFindings:
    def test_what_one_expects_comes_out_as_declared(self, observations):
        findings = EXPERIMENT.findings(observations)

        assert all(row.is_as_declared(quick=False) for row in findings.rows)
        assert [row.expectation for row in findings.rows] == list(EXPERIMENT.expectations)

    def test_every_row_and_guess_names_what_was_measured(self, observations):
        findings = EXPERIMENT.findings(observations)

        names = {series.name for series in findings.series}
        assert all(row.evidence and set(row.evidence) <= names for row in findings.rows)
        assert {guess.quantity for guess in EXPERIMENT.guesses} <= set(findings.quantities)
        assert findings.quantities["response_time_improvement_percent"] == 62.5
        assert findings.charts[0].title == (
            "A read takes 2.0 ms with Redis and 6.0 ms without, and no request failed"
        )
        assert len(findings.charts) == 3

    @pytest.mark.parametrize(
        ("kind", "values", "keys"),
        [
            ("write", {"status": 503}, {"goes-on", "available"}),
            ("health", {"body": b'{"status":"ok","redis":{"status":"ok"}}'}, {"health-tells"}),
            ("read", {"cache": "hit; ttl=9", "at": 3.9}, {"no-late-hit"}),
        ],
    )
    def test_one_other_answer_in_an_outage_is_not_as_declared(
        self, observations, kind, values, keys
    ):
        change(observations.phases[1], kind, **values)

        rows = EXPERIMENT.findings(observations).rows
        different = {row.expectation.key for row in rows if not row.is_as_declared(quick=False)}
        assert different == keys

    def test_an_error_in_the_log_refutes(self, observations):
        observations.outages[0].events.append(Event(2.0, "error", "", "Traceback"))

        assert outcome(observations, "warnings") is Outcome.REFUTED

    def test_a_line_for_each_request_refutes(self, observations):
        observations.outages[0].events += [observations.outages[0].events[0]] * 10

        assert outcome(observations, "once-per-change") is Outcome.REFUTED

    def test_a_database_that_is_asked_all_the_time_refutes(self, observations):
        observations.phases[0].lookups = observations.phases[1].lookups

        assert outcome(observations, "database-load") is Outcome.REFUTED

    def test_trust_that_comes_late_refutes(self, observations):
        observations.swept[1].trusted_after_s = 20.0

        assert outcome(observations, "trusted-again") is Outcome.REFUTED

    def test_a_hit_right_after_a_kill_and_a_miss_after_a_pause_refute(self, observations):
        observations.outages[0].recovery, observations.outages[1].recovery = (
            outage("pause").recovery,
            outage("kill").recovery,
        )

        assert outcome(observations, "first-miss") is Outcome.REFUTED
        assert outcome(observations, "paused-keeps") is Outcome.REFUTED

    def test_a_difference_within_the_noise_is_inconclusive(self, observations):
        for phase in observations.phases:
            phase.samples = [
                dataclasses.replace(sample, latency_ms=2.0 + place // 10 % 2)
                for place, sample in enumerate(phase.samples)
            ]

        assert outcome(observations, "slower") is Outcome.INCONCLUSIVE


class TestSlowdown:
    def test_compares_each_outage_with_the_phase_before_it(self, observations):
        assert slowdown(observations) == (3.0, 3.0, 3.0)

    def test_the_lower_quartile_leaves_a_stall_out(self):
        assert undisturbed([2.0] * 5 + [90.0] * 5 + [3.0] * 10 + [1.0]) == [2.0, 3.0]


class TestEventOf:
    def test_tells_level_and_state_of_the_breaker(self):
        event = event_of(LINE)

        assert (event.level, event.state) == ("warning", "open")
        assert states([event, event])["open"] == 2

    def test_the_breaker_of_another_store_is_another_event(self):
        event = event_of(LINE.replace(b"Cache una", b"MongoDB una"))

        assert (event.level, event.state) == ("warning", "")

    @pytest.mark.parametrize("line", [b"Traceback (most recent call last):", b"[]", b"{}"])
    def test_what_is_no_event_counts_as_an_error(self, line):
        assert event_of(line).level == "error"


class TestOutage:
    def test_redis_is_started_again_after_an_interrupt(self, tmp_path, monkeypatch):
        done: list[str] = []

        class Servers:
            folder = tmp_path

            def kill(self, server: str) -> None:
                done.append(f"kill {server}")

            def start(self, server: str) -> None:
                done.append(f"start {server}")

        def interrupt(*arguments: object, **named: object) -> None:
            raise KeyboardInterrupt

        (tmp_path / "site.log").touch()
        monkeypatch.setattr(method, "Traffic", lambda site: type("T", (), {"calls": list})())
        run = _Run(Lab(quick=True), Site("http://127.0.0.1:1", Servers(), 0), Scale(1, 1, 1, ()))
        monkeypatch.setattr(run._loop, "run", interrupt)

        with pytest.raises(KeyboardInterrupt):
            run.outage("kill", 1.0)

        assert done == ["kill redis", "start redis"]
