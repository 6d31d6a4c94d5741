"""The judgement of the cluster's drills; the drills themselves run in tests/config/stack/test_cluster.py."""

import dataclasses
import math

import pytest

from config.stack.cluster import Cluster
from config.stack.process import StackError
from loadtests.drills.cluster import EXPERIMENT
from loadtests.drills.cluster.expectations import HOST_SECONDS, PARTITION_SECONDS, PROCESS_SECONDS
from loadtests.drills.cluster.hammer import Operation, Register, longest_gap_s
from loadtests.drills.cluster.instances import GENERATOR, PROCESSORS, Reading, Scale, Turn
from loadtests.drills.cluster.method import (
    DRILLS,
    INSTANCES,
    PARTITIONS,
    ClusterLab,
    DrillRun,
    Observations,
    observe,
)
from loadtests.drills.cluster.nodes import PARTS, SITES
from loadtests.generators.wrk import Load
from loadtests.lab.experiment import Outcome


def write(began_s: float, status: int = 200, **facts: object) -> Operation:
    operation = Operation("note", True, began_s, began_s + 0.1, status)
    return dataclasses.replace(operation, **facts)


def run_of(*operations: Operation, lost: int = 0) -> DrillRun:
    steady = [write(number / 10) for number in range(10)]
    return DrillRun([*steady, *operations], broken_s=1.0, failed_s=1.2, mended_s=2.0, lost=lost)


def outcomes(observations: Observations) -> dict[str, Outcome]:
    rows = EXPERIMENT.findings(observations).rows
    return {row.expectation.key: row.outcome for row in rows}


class TestNeeds:
    @pytest.mark.parametrize(
        ("drill", "package"), [("site-without-redis", "nftables"), (INSTANCES, "wrk")]
    )
    def test_a_program_that_is_missing_is_named_before_anything_starts(
        self, monkeypatch, tmp_path, drill, package
    ):
        monkeypatch.setattr("shutil.which", lambda name: None)
        lab = ClusterLab(Cluster("drills", root=tmp_path), ["site-killed", drill], print)

        with pytest.raises(StackError, match=f"apt-get install {package}"):
            observe(lab)
        assert list(tmp_path.iterdir()) == []


class TestRegister:
    def test_may_return_an_older_number_only_where_its_write_may_be_late(self):
        register = Register("note", "/", "user", acknowledged=5, unknown={3})

        assert [number for number in range(8) if register.allows(number, 5)] == [3, 5, 6, 7]


class TestLongestGap:
    def test_is_between_acknowledged_writes(self):
        operations = [write(0), write(1, 503), write(3), write(3.5)]

        assert longest_gap_s(operations, lambda one: True) == pytest.approx(3)

    def test_of_a_single_one_is_endless(self):
        assert longest_gap_s([write(0)], lambda one: True) == math.inf


class TestExpectations:
    def test_what_was_not_run_is_inconclusive(self):
        assert set(outcomes(Observations()).values()) == {Outcome.INCONCLUSIVE}

    @pytest.mark.parametrize("name", ["site-stopped", "rolling-restart", "redis-killed"])
    @pytest.mark.parametrize(
        ("run", "outcome"),
        [
            (run_of(write(1.5)), Outcome.CONFIRMED),
            (run_of(write(1.5, 502)), Outcome.REFUTED),
            (run_of(write(1.5, stale=True, is_write=False)), Outcome.REFUTED),
            (run_of(write(1.5), lost=1), Outcome.REFUTED),
        ],
        ids=["nothing", "failed", "stale", "lost"],
    )
    def test_nothing_may_fail(self, name, run, outcome):
        assert outcomes(Observations({name: run}))[name] == outcome

    @pytest.mark.parametrize("name", PARTITIONS)
    @pytest.mark.parametrize(
        ("operation", "outcome"),
        [
            (write(1.5, 503, retry_after="1"), Outcome.CONFIRMED),
            (write(1.5, 503), Outcome.REFUTED),
            (write(1.5, 504), Outcome.REFUTED),
            (write(1.5, stale=True, is_write=False), Outcome.REFUTED),
            (write(1.5, ended_s=1.6 + PARTITION_SECONDS), Outcome.REFUTED),
        ],
        ids=["refused", "no Retry-After", "failed", "stale", "late"],
    )
    def test_behind_a_partition_answers_are_correct_or_refused(self, name, operation, outcome):
        assert outcomes(Observations({name: run_of(operation)}))[name] == outcome

    def test_what_a_killed_site_was_answering_may_fail(self):
        assert (
            outcomes(Observations({"site-killed": run_of(write(1.1, 502))}))["site-killed"]
            == Outcome.CONFIRMED
        )
        assert (
            outcomes(Observations({"site-killed": run_of(write(1.3, 502))}))["site-killed"]
            == Outcome.REFUTED
        )

    @pytest.mark.parametrize(
        ("name", "seconds"),
        [("postgres-killed", PROCESS_SECONDS), ("postgres-host-killed", HOST_SECONDS)],
    )
    def test_writes_must_be_acknowledged_again_in_time(self, name, seconds):
        soon, late = write(0.8 + seconds), write(1.1 + seconds)

        assert outcomes(Observations({name: run_of(soon)}))[name] == Outcome.CONFIRMED
        assert outcomes(Observations({name: run_of(late)}))[name] == Outcome.REFUTED

    @pytest.mark.parametrize(
        "rude",
        [
            write(1.5, 503),
            write(1.5, 500, retry_after="1"),
            write(1.5, 503, retry_after="1", ended_s=6.0),
        ],
        ids=["no Retry-After", "another status", "late"],
    )
    def test_a_refusal_must_be_polite(self, rude):
        polite = write(1.5, 503, retry_after="1")

        observed = [
            outcomes(Observations({"postgres-killed": run_of(*some)}))
            for some in ((polite,), (polite, rude))
        ]
        assert [one["refused-politely"] for one in observed] == [
            Outcome.CONFIRMED,
            Outcome.REFUTED,
        ]

    @pytest.mark.parametrize(
        ("before", "outcome"),
        [
            ([write(1.1, is_write=False)], Outcome.REFUTED),
            ([write(1.1, is_write=False), write(1.3)], Outcome.CONFIRMED),
            ([write(1.1, is_write=False), write(1.3, 503, retry_after="1")], Outcome.CONFIRMED),
            ([write(1.1, is_write=False), write(1.45)], Outcome.CONFIRMED),
            ([write(1.05, 503, retry_after="1"), write(1.2, is_write=False)], Outcome.REFUTED),
            ([write(1.1, is_write=False, path="/other")], Outcome.CONFIRMED),
        ],
        ids=[
            *("read since it was written", "written since", "may have been written since"),
            *("being written", "read since it may have been written", "another was read"),
        ],
    )
    def test_a_read_may_be_refused_only_where_there_is_no_copy(self, before, outcome):
        refused = write(1.5, 503, retry_after="1", is_write=False)
        run = run_of(*before, refused)

        assert outcomes(Observations({"postgres-killed": run}))["refused-politely"] == outcome

    @pytest.mark.parametrize(
        ("text", "outcome"),
        [
            (
                "3 acknowledged, 3 stored, 0 waiting, 0 dropped, 0 lost, 0 doubled",
                Outcome.CONFIRMED,
            ),
            ("3 acknowledged, 2 stored, 0 waiting, 0 dropped, 1 lost, 0 doubled", Outcome.REFUTED),
        ],
    )
    def test_no_event_may_be_lost(self, text, outcome):
        assert outcomes(Observations(reconciled=[text]))["events-kept"] == outcome

    def test_each_drill_is_judged(self):
        of_instances = {"processors-bound-instances", "same-time-per-request", "memory-of-four"}
        assert {*DRILLS, "events-kept", "refused-politely"} | of_instances == {
            expectation.key for expectation in EXPERIMENT.expectations
        }


def scale_of(
    instances: int,
    *,
    requests: int = 1000,
    idle: float = 0.0,
    others: float = 0.0,
    request_us: float = 500.0,
    memory_mib: float = 1000.0,
) -> Scale:
    """So many instances under a load of one second; idle, others: shares of the machine."""
    resting = dict.fromkeys([*PARTS, GENERATOR], 0.01)
    own_s = (1 - idle - others) * PROCESSORS
    instances_s = 0.01 + requests * request_us / 1e6
    parts = resting | {SITES: instances_s}
    parts["balancer"] = own_s - sum(value for part, value in parts.items() if part != "balancer")
    turn = Turn(
        Load(requests, 1.0, 10.0, 20.0, 0),
        Reading(dict.fromkeys(parts, 0.0), 0.0, 0.0),
        Reading(parts, idle * PROCESSORS, 1.0),
    )
    return Scale(instances, resting, [turn, turn], memory_mib)


class TestScale:
    def test_takes_off_a_request_what_is_used_at_rest(self):
        assert scale_of(1, request_us=300).processor_us(SITES) == pytest.approx([300, 300])

    def test_counts_what_other_programs_use(self):
        assert scale_of(1, idle=0.2, others=0.3).others == pytest.approx(0.3)

    @pytest.mark.parametrize(
        ("scale", "bound"),
        [
            (scale_of(1, request_us=700 * PROCESSORS - 10), "processors, 70% by instances"),
            (scale_of(1, idle=0.2, request_us=900), "one processor for each instance's Python"),
            (scale_of(2, idle=0.2, request_us=900), "not the processors"),
        ],
        ids=["processors", "interpreter", "neither"],
    )
    def test_names_the_bound(self, scale, bound):
        assert scale.bound == bound


class TestExpectationsOfInstances:
    @pytest.mark.parametrize(
        ("scales", "outcome"),
        [
            ([scale_of(2), scale_of(4, requests=1100)], Outcome.CONFIRMED),
            ([scale_of(2), scale_of(4, requests=1200)], Outcome.REFUTED),
            (
                [scale_of(1, idle=0.3), scale_of(2, requests=1500), scale_of(4, requests=1500)],
                Outcome.CONFIRMED,
            ),
            ([scale_of(1, idle=0.3), scale_of(2, idle=0.3)], Outcome.INCONCLUSIVE),
            ([scale_of(2), scale_of(4, others=0.2)], Outcome.INCONCLUSIVE),
        ],
        ids=["no gain", "a gain", "a gain while idle", "never busy", "a busy machine"],
    )
    def test_more_requests_only_while_processors_are_idle(self, scales, outcome):
        observed = outcomes(Observations(scales=scales))

        assert observed["processors-bound-instances"] == outcome

    @pytest.mark.parametrize(
        ("last", "outcome"),
        [
            (scale_of(4, request_us=600), Outcome.CONFIRMED),
            (scale_of(4, request_us=700), Outcome.REFUTED),
            (scale_of(4, others=0.2), Outcome.INCONCLUSIVE),
        ],
        ids=["the same", "more", "a busy machine"],
    )
    def test_the_same_processor_time_per_request(self, last, outcome):
        scales = [scale_of(1), last]

        assert outcomes(Observations(scales=scales))["same-time-per-request"] == outcome

    @pytest.mark.parametrize(
        ("memory_mib", "outcome"), [(4095.0, Outcome.CONFIRMED), (4096.0, Outcome.REFUTED)]
    )
    def test_memory_of_all(self, memory_mib, outcome):
        scales = [scale_of(1), scale_of(4, memory_mib=memory_mib)]

        assert outcomes(Observations(scales=scales))["memory-of-four"] == outcome

    def test_name_series_that_there_are(self):
        findings = EXPERIMENT.findings(Observations(scales=[scale_of(1), scale_of(4)]))

        [table] = findings.tables
        assert [row[0] for row in table.rows] == ["1", "4"]
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert {name for row in findings.rows for name in row.evidence} == {
            one.name for one in findings.series
        }
