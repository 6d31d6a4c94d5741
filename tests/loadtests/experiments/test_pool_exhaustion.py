"""The arithmetic of a queue before a pool, verdicts on made-up runs, and a server that is full."""

import dataclasses
import heapq
import itertools
import json
from collections import deque

import psycopg
import pytest

from config.stack import Stack
from loadtests.experiments.pool_exhaustion import EXPERIMENT, pool_control, queueing
from loadtests.experiments.pool_exhaustion.method import (
    CLIENTS,
    FULL,
    POOLS,
    FullServer,
    HoldRun,
    Leak,
    Observations,
    Overload,
    PoolLatency,
    Round,
)
from loadtests.experiments.pool_exhaustion.pool_control import PoolReading
from loadtests.generators.http_load import Sample
from loadtests.lab import results
from loadtests.lab.experiment import Outcome
from loadtests.testbed.site import Site

PROBLEM = json.dumps({"status": 503, "store": "postgres"}).encode()


def simulated(hold_ms: float, *, pool: int, acquire_ms: float, until_ms: float = 60_000) -> float:
    """Let CLIENTS ask again and again, first come first served; return the part that gives up."""
    turn = itertools.count()
    coming = [(hold_ms * number / CLIENTS, next(turn), "asks", 0) for number in range(CLIENTS)]
    waiting: deque[tuple[int, float]] = deque()
    free, served, given_up = pool, 0, 0
    numbers = itertools.count()
    gone: set[int] = set()
    while coming:
        now, _, what, number = heapq.heappop(coming)
        if now > until_ms:
            break
        if what == "asks":
            number = next(numbers)
            waiting.append((number, now))
            heapq.heappush(coming, (now + acquire_ms, next(turn), "gives up", number))
        elif what == "gives up":
            if number in gone:
                continue
            gone.add(number)
            waiting.remove(next(reading for reading in waiting if reading[0] == number))
            given_up += 1
            heapq.heappush(coming, (now, next(turn), "asks", 0))
        else:
            free += 1
            served += 1
            heapq.heappush(coming, (now, next(turn), "asks", 0))
        while free and waiting:
            number, _ = waiting.popleft()
            gone.add(number)
            free -= 1
            heapq.heappush(coming, (now + hold_ms, next(turn), "is served", 0))
    return given_up / (served + given_up)


class TestQueueing:
    def test_the_seeds_pool_breaks_at_222_ms(self):
        found = queueing.break_point_ms(clients=50, pool=5, acquire_ms=2000)

        assert found == pytest.approx(222.2, abs=0.1)

    def test_nobody_gives_up_where_each_client_has_a_connection(self):
        assert queueing.failure_ratio(1e6, clients=50, pool=50, acquire_ms=1) == 0

    @pytest.mark.parametrize("pool", POOLS)
    @pytest.mark.parametrize("share", [0.5, 0.8, 1.5, 2.0, 3.0])
    def test_a_simulation_comes_to_the_same(self, pool, share):
        most = queueing.break_point_ms(clients=CLIENTS, pool=pool, acquire_ms=1000)
        hold_ms = most * share

        predicted = queueing.failure_ratio(hold_ms, clients=CLIENTS, pool=pool, acquire_ms=1000)

        assert simulated(hold_ms, pool=pool, acquire_ms=1000) == pytest.approx(predicted, abs=0.06)

    def test_latency_goes_with_clients_and_against_the_pool(self):
        assert queueing.latency_ms(50, clients=50, pool=5) == 500
        assert queueing.latency_ms(50, clients=50, pool=100) == 50


class TestFullServer:
    def test_takes_every_connection_and_gives_it_back(self, stack: Stack):
        site = Site("http://127.0.0.1:1", stack, 0)
        url = stack.urls()["DATABASE_URL"]
        before = pool_control.refusals(site)

        with pytest.raises(KeyboardInterrupt), pool_control.full_server(site) as connections:
            assert connections > 0
            with pytest.raises(psycopg.OperationalError, match="connection"):
                psycopg.connect(url)
            raise KeyboardInterrupt

        assert pool_control.refusals(site) == before + 2  # the last connection, and this test
        with psycopg.connect(url) as connection:
            connection.execute("SELECT 1")


def sample(status: int = 200, latency_ms: float = 100.0) -> Sample:
    failed = status == 503
    return Sample(
        "list", 0.0, latency_ms, status, "", "1" if failed else "", PROBLEM if failed else b"{}"
    )


def reading(
    *, waiting: int = 45, active: int = 5, exhausted: int = 0, connections: int = 7
) -> PoolReading:
    return PoolReading(
        at=float(exhausted),
        active=active,
        idle=0,
        waiting=waiting,
        server_connections=connections,
        exhausted=exhausted,
        breaker_open=False,
        cached_read=200,
    )


def hold_run(pool: int, hold_ms: int, *, failed: int | None = None) -> HoldRun:
    predicted = queueing.failure_ratio(hold_ms, clients=CLIENTS, pool=pool, acquire_ms=1000)
    failures = round(100 * predicted) if failed is None else failed
    samples = [sample(503)] * failures + [sample()] * (100 - failures)
    return HoldRun(pool=pool, hold_ms=hold_ms, samples=samples)


@pytest.fixture
def observations() -> Observations:
    """What a full run is expected to see."""
    return Observations(
        acquire_ms=1000,
        rounds=[
            Round(pool=pool, samples=[sample()] * 100, seconds=1.0, readings=[reading(active=4)])
            for pool in POOLS * 3
        ],
        holds=[hold_run(pool, hold_ms) for hold_ms in FULL.hold_ms for pool in POOLS],
        pools=[
            PoolLatency(pool=pool, list_ms=[100.0] * 3, hold_ms=[2500.0 / pool] * 3)
            for pool in POOLS
        ],
        overload=Overload(
            readings=[reading(), reading(exhausted=21), reading(waiting=0, active=0, exhausted=21)],
            samples=[sample(503)] * 20 + [sample()] * 10,
            after=[sample()] * 10,
        ),
        leak=Leak(during=[sample(503)] * 2, readings=[reading()], after=[sample()] * 10),
        full=FullServer(
            other_connections=80,
            refused=30,
            samples=[sample()] * 50,
            reading=reading(connections=-1),
        ),
        refused=0,
    )


def outcome(observations: Observations, key: str) -> Outcome:
    return next(
        row.outcome
        for row in EXPERIMENT.expectations.judge(observations)
        if row.expectation.key == key
    )


def with_holds(observations: Observations, *holds: HoldRun) -> Observations:
    return dataclasses.replace(observations, holds=list(holds))


class TestFindings:
    def test_what_is_expected_comes_out_as_declared_and_is_whole(self, observations):
        findings = EXPERIMENT.findings(observations)

        results.check(EXPERIMENT, findings, [])
        assert [row.expectation for row in findings.rows] == list(EXPERIMENT.expectations)
        assert all(row.is_as_declared(quick=False) for row in findings.rows)
        assert findings.quantities["pool_utilization_of_5_percent"] == 80
        assert findings.quantities["pool_utilization_of_20_percent"] == 20

    def test_failures_of_the_seeds_load_confirm_that_requests_time_out(self, observations):
        rounds = [
            dataclasses.replace(turn, samples=[sample(503)] * 5 + [sample()] * 95)
            for turn in observations.rounds
        ]

        other = dataclasses.replace(observations, rounds=rounds)
        assert outcome(other, "requests-time-out") is Outcome.CONFIRMED

    @pytest.mark.parametrize(
        ("key", "slow_ms", "expected"),
        [
            ("latency-jumps", 400.0, Outcome.CONFIRMED),
            ("latency-jumps", 300.0, Outcome.INCONCLUSIVE),
            ("latency-jumps", 110.0, Outcome.REFUTED),
        ],
    )
    def test_latency_is_judged_by_its_interval(self, observations, key, slow_ms, expected):
        rounds = [
            dataclasses.replace(turn, samples=[sample(latency_ms=slow_ms)] * 100)
            if turn.pool == 5
            else turn
            for turn in observations.rounds
        ]

        assert outcome(dataclasses.replace(observations, rounds=rounds), key) is expected

    def test_a_much_higher_rate_of_the_large_pool_refutes_the_formula(self, observations):
        rounds = [
            dataclasses.replace(turn, seconds=1.0 if turn.pool == 20 else 3.0)
            for turn in observations.rounds
        ]

        assert (
            outcome(dataclasses.replace(observations, rounds=rounds), "formula") is Outcome.REFUTED
        )

    def test_failures_below_the_break_point_refute_it(self, observations):
        holds = [hold_run(5, 30, failed=20), hold_run(20, 30), hold_run(5, 300), hold_run(20, 300)]

        assert outcome(with_holds(observations, *holds), "break-point") is Outcome.REFUTED

    def test_a_sweep_on_one_side_tells_nothing_of_the_break_point(self, observations):
        holds = [hold_run(5, 30), hold_run(20, 30)]

        assert outcome(with_holds(observations, *holds), "break-point") is Outcome.INCONCLUSIVE

    def test_a_large_pool_that_fails_as_well_does_not_recover(self, observations):
        holds = [hold_run(5, 300), hold_run(20, 300, failed=30)]

        assert outcome(with_holds(observations, *holds), "larger-pool-recovers") is Outcome.REFUTED

    def test_a_failure_that_is_no_proper_timeout_refutes_it(self, observations):
        bare = Sample("list", 0.0, 1000.0, 500)

        overload = dataclasses.replace(observations.overload, samples=[sample(503), bare])
        other = dataclasses.replace(observations, overload=overload)
        assert outcome(other, "connection-timeout") is Outcome.REFUTED

    @pytest.mark.parametrize(
        ("key", "change"),
        [
            ("pool-metrics", {"waiting": 10}),
            ("connection-count", {"server_connections": 30}),
            ("errors-counted", {"exhausted": 0}),
            ("recovers-alone", {"waiting": 3}),
            ("not-an-outage", {"breaker_open": True}),
            ("not-an-outage", {"cached_read": 503}),
        ],
    )
    def test_other_readings_refute(self, observations, key, change):
        readings = [
            dataclasses.replace(reading, **change) for reading in observations.overload.readings
        ]

        overload = dataclasses.replace(observations.overload, readings=readings)
        assert outcome(dataclasses.replace(observations, overload=overload), key) is Outcome.REFUTED

    def test_answers_while_all_connections_leak_refute_that(self, observations):
        leak = dataclasses.replace(observations.leak, during=[sample(503), sample()])

        assert outcome(dataclasses.replace(observations, leak=leak), "leaks") is Outcome.REFUTED

    def test_a_refusal_under_the_seeds_load_confirms_that_the_database_rejects(self, observations):
        other = dataclasses.replace(observations, refused=3)

        assert outcome(other, "database-rejects") is Outcome.CONFIRMED

    def test_failures_on_a_full_server_refute_that_the_pool_goes_on(self, observations):
        full = dataclasses.replace(observations.full, samples=[sample(503)] * 50)

        other = dataclasses.replace(observations, full=full)
        assert outcome(other, "refused-beyond-max") is Outcome.REFUTED
