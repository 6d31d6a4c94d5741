"""list, run and report with made-up experiments, on real servers that all of these tests share."""

import dataclasses
import io
import os
import signal
import sys
from contextlib import contextmanager

import psycopg
import pytest

from config.stack import VARIABLES, Stack
from loadtests.__main__ import main
from loadtests.experiments import EXPERIMENTS
from loadtests.experiments import cli as experiments_cli
from loadtests.lab import results, runner
from loadtests.lab.experiment import Expectations, Verdict
from loadtests.testbed.servers import running_servers
from tests.loadtests.made_up import EXPERIMENT

NAME = "lab-test"


@pytest.fixture(scope="module")
def servers():
    """The lab's servers, started where the environment names others, which must not be touched."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES.values():
            patch.setenv(variable, "postgresql://elsewhere.invalid/production")
        with running_servers(NAME) as running:
            running.claim()
            yield running
        running.stack.reset()


@pytest.fixture
def out(servers, tmp_path, monkeypatch):
    """The folder of results; runs take the servers that are there."""

    @contextmanager
    def the_same(name):
        assert name == NAME
        yield servers

    monkeypatch.setattr(runner, "STACK", NAME)
    monkeypatch.setattr(runner, "running_servers", the_same)
    monkeypatch.setattr(experiments_cli, "EXPERIMENTS", {})
    return tmp_path / "out"


def given(method=EXPERIMENT.method, **changes):
    """Have there be an experiment that does this."""
    experiment = dataclasses.replace(EXPERIMENT, method=method, **changes)
    experiments_cli.EXPERIMENTS[experiment.name] = experiment


def executed(servers, statement):
    with psycopg.connect(servers.stack.operator_urls()["DATABASE_URL"]) as connection:
        connection.execute(statement)


class TestServers:
    def test_are_the_stacks_own_whatever_the_environment_names(self, servers):
        for variable in VARIABLES.values():
            assert "@127.0.0.1:" in servers.environment[variable]
        assert {server.state for server in servers.stack.status()} == {"running"}

    def test_nor_does_a_dotenv_file_name_others(self, tmp_path, monkeypatch):
        for variable in VARIABLES.values():
            monkeypatch.setenv(variable, "")  # put back afterwards, whatever .env sets
            monkeypatch.delenv(variable)
        monkeypatch.delenv("PYTHON_DOTENV_DISABLED")
        (tmp_path / ".env").write_text("DATABASE_URL=postgresql://elsewhere.invalid/production\n")

        assert [server.state for server in Stack(NAME, root=tmp_path).status()] == ["external"]
        assert Stack(NAME, root=tmp_path, own_only=True).status() == []


class TestRun:
    def test_is_0_where_all_is_as_declared(self, out, capsys):
        given()

        assert main(["run", "made_up", "--seed", "7", "--out", str(out)]) == 0

        (result,) = results.read(out)
        assert (result.seed, result.quick) == (7, False)
        assert result.command == "python -m loadtests run made_up --seed 7"
        assert set(result.environment.versions) > {
            "Python",
            "Django",
            "postgres",
            "redis",
            "redis-py",
        }
        assert (out / "index.html").exists()
        assert (out / "made_up.md").exists()
        assert "all as declared" in capsys.readouterr().out

    def test_is_99_where_one_is_not(self, out, capsys):
        given(method=lambda lab: 2000.0)

        assert main(["run", "made_up", "--out", str(out)]) == 99
        assert "1 NOT AS DECLARED" in capsys.readouterr().out

    def test_a_quick_run_is_held_to_what_is_declared_of_one(self, out):
        given()

        assert main(["run", "made_up", "--quick", "--out", str(out)]) == 99  # own: inconclusive

    @pytest.mark.parametrize(
        ("outcomes", "runs", "status"),
        [
            ([None, True], 2, 0),
            ([None, None, True], 2, 99),  # once, and no more
            ([False, True], 2, 0),
            ([None, False, True], 2, 99),
        ],
    )
    def test_a_quick_run_that_is_not_as_declared_is_repeated_once(
        self, out, capsys, outcomes, runs, status
    ):
        self._is_repeated(out, outcomes, runs, status)
        assert "not as declared in so short a run: as-fast" in capsys.readouterr().err

    def test_a_quick_run_that_violates_an_invariant_is_not(self, out):
        self._is_repeated(out, [False, True], 1, 99, invariant=True)

    def test_a_quick_run_is_not_held_to_times_but_shows_them(self, out, capsys):
        self._is_repeated(out, [None, True], 1, 0, timed=True)
        shown = capsys.readouterr().out
        assert "1 NOT AS DECLARED, by times alone, to which a quick run is not held" in shown
        assert "NO, confirmed" in shown

    def _is_repeated(self, out, outcomes, runs, status, *, quick=True, **declared):
        expectations = Expectations[bool | None]()
        ran = []

        @expectations.declare("As fast.", threshold="the interval", **declared)
        def as_fast(observed: bool | None) -> Verdict:
            return Verdict(observed, "n=2", ["cached read"])

        given(
            method=lambda lab: ran.append(1) or outcomes[len(ran) - 1],
            expectations=expectations,
            present=lambda observed: EXPERIMENT.present(3.2),
        )

        options = ["--quick"] if quick else []
        assert main(["run", "made_up", *options, "--out", str(out)]) == status
        assert len(ran) == runs

    @pytest.mark.parametrize("timed", [False, True])
    def test_a_full_run_is_held_to_all_and_not_repeated(self, out, timed):
        self._is_repeated(out, [None, True], 1, 99, quick=False, timed=timed)

    def test_is_1_where_evidence_is_missing_and_the_next_one_runs_all_the_same(self, out, capsys):
        def forgets(slow_ms):
            findings = EXPERIMENT.present(slow_ms)
            findings.series.pop()
            return findings

        given(present=forgets)
        given(name="second", lines=(1600, 1700))

        assert main(["run", "all", "--out", str(out)]) == 1
        assert (
            "made_up failed: Incomplete: seconds: there is no series deep page"
            in capsys.readouterr().err
        )
        assert [result.name for result in results.read(out)] == ["second"]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_is_130_after_a_signal_and_what_was_finished_is_kept(self, out, capsys, number):
        steps = []

        def interrupted(lab):
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)  # impatience does not keep it from putting back
                steps.append("put back")

        given()
        given(name="second", lines=(1600, 1700), method=interrupted)
        before = signal.getsignal(number)

        assert main(["run", "all", "--out", str(out)]) == 130

        output = capsys.readouterr().err
        assert "Kept: made_up." in output
        assert "restoring everything" in output
        assert steps == ["put back"]
        assert [result.name for result in results.read(out)] == ["made_up"]
        assert signal.getsignal(number) == before

    def test_is_2_for_a_name_that_is_none_and_names_the_near_ones(self, out, capsys):
        given()

        with pytest.raises(SystemExit) as stopped:
            main(["run", "madeup"])

        assert stopped.value.code == 2
        assert "did you mean made_up?" in capsys.readouterr().err

    def test_a_folder_that_cannot_be_written_is_an_error_before_anything_runs(self, out, capsys):
        out.write_text("a file")
        given(method=lambda lab: pytest.fail("it ran"))

        assert main(["run", "made_up", "--out", str(out)]) == 1
        assert f"run: {out}: File exists" in capsys.readouterr().err

    def test_refuses_to_run_beside_another(self, out, capsys):
        statuses = []

        def runs_another(lab):
            statuses.append(main(["run", "made_up", "--out", str(out)]))
            return 3.2

        given(method=runs_another)

        assert main(["run", "made_up", "--out", str(out)]) == 0
        assert statuses == [1]
        assert "another run uses the lab's servers" in capsys.readouterr().err

    def test_what_is_not_put_back_is_told_and_the_next_run_begins_anew(self, out, capsys, servers):
        def drops(lab):
            executed(servers, "DROP INDEX idx_notes_user_created")
            executed(servers, "ALTER TABLE notes DISABLE TRIGGER USER")
            return 3.2

        given(method=drops)
        assert main(["run", "made_up", "--out", str(out)]) == 1
        output = capsys.readouterr().err
        assert "index idx_notes_user_created is gone" in output
        assert "trigger notes." in output

        given()
        assert main(["run", "made_up", "--out", str(out)]) == 0
        assert "left changes behind" in capsys.readouterr().err
        executed(servers, "COMMENT ON INDEX idx_notes_user_created IS 'there again'")

    def test_refuses_a_database_that_is_not_marked(self, out, capsys, servers):
        servers.migrate()
        name = servers.environment["DATABASE_URL"].rpartition("/")[2]
        mark = "for experiments: whatever is in it may be overwritten"
        executed(servers, f"COMMENT ON DATABASE {name} IS NULL")
        given()
        try:
            assert main(["run", "made_up", "--out", str(out)]) == 1
            assert "not marked as one for experiments" in capsys.readouterr().err
        finally:
            executed(servers, f"COMMENT ON DATABASE {name} IS '{mark}'")

    def test_a_site_of_an_experiment_has_just_its_notes_and_is_looked_at_twice(self, out, servers):
        servers.prepare(30)
        counts = []

        def looks(lab):
            with lab.site("both", notes=20):
                counts.append(servers._note_count())
            return 3.2

        given(method=looks)

        assert main(["run", "made_up", "--out", str(out)]) == 0
        (result,) = results.read(out)
        assert counts == [20]
        assert [state.when for state in result.steady] == ["before (both)", "after (both)"]


class TestPredict:
    def ask(self, monkeypatch, out, lines):
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        given()
        return main(["run", "made_up", "--predict", "--out", str(out)])

    def test_a_guess_is_kept_and_shown_beside_what_was_observed(self, out, monkeypatch, capsys):
        assert self.ask(monkeypatch, out, "1600\n") == 0

        (result,) = results.read(out)
        assert (result.guess_results[0].predicted, result.guess_results[0].observed) == (
            1600.0,
            3.2,
        )
        assert "1600 ms" in capsys.readouterr().out
        assert "500 times too much" in (out / "made_up.md").read_text()

    @pytest.mark.parametrize("lines", ["\n", ""])
    def test_an_empty_line_or_none_is_no_guess(self, out, monkeypatch, lines):
        assert self.ask(monkeypatch, out, lines) == 0
        assert results.read(out)[0].guess_results == ()

    @pytest.mark.parametrize("line", ["many", "nan", "1,5"])
    def test_a_line_that_is_no_number_is_an_error_before_anything_runs(
        self, out, monkeypatch, capsys, line
    ):
        assert self.ask(monkeypatch, out, f"{line}\n") == 1
        assert f"{line!r} is not a number" in capsys.readouterr().err
        assert not out.exists()

    def test_on_a_terminal_it_is_asked_again(self, out, monkeypatch):
        lines = io.StringIO("many\n2\n")
        lines.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", lines)
        given()

        assert main(["run", "made_up", "--predict", "--out", str(out)]) == 0
        assert results.read(out)[0].guess_results[0].predicted == 2.0


class TestReport:
    def test_of_no_results_says_how_to_make_some(self, tmp_path, capsys):
        assert main(["report", "--out", str(tmp_path)]) == 1
        assert "python -m loadtests run all" in capsys.readouterr().err

    def test_of_a_damaged_file_names_it(self, tmp_path, capsys):
        (tmp_path / "stampede.json").write_text("{")

        assert main(["report", "--out", str(tmp_path)]) == 1
        assert "stampede.json" in capsys.readouterr().err

    def test_writes_again_what_was_deleted(self, tmp_path, out, capsys):
        given()
        main(["run", "made_up", "--out", str(out)])
        (out / "index.html").unlink()

        assert main(["report", "--out", str(out)]) == 0
        assert (out / "index.html").exists()


class TestList:
    def test_names_every_experiment_and_its_question(self, capsys):
        assert main(["list"]) == 0

        output = capsys.readouterr().out
        for experiment in EXPERIMENTS.values():
            assert experiment.name in output
