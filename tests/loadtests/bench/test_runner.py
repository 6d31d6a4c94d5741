"""The bench: every arm is what it claims to be, and the figures go where they belong."""

import json
import re
from collections import Counter
from contextlib import nullcontext

import psycopg
import pytest

from config.stack import ROOT
from loadtests.__main__ import main
from loadtests.bench import cli as bench_cli
from loadtests.bench import report, scenarios
from loadtests.bench.peers import BARE, CACHEOPS, DRF, SITE
from loadtests.bench.report import MARKERS
from loadtests.bench.runner import Figures, Plan, bench, measure
from loadtests.bench.scenarios import Arm
from loadtests.docs import scale
from loadtests.generators import wrk
from loadtests.generators.http_load import Call, UnexpectedResponse, send_once
from loadtests.testbed.processor import APPLICATION, POSTGRES, Processor

PLAN = Plan(seconds=0.5, rounds=1, rate=50, seed=1, divisor=50)
FACTS = {"date": "2026-11-24"}


def servers_of(figures: Figures) -> list[tuple[str, str]]:
    return [(row.arm, row.server) for row in figures.saturations]


@pytest.fixture(scope="module")
def figures(site):
    return bench(site, PLAN)


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{MARKERS.begin}\nold\n{MARKERS.end}\nafter\n")
    return path


@pytest.fixture
def unstarted(monkeypatch):
    """No site may be started."""
    monkeypatch.setattr(bench_cli, "_fresh_site", lambda *args, **options: pytest.fail("no!"))


class TestBench:
    def test_measures_every_arm_as_what_it_claims_to_be(self, figures):
        named = {path.arm: path for path in figures.paths}

        assert all(path.requests > 0 and path.errors == 0 for path in figures.paths)
        assert all(path.p50_ms <= path.p95_ms <= path.p99_ms for path in figures.paths)
        assert {path.baseline for path in figures.paths} <= set(named)
        assert named["cached read"].p50_ratio.value == 1.0
        assert all(len(path.rounds_p50_ms) == 1 for path in figures.paths)

    def test_measures_the_same_at_the_peers(self, figures):
        reads = {server for arm, server in servers_of(figures) if arm == "cached read"}

        assert reads == {SITE, BARE, DRF, CACHEOPS}
        assert {arm for arm, server in servers_of(figures) if server == DRF} == {
            *("cached read", "cached page", "mix", "uncached read", "note created"),
            "note replaced",
        }
        assert all(row.requests_per_second > 0 and row.errors == 0 for row in figures.saturations)
        assert all(row.processor_us[APPLICATION] > 0 for row in figures.saturations)
        replaced = figures.saturation("note replaced", SITE)
        assert replaced.processor_us[POSTGRES] > 0

    def test_leaves_no_note_that_it_created(self, figures, site):
        with psycopg.connect(site.stack.operator_urls()["DATABASE_URL"]) as connection:
            row = connection.execute(
                "SELECT count(*) FROM notes WHERE user_id = 'bench' AND title = 'Created'"
            ).fetchone()

        assert row == (0,)

    def test_the_mix_is_of_95_4_and_1_percent(self, site):
        mix = next(arm for arm in scenarios.arms(site) if arm.name == scenarios.MIX)
        sent = Counter(
            mix.calls[index].method + ("?" if "?" in mix.calls[index].path else "")
            for index in mix.order
        )

        assert sent == {"GET": 9_500, "GET?": 400, "PUT": 100}

    def test_runs_the_lines_of_ab(self, figures):
        runs = [(run.run, run.requests, run.concurrency) for run in figures.counts]

        assert runs == [  # of 1000 at 10 or 50, and 100 at 50, a fiftieth
            ("a note", 20, 10),
            ("a note, without the cache", 20, 10),
            ("a note, warm key", 2, 2),
            ("a note, cold key", 2, 2),
            ("/profiles/mongo", 20, 10),
            ("/profiles/postgres", 20, 10),
            ("/notes", 20, 20),
            ("/notes, without the cache", 20, 20),
        ]
        assert {run.baseline for run in figures.counts} <= {run.run for run in figures.counts}
        assert not any(run.errors for run in figures.counts)

    def test_at_full_length_they_are_the_seed_modules(self, site):
        runs = [(run.requests, run.concurrency) for run in scenarios.fixed_counts(site)]

        assert set(runs) == {(1000, 10), (100, 50), (1000, 50)}

    def test_refuses_an_arm_that_is_another(self, site):
        samples = [send_once(site.url, Call("x", "/nowhere"))] * 3

        with pytest.raises(UnexpectedResponse, match="were not 200 hit, such as 404"):
            scenarios.check("x", samples, status=200, cache="hit")

    def test_refuses_an_arm_that_fails(self, site):
        arm = Arm("x", (Call("", "/nowhere"),), "x", status=404)

        with pytest.raises(UnexpectedResponse, match=r"x at http.*requests failed"):
            measure(site, Processor(site), arm, PLAN, 0)


class TestReport:
    def test_is_the_same_as_tables_json_and_markdown(self, figures):
        how = {"command": "bench", "rate": 50, "facts": FACTS}

        saturations, reached, paths, counts = report.tables(figures, **how)
        document = json.loads(report.as_json(figures, **how))
        written = report.as_markdown(figures, **how)

        rows = len(figures.saturations), len(figures.paths), len(figures.counts)
        assert (saturations.row_count, paths.row_count, counts.row_count) == rows
        assert tuple(len(document[name]) for name in ("saturations", "paths", "counts")) == rows
        assert len(re.findall("^[|]", written, re.M)) == sum(rows) + reached.row_count + 8

    def test_the_docs_have_a_row_for_each_arm_and_no_other(self, figures):
        text = (ROOT / "docs" / "benchmarks.md").read_text()
        written = text[text.index(MARKERS.begin) : text.index(MARKERS.end)]

        assert re.findall(r"^\| (?!request|run|---)([^|]+?) \| \d", written, re.M) == [
            path.arm for path in figures.paths
        ]
        servers = "|".join({re.escape(row.server) for row in figures.saturations})
        assert re.findall(rf"^\| ([^|]+?) \| ({servers}) \|", written, re.M) == servers_of(figures)
        assert re.findall(r"^\| -n \d+ -c \d+ \| ([^|]+?) \|", written, re.M) == [
            run.run for run in figures.counts
        ]

    def test_tells_where_the_rate_is_no_longer_well_below_the_throughput(self, figures):
        rows = report._path_rows(figures, rate=1e6)

        assert all("too high" in row[-2] for row in rows)

    def test_knows_its_circumstances(self, site):
        facts = report.circumstances(site)

        assert "PostgreSQL" in facts["versions"]
        assert "cores" in facts["machine"]


class TestWriteDocs:
    def test_marks_are_asked_for_before_anything_is_measured(self, tmp_path, unstarted, capsys):
        page = tmp_path / "page.md"
        page.write_text(f"{MARKERS.end} {MARKERS.begin}")

        assert main(["bench", "--write-docs", str(page)]) == 1
        assert main(["bench", "--write-docs", str(tmp_path / "none.md")]) == 1
        assert capsys.readouterr().err.count("it needs a line") == 2


class TestCommand:
    def test_writes_what_it_measured(self, site, figures, page, tmp_path, monkeypatch, capsys):
        plans = []
        monkeypatch.setattr(bench_cli, "_fresh_site", lambda *args, **options: nullcontext(site))
        monkeypatch.setattr(
            bench_cli.runner, "bench", lambda site, plan: plans.append(plan) or figures
        )
        file = tmp_path / "figures.json"

        assert main(["bench", "--quick", "--json", str(file), "--write-docs", str(page)]) == 0

        command = "python -m loadtests bench --quick --seconds 0.5 --rounds 1 --rate 50 --notes 1000 --seed 1"
        assert plans == [Plan(seconds=0.5, rounds=1, rate=50, seed=1, divisor=10)]
        assert json.loads(file.read_text())["command"] == command
        assert f"`{command}`" in page.read_text()
        printed = capsys.readouterr().out
        assert "cached read" in printed
        assert "the figures mean nothing" in printed

    def test_fills_in_the_page_that_computes_with_it(
        self, site, figures, page, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.setattr(bench_cli, "_fresh_site", lambda *args, **options: nullcontext(site))
        monkeypatch.setattr(bench_cli.runner, "bench", lambda site, plan: figures)
        page = page.rename(tmp_path / scale.BENCHMARKS)
        computed = tmp_path / scale.PAGE
        computed.write_text(f"before\n{scale.MARKERS.begin}\nold\n{scale.MARKERS.end}\nafter\n")
        sizes = tmp_path / scale.SIZES
        sizes.parent.mkdir()
        sizes.write_text((scale.FOLDER / scale.SIZES).read_text())

        assert main(["bench", "--quick", "--write-docs", str(page)]) == 0

        assert scale.table(tmp_path) in computed.read_text()

    def test_says_how_to_install_wrk_before_anything_is_started(
        self, unstarted, monkeypatch, capsys
    ):
        monkeypatch.setattr(wrk.shutil, "which", lambda name: None)

        assert main(["bench"]) == 1
        assert "apt-get install wrk" in capsys.readouterr().err
