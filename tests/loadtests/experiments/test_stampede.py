"""Judging a stampede on made-up bursts."""

import dataclasses

import pytest
import redis

from loadtests.experiments.stampede import EXPERIMENT
from loadtests.experiments.stampede.method import (
    AT_ONCE,
    LOADS_MS,
    REQUESTS,
    Burst,
    EvenArrivals,
    Observations,
    _sets_counted,
)
from loadtests.generators.http_load import Sample
from loadtests.lab.experiment import Outcome
from tests.cachelayer.test_read import Loads, get_or_load, key

LONGEST = LOADS_MS[-1]


def burst(arm: str, load_ms: int, *, lookups: int, processes: int) -> Burst:
    loaded = [answer("fwd=uri-miss; stored", at=0, ms=load_ms + 5) for _ in range(lookups)]
    others = "fwd=uri-miss; collapsed; stored"
    samples = loaded + [answer(others, at=0.01, ms=load_ms + 5) for _ in range(REQUESTS - lookups)]
    return Burst(
        arm=arm,
        load_ms=load_ms,
        samples=samples,
        lookups=lookups,
        busy_ms=float(lookups * (load_ms + 1)),
        peak=lookups if load_ms else 0,
        writers=[number % processes for number in range(lookups)],
        after=answer("hit; ttl=299", at=0, ms=1),
        statements_after=0,
    )


def answer(cache: str, *, at: float, ms: float) -> Sample:
    return Sample("", at, ms, 200, cache, body=b"{}")


@pytest.fixture
def observations() -> Observations:
    return Observations(
        alone_ms=[4.0, 5.0, 6.0],
        bursts=[
            burst(arm, load_ms, lookups=lookups, processes=4)
            for _ in range(3)
            for load_ms in (0, LONGEST)
            for arm, lookups in (("off", AT_ONCE - 2), ("process", 4), ("on", 1))
        ],
        even=[
            EvenArrivals(arm, load_ms, 40, lookups)
            for arm, load_ms, lookups in (
                ("off", 0, 2),
                ("on", 0, 1),
                ("off", 100, 12),
                ("on", 100, 1),
            )
        ],
    )


def outcomes(observations: Observations) -> dict[str, Outcome]:
    return {row.expectation.key: row.outcome for row in EXPERIMENT.findings(observations).rows}


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
        assert findings.charts[0].title.endswith(
            "are 48 queries without single flight and 1 with it"
        )

    def test_a_second_query_with_prevention_refutes_it(self, observations):
        broken = burst("on", LONGEST, lookups=2, processes=2)
        observations.bursts[-1] = broken

        by_key = outcomes(observations)

        assert {key for key, outcome in by_key.items() if outcome is Outcome.REFUTED} == {
            "one-query",
            "others-wait",
            "connections-spike",
            "writes",
            "process-is-enough",
        }

    @pytest.mark.parametrize(
        ("change", "key"),
        [
            ({"samples": [answer("hit", at=0, ms=1)] * REQUESTS}, "others-wait"),
            ({"samples": [answer("hit", at=0, ms=1)] * (REQUESTS - 1)}, "all-share"),
            ({"after": answer("fwd=uri-miss; stored", at=0, ms=5)}, "heals"),
            ({"statements_after": 1}, "database-normal"),
        ],
    )
    def test_one_burst_that_is_not_so_refutes(self, observations, change, key):
        observations.bursts[-1] = dataclasses.replace(observations.bursts[-1], **change)

        assert outcomes(observations)[key] is Outcome.REFUTED

    def test_without_a_stampede_nothing_of_it_is_confirmed(self, observations):
        observations.bursts = [
            burst(old.arm, old.load_ms, lookups=1, processes=1) for old in observations.bursts
        ]

        by_key = outcomes(observations)

        for name in ("many-queries", "database-load", "several-writers", "connections-spike"):
            assert by_key[name] is Outcome.REFUTED, name

    def test_a_few_queries_are_neither_many_nor_one(self, observations):
        observations.bursts = [
            burst(old.arm, old.load_ms, lookups=3 if old.arm == "off" else 1, processes=2)
            for old in observations.bursts
        ]

        assert outcomes(observations)["many-queries"] is Outcome.INCONCLUSIVE


class TestPredictedLookups:
    def test_are_the_first_and_what_arrives_during_its_load(self, observations):
        assert observations.predicted_lookups(100) == pytest.approx(1 + 100 * 0.105)


@pytest.mark.django_db(transaction=True)
def test_a_write_is_that_of_the_entry_and_not_of_its_lease_or_record(stack):
    """All of them are made by scripts of the cache, under names that end alike."""
    with (
        redis.Redis.from_url(stack.operator_urls()["REDIS_URL"]) as operator,
        _sets_counted(operator, f":{key().name}") as ports,
    ):
        get_or_load(key(), Loads())

    assert len(ports) == 1
