"""The costs of single parts, on small numbers."""

import re
from contextlib import nullcontext

import pytest

from config.stack.process import StackError
from loadtests.__main__ import main
from loadtests.bench import costs
from loadtests.generators.http_load import Call


class TestInvalidation:
    def test_is_measured_among_few_keys_and_many(self, site, monkeypatch):
        monkeypatch.setattr(costs, "WRITES", 5)
        monkeypatch.setattr(costs, "KEYS", (10, 1_000))

        table = costs.invalidation(site)

        assert table.row_count == 4
        assert list(table.columns[1].cells) == ["5"] * 4


class TestAudit:
    def test_runs_beside_reads_and_reports_no_stale_entry(self, site, monkeypatch):
        monkeypatch.setattr(costs, "AUDITED", 20)
        monkeypatch.setattr(costs, "AUDIT_ROUNDS", 1)
        monkeypatch.setattr(costs, "AUDIT_SECONDS", 0.5)

        table = costs.audit(site)

        assert table.row_count == 2
        assert "the median without: 0 stale in" in str(table.caption)


class TestSpool:
    def test_measures_each_place_and_leaves_none_behind(self, site, monkeypatch):
        monkeypatch.setattr(costs, "EVENTS", 20)
        monkeypatch.setattr(costs, "SPOOLED_EVENTS", 1_000)

        table = costs.spool(site)

        assert table.row_count == 7
        assert re.search("takes [0-9]+ events a second", str(table.caption))


class TestSampled:
    @pytest.mark.parametrize("part", ["hit", "put"])
    def test_the_parts_sum_to_the_whole(self, site, monkeypatch, part):
        monkeypatch.setattr(costs, "SAMPLED_SECONDS", 1.0)

        table = costs.PARTS[part](site)

        names, figures = (list(column.cells) for column in table.columns)
        *parts, whole = map(float, figures)
        assert sum(parts) == pytest.approx(whole, abs=0.1 * len(parts))
        assert {"cachelayer", "config"} & {name.partition("/")[0] for name in names}

    def test_a_request_that_fails_is_named(self, site):
        with pytest.raises(StackError, match="GET /nowhere: 404"):
            costs._sampled(site, "nothing", Call("", "/nowhere"))


class TestRun:
    def test_measures_one_part_by_its_name(self, site, monkeypatch, capsys):
        monkeypatch.setattr(costs, "running_site", lambda **_: nullcontext(site))
        monkeypatch.setattr(costs, "EVENTS", 20)
        monkeypatch.setattr(costs, "SPOOLED_EVENTS", 1_000)

        assert main(["costs", "spool"]) == 0
        assert "the spool" in capsys.readouterr().out

    def test_refuses_a_part_that_is_none(self):
        with pytest.raises(SystemExit):
            main(["costs", "everything"])
