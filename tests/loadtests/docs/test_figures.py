"""The quantitative results: from files of measurements to a page."""

import json
from contextlib import nullcontext

import pytest

from loadtests.__main__ import main
from loadtests.bench import report
from loadtests.bench.runner import Figure, Figures
from loadtests.docs import cli as docs_cli
from loadtests.docs import figures
from loadtests.docs.figures import BENCH, MARKERS, MIX, InvalidMeasurements
from loadtests.generators import mixed_workload
from loadtests.generators.mixed_workload import Meters
from loadtests.markers import MissingMarkers
from loadtests.stats import Ratio

BEGIN, END = MARKERS.begin, MARKERS.end
PAGE = f"# Results\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n"
MIXED = {
    "command": "python -m loadtests mix",
    "date": "2026-11-24",
    "quantities": {
        "cache_hit_rate_percent": 93.94,
        "postgres_average_query_ms": 4.9,
        "mongodb_average_query_ms": 1234.5,
        "cache_average_response_ms": 0.25,
        "postgres_pool_utilization_percent": 2.6,
    },
}
BENCHED = {
    "command": "python -m loadtests bench",
    "circumstances": {"date": "2026-11-23"},
    "paths": [
        {"arm": "cached read", "p50_ms": 2.0, "requests_per_second": 900.0},
        {"arm": "uncached read", "p50_ms": 8.0, "requests_per_second": 300.0},
    ],
}
PLANS = {
    "command": "python -m loadtests run query_plans",
    "started_at": "2026-11-22T10:00:00Z",
    "quantities": {"query_improvement_with_indexes_percent": 38.2},
}


@pytest.fixture
def folder(tmp_path):
    def write(name: str, document: object) -> None:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(document))

    write(MIX, MIXED)
    write(BENCH, BENCHED)
    write("experiments/query_plans.json", PLANS)
    return tmp_path


class TestTable:
    def test_takes_each_row_from_its_file_with_date_and_command(self, folder):
        table = figures.table(folder)

        for row in (
            "| cache hit rate, in the mix | 93.9 % | 2026-11-24 | `python -m loadtests mix` |",
            "saved by the cache, median | 75 % | 2026-11-23 | `python -m loadtests bench` |",
            "by the indexes | 38.2 % | 2026-11-22 | `python -m loadtests run query_plans` |",
            "gained by the cache | 200 % | 2026-11-23 |",
            "in the mix | 1234 ms |",
        ):
            assert row in table

    def test_reads_the_bench_as_it_writes_itself(self, folder):
        equal = Ratio(1.0, 1.0, 1.0)
        arms = [
            Figure(name, "", 9, p50, p50, p50, equal, rate, equal, 0, [], [])
            for name, p50, rate in (("cached read", 2.0, 900.0), ("uncached read", 8.0, 300.0))
        ]
        written = report.as_json(
            Figures([], arms, []), command="bench it", rate=50, facts={"date": "2026-11-23"}
        )
        (folder / BENCH).write_text(written)

        assert "| 75 % | 2026-11-23 | `bench it` |" in figures.table(folder)

    def test_says_what_to_run_where_nothing_was_measured(self, tmp_path):
        table = figures.table(tmp_path)

        assert table.count("| not measured | |") == len(figures.FIGURES)
        assert "`python -m loadtests run query_plans --out docs/experiments` |" in table

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("{", "is not JSON"),
            ("[" * 100_000, "is not JSON"),
            ("[]", "which command wrote it"),
            ('{"quantities": {}}', "which command wrote it"),
            ('{"command": "x", "quantities": {}}', "has no cache hit rate"),
        ],
    )
    def test_names_a_file_that_it_cannot_use(self, folder, text, complaint):
        (folder / MIX).write_text(text)

        with pytest.raises(InvalidMeasurements, match=f"mix.json.*{complaint}"):
            figures.table(folder)


class TestWrite:
    def test_replaces_what_stands_between_the_marks_alone(self, folder):
        page = folder / "page.md"
        page.write_text(PAGE)

        figures.write(page, folder)

        text = page.read_text()
        assert text == f"# Results\n\n{BEGIN}\n\n{figures.table(folder)}\n\n{END}\n\nThe rest.\n"
        figures.write(page, folder)
        assert page.read_text() == text

    @pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}"])
    def test_refuses_a_page_without_its_marks(self, folder, text):
        page = folder / "page.md"
        page.write_text(text)

        with pytest.raises(
            MissingMarkers, match=r"page\.md: it needs a line .* and after it a line"
        ):
            figures.write(page, folder)
        assert page.read_text() == text

    def test_as_a_command_tells_what_is_wrong_in_one_line(self, monkeypatch, capsys):
        def refuse() -> None:
            raise InvalidMeasurements("the page needs marks")

        monkeypatch.setattr(figures, "write", refuse)

        assert main(["figures"]) == 1
        assert capsys.readouterr().err == "figures: the page needs marks\n"


class TestMix:
    def test_counts_what_happened_in_between(self):
        before = Meters(
            10.0, 5, 5, mixed_workload.Counters({("postgres_hold_seconds_sum", ""): 1.0})
        )
        names = {
            "postgres_statement_seconds": "",
            "mongodb_command_seconds": "find",
            "cachelayer_operation_seconds": "look",
        }
        sums = mixed_workload.Counters({("postgres_hold_seconds_sum", ""): 5.0})
        for name, label in names.items():
            sums |= {(f"{name}_sum", label): 0.2, (f"{name}_count", label): 100.0}
        sums |= {("mongodb_command_seconds_sum", "ping"): 9.0}

        quantities = mixed_workload.figures(before, Meters(20.0, 95, 15, sums))

        assert quantities == pytest.approx(
            {
                "cache_hit_rate_percent": 90,
                "postgres_average_query_ms": 2,
                "mongodb_average_query_ms": 2,
                "cache_average_response_ms": 2,
                "postgres_pool_utilization_percent": 100 * 4 / (10 * 2 * 20),
            }
        )

    def test_runs_users_against_a_site_and_reads_its_counters(self, site):
        quantities = mixed_workload.mix(site, seconds=2, seed=1)

        assert quantities["requests"] > 0
        assert quantities["failures"] == 0
        assert 0 < quantities["cache_hit_rate_percent"] <= 100
        assert quantities["cache_average_response_ms"] > 0

    @pytest.mark.parametrize(("failures", "status"), [(0.0, 0), (2.0, 1)])
    def test_as_a_command_keeps_figures_of_requests_that_were_answered(
        self, tmp_path, monkeypatch, failures, status
    ):
        monkeypatch.setattr(docs_cli, "running_site", lambda **sizes: nullcontext())
        monkeypatch.setattr(mixed_workload, "mix", lambda site, **options: {"failures": failures})
        file = tmp_path / "figures" / "mix.json"

        assert main(["mix", "--seconds", "1", "--json", str(file)]) == status
        assert file.exists() == (status == 0)

    def test_keeps_its_figures_with_their_command(self):
        document = json.loads(
            mixed_workload.as_json({"requests": 1.0}, command="python -m loadtests mix")
        )

        assert document["command"] == "python -m loadtests mix"
        assert document["quantities"] == {"requests": 1.0}
