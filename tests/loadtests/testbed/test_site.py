"""The load tests against a real site on servers of their own."""

from collections import Counter
from contextlib import nullcontext

import pytest

import loadtests.__main__
from config.stack import Stack
from loadtests.__main__ import main
from loadtests.drills import event_loss, outage_costs, store_outage
from loadtests.generators.http_load import Sample
from loadtests.testbed.faults import fault_named
from loadtests.testbed.workers import running_workers


@pytest.fixture(scope="module")
def workers():
    with running_workers("smoke-workers", store_outage.WORKERS) as running:
        yield running
    running.stack.reset()


class TestOutage:
    def test_no_event_is_lost_while_mongodb_is_down_and_a_worker_dies(
        self, site, monkeypatch, capsys
    ):
        monkeypatch.setattr(loadtests.__main__, "running_site", lambda **_: nullcontext(site))
        monkeypatch.setattr(event_loss, "BEFORE_SECONDS", 1.0)
        monkeypatch.setattr(event_loss, "OUTAGE_SECONDS", 4.0)
        monkeypatch.setattr(event_loss, "AFTER_SECONDS", 1.0)

        assert main(["activity-outage"]) == 0, capsys.readouterr().out

    def test_what_is_missing_or_twice_there_is_told(self):
        samples = [Sample(f"r-{number}", 0, 1, 200) for number in range(3)]
        samples.append(Sample("r-3", 0, 1, 0))

        outcome = event_loss._outcome(samples, Counter({"r-0": 1, "r-1": 2, "r-9": 1}), 1, "")

        assert (outcome.lost, outcome.duplicated, outcome.unknown) == (1, 1, 1)
        assert (outcome.answered, outcome.unanswered) == (3, 1)
        assert not event_loss.holds(outcome)


class TestDrill:
    @pytest.mark.parametrize(
        ("server", "fault"),
        [
            ("redis", "Redis paused"),
            ("redis", "writes refused: NOREPLICAS"),
            ("postgres", "PostgreSQL killed"),
        ],
    )
    def test_tells_what_requests_saw_and_judges_it(self, workers, server, fault, monkeypatch):
        monkeypatch.setattr(store_outage, "BEFORE_SECONDS", 1.0)
        monkeypatch.setattr(store_outage, "DURING_SECONDS", 2.5)  # longer than the lease
        monkeypatch.setattr(store_outage, "AFTER_SECONDS", 3.0)

        run = store_outage.run_fault(workers, server, fault_named(fault))

        assert all(run.phases.values())
        assert store_outage.timeline(run).row_count == 30
        by_promise = {verdict.promise: verdict for verdict in store_outage.verdicts(run)}
        assert by_promise["before: every request is answered"].holds
        stale = [verdict for promise, verdict in by_promise.items() if "stale read" in promise]
        assert len(stale) == 1
        assert stale[0].holds
        assert {server.state for server in workers.stack.status()} == {"running"}

    def test_each_fault_of_each_server_has_its_verdicts(self):
        drilled = [fault.name for _, fault in store_outage.faults()]

        assert len(drilled) == len(set(drilled)) == 13
        assert [fault.name for _, fault in store_outage.faults("mongodb")] == drilled[-2:]

    def test_shows_what_an_outage_costs(self, workers, monkeypatch):
        for name in ("BEFORE_SECONDS", "DURING_SECONDS", "AFTER_SECONDS"):
            monkeypatch.setattr(outage_costs, name, 2.0)

        costs = outage_costs.measure(workers, fault_named("Redis paused"))

        assert costs.queries_during > costs.queries_before
        assert all((costs.writes_before, costs.writes_at_first, costs.writes_later))
        assert len(costs.hits_back) == len(workers.workers)
        assert outage_costs.as_table([costs]).row_count == 1


class TestMain:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["nothing"],
            ["bench", "--seconds", "0"],
            ["bench", "--rounds", "0"],
            ["bench", "--compare", "HEAD", "--write-docs", "docs/benchmarks.md"],
            ["load", "--fail-ratio", "2"],
            ["load", "--users", "0"],
            ["load", "--kind", "nobody"],
        ],
    )
    def test_refuses_what_it_does_not_know(self, arguments, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)

        assert stopped.value.code == 2
        assert "usage" in capsys.readouterr().err

    def test_a_stack_that_does_not_start_is_one_line(self, monkeypatch, capsys):
        monkeypatch.setattr(Stack, "up", lambda self: Stack("NO"))

        assert main(["bench"]) == 1
        assert capsys.readouterr().err.startswith("bench: --name NO")
