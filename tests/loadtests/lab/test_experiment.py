"""Expectations: declared beside their tests, judged once each, in order."""

import pytest

from loadtests.lab.experiment import Expectations, Outcome, Verdict


@pytest.fixture
def expectations() -> Expectations[float]:
    declared = Expectations[float]()

    @declared.declare("It is quick.", threshold="below 10 ms", line=7)
    def is_quick(latency_ms: float) -> Verdict:
        return Verdict(None if latency_ms == 10 else latency_ms < 10, f"{latency_ms} ms", ["reads"])

    @declared.declare(
        "It takes seconds.", threshold="above 1 s", declared=Outcome.REFUTED, because="It is small."
    )
    def takes_seconds(latency_ms: float) -> Verdict:
        return Verdict(latency_ms > 1000, f"{latency_ms} ms", ["reads"])

    return declared


class TestDeclare:
    def test_names_an_expectation_after_its_test(self, expectations):
        quick, slow = expectations

        assert (quick.key, quick.line, quick.declared) == ("is-quick", 7, Outcome.CONFIRMED)
        assert (slow.key, slow.line, slow.declared) == ("takes-seconds", None, Outcome.REFUTED)

    def test_refuses_a_second_one_of_the_same_name(self, expectations):
        with pytest.raises(ValueError, match="two expectations are called is-quick"):

            @expectations.declare("It is quick again.", threshold="below 5 ms")
            def is_quick(latency_ms: float) -> Verdict:
                return Verdict(True, "", [])


class TestJudge:
    @pytest.mark.parametrize(
        ("latency_ms", "outcomes"),
        [
            (2.0, [Outcome.CONFIRMED, Outcome.REFUTED]),
            (10.0, [Outcome.INCONCLUSIVE, Outcome.REFUTED]),
            (2000.0, [Outcome.REFUTED, Outcome.CONFIRMED]),
        ],
    )
    def test_gives_one_row_to_each_in_order(self, expectations, latency_ms, outcomes):
        rows = expectations.judge(latency_ms)

        assert [row.expectation for row in rows] == list(expectations)
        assert [row.outcome for row in rows] == outcomes
        assert {row.observed for row in rows} == {f"{latency_ms} ms"}
