"""Two revisions side by side; whatever happens, nothing of them is left."""

import json
import shutil
import subprocess
import tempfile
from contextlib import nullcontext

import pytest

from config.stack import ROOT
from loadtests.__main__ import main
from loadtests.bench import cli as bench_cli
from loadtests.bench import compare, scenarios
from loadtests.bench.runner import Plan
from loadtests.generators.http_load import Call, connected, send
from loadtests.stats import Ratio

SAME, HIGHER, LOWER = Ratio(1.1, 0.9, 1.2), Ratio(1.2, 1.1, 1.3), Ratio(0.8, 0.7, 0.9)


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def repository(tmp_path):
    """A repository whose first revision has no requirements, and whose second has all."""
    folder = tmp_path / "repository"
    folder.mkdir()
    _git(folder, "init", "-q")
    (folder / "manage.py").write_text("")
    _commit(folder, "v1")
    (folder / "requirements.txt").write_text("# why\ndjango==1.0   # the framework\n")
    _commit(folder, "v2")
    return folder


def _git(folder, *command):
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *command],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def _commit(folder, tag):
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "--no-verify", "-m", tag)
    _git(folder, "tag", tag)


class TestExported:
    @pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
    def test_is_there_as_it_was_and_then_gone(self, repository, temporary, error):
        (repository / "manage.py").write_text("changed since")
        contents = []

        def use() -> None:
            with compare.exported("v2", repository=repository, own=repository) as revision:
                contents.append((revision.folder / "manage.py").read_text())
                if error:
                    raise error

        with pytest.raises(error) if error else nullcontext():
            use()

        assert contents == [""]
        assert not list(temporary.iterdir())
        assert not (repository / ".git" / "worktrees").exists()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("v3", "v3"),
            ("--all", "git rev-parse"),
            ("v1", "v1 has no requirements.txt, so it cannot be measured"),
        ],
    )
    def test_refuses_what_is_no_revision_of_this_project(
        self, repository, temporary, name, message
    ):
        with (
            pytest.raises(compare.Incomparable, match=message),
            compare.exported(name, repository=repository, own=repository),
        ):
            pytest.fail("was exported")

        assert not list(temporary.iterdir())

    def test_refuses_other_requirements_and_names_them(self, repository):
        (repository / "requirements.txt").write_text("django==2.0\n")

        with (
            pytest.raises(compare.Incomparable, match=r"django==1.0 there, django==2.0 here"),
            compare.exported("v2", repository=repository, own=repository),
        ):
            pytest.fail("was exported")

    def test_another_comment_is_no_other_requirement(self, repository):
        (repository / "requirements.txt").write_text("django==1.0  # said otherwise\n")

        with compare.exported("v2", repository=repository, own=repository) as revision:
            assert revision.name == "v2"

    def test_says_that_git_is_not_there(self, repository, monkeypatch):
        monkeypatch.setenv("PATH", "")

        with (
            pytest.raises(compare.Incomparable, match="git does not run"),
            compare.exported("v2", repository=repository),
        ):
            pytest.fail("was exported")


class TestVerdict:
    @pytest.mark.parametrize(
        ("p50", "requests_per_second", "application_us", "said"),
        [
            (SAME, SAME, SAME, "no difference larger than the noise"),
            (HIGHER, SAME, SAME, "p50 20% higher"),
            (LOWER, HIGHER, SAME, "p50 20% lower, 20% more requests/s"),
            (SAME, LOWER, HIGHER, "20% fewer requests/s, 20% more processor time"),
            (SAME, SAME, LOWER, "20% less processor time"),
        ],
    )
    def test_says_no_more_than_the_intervals(self, p50, requests_per_second, application_us, said):
        assert compare.verdict(p50, requests_per_second, application_us, rounds=12) == said

    def test_says_nothing_of_few_rounds(self):
        assert "too few rounds" in compare.verdict(HIGHER, HIGHER, HIGHER, rounds=9)


class TestCompare:
    def test_measures_the_code_of_the_revision_beside_this_tree(
        self, site, tmp_path, temporary, monkeypatch, capsys
    ):
        """The revision is this tree, with one path more."""
        copy = tmp_path / "copy"
        left_out = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".stack", "docs", "tests")
        shutil.copytree(ROOT, copy, ignore=left_out)
        with (copy / "config" / "urls.py").open("a") as urls:
            urls.write("from django.http import HttpResponse\n")
            urls.write('urlpatterns.append(path("only-here", lambda request: HttpResponse("x")))\n')
        _git(copy, "init", "-q")
        _commit(copy, "v1")
        few = scenarios.arms
        monkeypatch.setattr(scenarios, "_WRITTEN", 1)
        monkeypatch.setattr(scenarios, "arms", lambda site: few(site)[:2])
        plan = Plan(seconds=1, rounds=2, rate=50, seed=1)

        with (
            compare.exported("v1", repository=copy) as old,
            bench_cli._fresh_site("revision", notes=100, root=old.folder) as before,
        ):
            answers = [_status(running.url, "/only-here") for running in (before, site)]
            rows = compare.compare(before, site, plan)

        assert answers == [200, 404]
        assert [row.arm for row in rows] == ["cached read", "not modified"]
        assert all(row.errors == (0, 0) for row in rows)
        assert {row.verdict for row in rows} == {"too few rounds to tell: 10 are needed"}
        how = {"command": "bench", "facts": {}}
        assert compare.table(rows, old, **how).row_count == 2
        assert len(json.loads(compare.as_json(rows, old, **how))["rows"]) == 2
        assert not list(temporary.iterdir())
        assert not (ROOT / ".stack" / "revision").exists()

    def test_an_interruption_leaves_nothing(self, repository, temporary, monkeypatch):
        exported = compare.exported
        monkeypatch.setattr(
            compare, "exported", lambda name: exported(name, repository=repository, own=repository)
        )

        def interrupted(name, **options):
            assert options["root"].is_dir()
            raise KeyboardInterrupt

        monkeypatch.setattr(bench_cli, "running_site", interrupted)

        assert main(["bench", "--quick", "--compare", "v2"]) == 130
        assert not list(temporary.iterdir())
        assert not (ROOT / ".stack" / "bench-revision").exists()

    def test_writes_what_it_found(self, repository, site, tmp_path, monkeypatch, capsys):
        exported, plans = compare.exported, []
        monkeypatch.setattr(
            compare, "exported", lambda name: exported(name, repository=repository, own=repository)
        )
        monkeypatch.setattr(bench_cli, "_fresh_site", lambda *args, **how: nullcontext(site))
        row = compare.Row(
            *("x", (1, 2), SAME, (3, 4), SAME, (5, 6), SAME),
            *((0, 0), compare.NO_DIFFERENCE, ([], []), ([], [])),
        )
        monkeypatch.setattr(compare, "compare", lambda old, new, plan: plans.append(plan) or [row])
        file = tmp_path / "rows.json"

        assert main(["bench", "--compare", "v2", "--json", str(file)]) == 0

        assert plans == [Plan(seconds=10, rounds=12, rate=50, seed=1)]
        assert json.loads(file.read_text())["rows"][0]["verdict"] == compare.NO_DIFFERENCE
        assert "no difference" in capsys.readouterr().out

    def test_a_revision_that_is_none_is_one_line(self, capsys):
        assert main(["bench", "--compare", "no-such-revision"]) == 1
        assert capsys.readouterr().err.startswith("bench: git rev-parse")


def _status(url, path):
    with connected(url) as connection:
        return send(connection, Call("", path), 0, 0).status
