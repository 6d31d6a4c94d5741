"""manage.py explain_report on a few thousand rows: its formats, its refusals, and that it leaves no trace."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.db import connection
from django.template.loader import render_to_string
from mongoengine.connection import get_db

from cachelayer.models import OutboxRow
from config.explain import build_report, catalogue, comparisons, render_html, sandbox
from config.explain.build_report import ReportOptions
from config.explain.plan import Node, Plan
from config.management.commands import explain_report
from notes.models import Note
from notes.paging import PageQuery
from tests.builders import make_note
from tests.config.explain.conftest import NOTES

pytestmark = pytest.mark.usefixtures("seeded")


def report(**options) -> str:
    out = io.StringIO()
    call_command("explain_report", stdout=out, **({"runs": 1} | options))
    return out.getvalue()


def silent(what: str) -> None:
    pass


@pytest.fixture(scope="module")
def whole(_seeded, django_db_blocker, tmp_path_factory) -> Path:
    """A report on all queries in JSON, measured once for the tests of all formats."""
    there = tmp_path_factory.mktemp("reports") / "whole.json"
    with django_db_blocker.unblock():
        report(format="json", out=there)
    return there


@pytest.fixture
def allowed(settings) -> None:
    settings.ALLOW_EXPLAIN_DDL = True


@pytest.fixture
def brief(seeded, monkeypatch) -> None:
    """A few queries, rows and depths: enough to run each step of a report."""
    names = ("note", "user", "recent")
    queries = [query for query in catalogue.all_queries() if query.name in names]
    monkeypatch.setattr(catalogue, "all_queries", lambda: queries)
    monkeypatch.setattr(comparisons, "_DEPTHS", (1, 5))


def traces() -> dict[str, object]:
    """Return everything that a report could have left behind."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
        )
        indexes = cursor.fetchall()
        cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE 'explain%'")
        tables = cursor.fetchall()
        cursor.execute("SHOW enable_bitmapscan")
        parameter = cursor.fetchone()
    database = get_db()
    collections = [database[name].index_information() for name in build_report.COLLECTIONS]
    collections += sorted(database.list_collection_names())
    rows = Note.objects.count(), OutboxRow.objects.count()
    return {
        "indexes": indexes,
        "tables": tables,
        "set": parameter,
        "mongo": collections,
        "rows": rows,
    }


class Tags(HTMLParser):
    """Record unclosed elements, and what the page would load from the network."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)


class TestFormats:
    def test_json_is_the_whole_report(self, whole):
        content = json.loads(whole.read_text())

        assert [query["name"] for query in content["queries"]] == [
            query.name for query in catalogue.all_queries()
        ]
        assert content["environment"]["rows"]["notes (PostgreSQL)"] == NOTES
        assert {line["name"] for line in content["curves"][0]["chart"]["lines"]} >= {"cursor"}
        for query in content["queries"]:
            assert query["now"]["timing"]["runs"] == 1
            assert query["now"]["plan"]["root"]["kind"]

    def test_html_is_a_well_formed_self_contained_page(self, whole):
        page = report(format="html", read=whole)

        tags = Tags()
        tags.feed(page)

        assert tags.open == tags.references == []
        assert {"svg", "polyline", "path", "details", "table"} <= set(tags.tags)
        assert "prefers-color-scheme: dark" in page
        assert not re.search(r"https?://|@import|url\(", page)

    def test_html_marks_slow_and_misestimated_nodes(self):
        quick = Node(kind="Index Scan", index="idx", rows=5, total_ms=0.1, own_ms=0.1)
        slow = Node(kind="Sort", rows=9_000, rows_estimated=30, own_ms=50, total_ms=50)
        whole = Node(kind="Limit", rows=5, total_ms=50.2, own_ms=0.1, children=(slow, quick))
        plan = Plan(
            store="postgres",
            statement="SELECT '<b>'",
            root=whole,
            rows_returned=5,
            rows_examined=5,
            rows_fetched=5,
            execution_ms=50.2,
        )

        boxes = render_to_string("explain/node.html", {"node": render_html._tree(plan)})

        marked = re.findall(r'class="node([^"]*)">\s*<div class="step">\s*<strong>(.*?)<', boxes)
        assert marked == [("", "Limit"), (" slow wrong", "Sort"), ("", "Index Scan")]
        assert "estimate off 300 x" in boxes

    def test_html_escapes_what_the_statements_hold(self, monkeypatch):
        make_note(title="<script>alert(1)</script>", user_id="abc")
        query = PageQuery(search="<script>")

        monkeypatch.setattr(catalogue, "all_queries", lambda: [catalogue._listed("x", "y", query)])

        page = report(format="html", query=["x"])
        assert "&lt;script&gt;" in page
        assert "<script" not in page

    def test_markdown_has_tables_of_one_width_each(self, whole):
        page = report(format="md", read=whole)

        for table in re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE):
            assert len({line.count("|") for line in table.splitlines()}) == 1, table
        assert "## Queries" in page
        assert "Index Scan using idx_notes_user_created on notes" in page

    def test_text_fits_a_terminal(self, whole):
        text = report(read=whole)

        tables = text.split("\nuser: a page")[0]
        assert max(map(len, tables.splitlines())) <= 120
        assert "the heaviest user's page" in text

    def test_out_is_a_file(self, tmp_path):
        there = tmp_path / "report.json"

        assert report(format="json", out=there, query=["note"]) == f"{there} written.\n"
        assert json.loads(there.read_text())["queries"][0]["name"] == "note"

    @pytest.mark.parametrize("form", ["json", "html", "md", "text"])
    def test_a_report_in_json_can_be_written_again_in_each_format(self, form, whole):
        Note.objects.all().delete()

        again = report(format=form, read=whole)

        assert "GET /api/v1/notes/{note_id}" in again or form == "text"
        assert json.loads(whole.read_text())["environment"]["measured_at"] in again

    @pytest.mark.parametrize(
        "content", [b"{}", b"no json", b'{"environment": "\xff"}', b'{"":' + b"[" * 100_000, None]
    )
    def test_a_file_that_is_not_a_report_is_refused(self, content, tmp_path):
        first = tmp_path / "report.json"
        if content is not None:
            first.write_bytes(content)

        with pytest.raises(CommandError, match=r"report\.json: "):
            report(read=first)

    def test_the_command_that_made_it_is_recorded(self):
        content = json.loads(report(format="json", query=["note", "feed"]))

        assert content["environment"]["command"] == (
            "manage.py explain_report --runs 1 --query note --query feed"
        )
        assert [query["name"] for query in content["queries"]] == ["note", "feed"]
        assert {part["index"]["name"] for part in content["indexes"]} == {
            *("notes_pkey", "user_id_timestamp"),
        }


class TestRefusals:
    def test_an_unknown_query_is_refused_with_the_known_ones(self):
        with pytest.raises(CommandError, match=r"no query nonsense; there are user, heavy-user"):
            report(query=["nonsense"])

    @pytest.mark.parametrize("runs", [0, 101])
    def test_too_few_and_too_many_runs(self, runs):
        with pytest.raises(CommandError, match="from 1 to 100"):
            report(runs=runs)

    def test_a_file_that_cannot_be_written_is_refused_before_the_measurement(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(build_report, "build", lambda *args, **options: pytest.fail("measured"))

        with pytest.raises(CommandError, match=f"^{tmp_path}: Is a directory$"):
            report(query=["note"], out=tmp_path)

    def test_a_file_that_cannot_be_written(self, tmp_path):
        with pytest.raises(CommandError, match="No such file or directory"):
            report(query=["note"], out=tmp_path / "none" / "report.md")

    def test_indexes_are_dropped_only_if_the_settings_allow_it(self):
        before = traces()

        with pytest.raises(CommandError, match="set ALLOW_EXPLAIN_DDL=true where that does no"):
            report(drop_indexes=True)

        assert traces() == before

    def test_a_trial_checks_the_permission_itself(self):
        with pytest.raises(sandbox.DdlNotAllowed), sandbox.rolled_back():
            pytest.fail("ran")
        with (
            pytest.raises(sandbox.DdlNotAllowed),
            sandbox.hidden_index(get_db()["activity_logs"], "timestamp"),
        ):
            pytest.fail("ran")

    def test_no_notes_is_an_error_that_names_the_remedy(self):
        Note.objects.all().delete()

        with pytest.raises(CommandError, match=r"manage\.py seed_notes"):
            report()


@pytest.mark.usefixtures("allowed")
class TestTrials:
    @pytest.fixture(autouse=True)
    def _few_inserts(self, monkeypatch):
        monkeypatch.setattr(build_report, "_INSERTED", 50)
        monkeypatch.setattr(build_report, "_ROUNDS", 1)
        monkeypatch.setattr(sandbox, "_COPIED_MAX", 50)

    def test_measures_with_and_without_and_leaves_no_trace(self):
        before = traces()

        content = json.loads(report(format="json", drop_indexes=True))

        assert traces() == before
        parts = {part["index"]["name"]: part for part in content["indexes"]}
        assert parts["idx_notes_user_id"]["index"]["covered_by"] == "idx_notes_user_created"
        for name in ("idx_notes_title_search", "idx_notes_created_at", "timestamp"):
            assert parts[name]["served"]
            for served in parts[name]["served"]:
                assert f"'index': '{name}'" not in str(served["without"]["plan"]["root"])
                assert f"'index': '{name}'" in str(served["with_it"]["plan"]["root"])
        assert parts["idx_notes_title_search"]["cost"]["rows"] > 0
        assert parts["user_id_timestamp"]["cost"]["rows"] > 0
        assert parts["idx_notes_title_search"]["rebuilt_bytes"] > 0
        assert parts["idx_profiles_preferences"]["advice"].startswith("Drop, unless")
        assert parts["notes_pkey"]["served"][0]["without"] is None
        queries = {query["name"]: query for query in content["queries"]}
        assert queries["search"]["without_indexes"]["plan"]["root"]
        assert "Seq Scan" in str(queries["search"]["without_indexes"]["plan"]["root"])
        assert "COLLSCAN" in str(queries["recent"]["without_indexes"]["plan"]["root"])
        titles = [table["title"] for table in content["comparisons"]]
        assert [title.split()[0] for title in titles] == ["random_page_cost:", "B-tree", "A"]

    @pytest.mark.parametrize(
        ("step", "how"),
        [
            ("measuring note without indexes", KeyboardInterrupt),
            ("measuring note without indexes", RuntimeError),
            ("inserting 50 rows", KeyboardInterrupt),
            ("inserting 50 documents", KeyboardInterrupt),
            ("measuring user without idx_notes_user_created", KeyboardInterrupt),
            ("measuring recent without timestamp", KeyboardInterrupt),
            ("measuring recent without timestamp", RuntimeError),
            ("measuring by random_page_cost", KeyboardInterrupt),
            ("measuring a hash index", KeyboardInterrupt),
        ],
    )
    @pytest.mark.usefixtures("brief")
    def test_an_interruption_anywhere_leaves_no_trace(self, step, how):
        before = traces()
        heard = []

        def interrupt(what: str) -> None:
            heard.append(what)
            if what.startswith(step):
                raise how

        with pytest.raises(how):
            build_report.build(ReportOptions(runs=1, with_trials=True), on_progress=interrupt)

        assert heard[-1].startswith(step)
        assert traces() == before

    def test_ctrl_c_ends_the_command_as_a_shell_expects(self, monkeypatch, capsys):
        def interrupt(stream: OutputWrapper, what: str) -> None:
            if what.endswith("without indexes"):
                raise KeyboardInterrupt

        monkeypatch.setattr(explain_report, "show_progress", interrupt)
        before = traces()

        with pytest.raises(SystemExit) as ended:
            report(drop_indexes=True)

        assert ended.value.code == 130
        assert "rolled back" in capsys.readouterr().err
        assert traces() == before

    def test_an_index_left_hidden_by_a_killed_run_is_unhidden(self):
        events = get_db()["activity_logs"]
        before = traces()
        sandbox._hide(events, "timestamp", is_hidden=True)

        build_report.build(
            ReportOptions(runs=1, with_trials=True, queries=["recent"]), on_progress=silent
        )

        assert traces() == before


class TestComposite:
    def test_says_from_which_page_on_the_planner_leaves_the_composite_index(self, whole):
        [_, choice] = json.loads(whole.read_text())["curves"][0]["remarks"]

        assert "idx_notes_user_created" in choice
        assert re.search(
            r"as far as page \d+|down to the last page|even for the first page", choice
        )
