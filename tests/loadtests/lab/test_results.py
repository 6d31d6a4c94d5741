"""Results: what is complete, and what survives the way through a file."""

import dataclasses
import datetime as dt
import math

import pytest

from config.charts import BarChart, LineChart
from loadtests.lab import results
from loadtests.lab.experiment import Outcome, Series
from loadtests.lab.results import Incomplete, UnreadableResult
from tests.loadtests import made_up
from tests.loadtests.made_up import EXPERIMENT, WELL, result


class TestCheck:
    def test_takes_what_is_complete(self):
        results.check(EXPERIMENT, made_up.findings(), [WELL])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda findings: findings.series.pop(0), "quicker: there is no series cached read"),
            (lambda findings: findings.series.append(findings.series[0]), "two series cached read"),
            (lambda findings: findings.quantities.clear(), "no quantity deep_page_ms"),
            (
                lambda findings: findings.rows.append(
                    dataclasses.replace(findings.rows.pop(), evidence=())
                ),
                "own names no series",
            ),
        ],
    )
    def test_refuses_what_is_not(self, change, message):
        findings = made_up.findings()
        change(findings)

        with pytest.raises(Incomplete, match=message):
            results.check(EXPERIMENT, findings, [WELL])

    def test_refuses_a_site_that_was_not_healthy(self):
        ill = dataclasses.replace(WELL, healthy=False, problems="such as 503")

        with pytest.raises(Incomplete, match=r"not healthy before \(both\) \(such as 503\)"):
            results.check(EXPERIMENT, made_up.findings(), [ill])


class TestWrite:
    def test_what_is_read_is_what_was_written(self, tmp_path):
        results.write(result(), tmp_path / "new")

        (read,) = results.read(tmp_path / "new")
        assert read == result()
        assert [type(chart) for chart in read.charts] == [LineChart, BarChart]
        assert read.started_at.tzinfo == dt.UTC

    def test_leaves_nothing_but_the_file(self, tmp_path):
        results.write(result(), tmp_path)

        assert [file.name for file in tmp_path.iterdir()] == ["made_up.json"]

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_refuses_what_is_no_number_and_keeps_the_old_file(self, tmp_path, bad):
        results.write(result(), tmp_path)
        odd = Series(name="odd", arm="both", unit="ms", values=(bad,))

        with pytest.raises(Incomplete, match="not finite"):
            results.write(dataclasses.replace(result(), series=(odd,)), tmp_path)

        assert results.read(tmp_path) == [result()]


class TestRead:
    def test_of_an_empty_folder_is_nothing(self, tmp_path):
        assert results.read(tmp_path) == []
        assert results.read(tmp_path / "absent") == []

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "truncated"),
            ("{", "truncated"),
            ("[]", "Expected `object`"),
            ("{}", "missing required field"),
            ('{"schema": 99}', "version 99; this program reads version 2"),
            ("\xff", "invalid"),
            ('{"experiment":' + "[" * 100_000, "recursion"),
        ],
    )
    def test_names_a_damaged_file_and_what_to_do(self, tmp_path, text, message):
        results.write(result(), tmp_path)
        (tmp_path / "broken.json").write_bytes(text.encode("latin-1"))

        with pytest.raises(UnreadableResult, match=message) as caught:
            results.read(tmp_path)

        assert "broken.json" in str(caught.value)
        assert "run the experiment again, or delete" in str(caught.value)

    def test_is_in_the_order_of_the_seed_module(self, tmp_path):
        first = dataclasses.replace(result().experiment, name="z_first", lines=(1, 2))
        results.write(result(), tmp_path)
        results.write(dataclasses.replace(result(), experiment=first), tmp_path)

        assert [result.name for result in results.read(tmp_path)] == ["z_first", "made_up"]


class TestResult:
    def test_counts_outcomes_and_tells_what_is_not_as_declared(self):
        odd = result(slow_ms=2000.0)

        assert [len(odd.with_outcome(outcome)) for outcome in Outcome] == [3, 0, 0]
        assert [row.expectation.key for row in odd.unexpected] == ["seconds"]

    def test_a_quick_run_may_be_declared_otherwise(self):
        quick = dataclasses.replace(result(), quick=True)

        assert [row.expectation.key for row in quick.unexpected] == ["own"]

    def test_names_neither_the_machine_nor_its_paths(self):
        text = str(result().environment)

        assert "/" not in text.replace("GNU/Linux", "")
