"""manage.py index_advisor on real servers: it proposes missing indexes, and only those that pay off."""

import io
import json
import random
import string

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.db import connection
from mongoengine.connection import get_db

from cachelayer import client
from config.advisor import measurement, mongodb_profiler, selection, workload
from config.advisor.selection import Gain, QueryCost, Trial
from config.advisor.workload import QueryStats
from config.explain import build_report, samples, sandbox
from config.explain.report import InsertCost
from config.management.commands import index_advisor
from config.observability import capped_list, query_stats
from notes.models import Note
from tests.config.advisor.conftest import EVENTS, traces

OF_ALL = 'SELECT "id", "title" FROM "notes" WHERE "notes"."version" = %s ORDER BY "notes"."title"'


@pytest.fixture(autouse=True)
def _brief(monkeypatch) -> None:
    monkeypatch.setattr(build_report, "_ROUNDS", 1)
    monkeypatch.setattr(build_report, "_INSERTED", 100)
    monkeypatch.setattr(sandbox, "_COPIED_MAX", 200)


def advise(**options) -> list[dict]:
    out = io.StringIO()
    call_command("index_advisor", json=True, stdout=out, **({"runs": 3} | options))
    return json.loads(out.getvalue())


def postgres(**options) -> dict:
    [advice] = advise(store="postgres", **options)
    return advice


def mongodb(**options) -> dict:
    [advice] = advise(store="mongodb", **options)
    return advice


def random_text(length: int) -> str:
    """No compression makes it short."""
    return "".join(random.Random(1).choices(string.ascii_letters, k=length))


def rejection_reason(advice: dict, text: str) -> str:
    [why] = [entry["why"] for entry in advice["refused"] if entry["what"] == text]
    return why


@pytest.mark.usefixtures("allowed", "lists_read")
class TestPostgreSQL:
    @pytest.mark.usefixtures("without_composite")
    def test_proposes_the_dropped_composite_index_with_its_gain_and_cost(self):
        before = traces()

        advice = postgres()

        [proposal] = advice["proposals"]
        assert proposal["text"] == "notes (user_id, created_at DESC)"
        assert proposal["line"] == (
            "models.Index(fields=['user_id', '-created_at'], name='idx_notes_user_id_created_at')"
        )
        assert proposal["makes_redundant"] == ["idx_notes_user_id"]
        [gain] = [gain for gain in proposal["gains"] if "ORDER BY" in gain["stats"]["statement"]]
        assert gain["stats"]["endpoints"] == ["notes"]
        assert gain["stats"]["calls"] >= 6
        assert gain["with_it"]["rows"] < gain["without"]["rows"] / 3
        assert gain["with_it"]["ms"] < gain["without"]["ms"]
        assert proposal["size_bytes"] > 0
        assert proposal["cost"]["rows"] == 100
        assert advice["source"] == "the site's own count"
        assert traces() == before

    def test_proposes_nothing_where_nothing_is_missing_and_flags_the_prefix(self):
        advice = postgres()

        assert advice["proposals"] == []
        assert "idx_notes_user_created is there" in rejection_reason(
            advice, "notes (user_id, created_at DESC)"
        )
        [prefix] = [index for index in advice["flagged"] if index["kind"] == "redundant"]
        assert prefix["name"] == "idx_notes_user_id"
        assert "idx_notes_user_created begins with the same columns" in prefix["why"]
        assert "as long, the largest loss" in prefix["why"]  # the count was tried without it

    def test_flags_an_index_that_nothing_uses_or_would_use(self):
        with connection.cursor() as cursor:
            cursor.execute("CREATE INDEX idx_notes_content ON notes (md5(content))")

        flagged = {index["name"]: index for index in postgres()["flagged"]}

        assert flagged["idx_notes_content"]["kind"] == "unused"
        assert "no recorded statement would use it" in flagged["idx_notes_content"]["why"]
        assert "notes_pkey" not in flagged

    def test_does_not_propose_an_index_that_no_plan_would_use(self):
        query_stats.count("x", OF_ALL, 5.0)
        capped_list.flush()

        advice = postgres()

        assert advice["proposals"] == []  # every note has that version
        assert rejection_reason(advice, "notes (version)")

    def test_leaves_out_statements_that_cannot_be_replayed_and_says_why(self):
        query_stats.count("x", "SELECT id FROM notes WHERE %s", 1.0)
        query_stats.count("y", "SELECT id FROM notes WHERE id = %s::int", 1.0)
        capped_list.flush()

        left_out = {entry["what"]: entry["why"] for entry in postgres()["left_out"]}

        assert {name[0]: why.split(":")[0] for name, why in left_out.items()} == {
            "x": "the purpose of $1 is unknown, so it cannot be given a value",
            "y": "PostgreSQL rejects it",
        }

    def test_says_so_where_a_row_is_too_long_for_an_index(self):
        query_stats.count("x", 'SELECT "id" FROM "notes" WHERE "content" = %s', 5.0)
        capped_list.flush()
        Note.objects.filter(pk__in=Note.objects.values("pk")[:1]).update(content=random_text(9_000))

        assert "PostgreSQL cannot make it: index row" in rejection_reason(
            postgres(), "notes (content)"
        )

    def test_finds_a_dropped_index_of_the_search(self, api):
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX idx_notes_title_search")
        word = samples.sample_notes().rare_word
        api.get(f"/api/v1/notes?q={word}&cache=false")
        capped_list.flush()

        advice = postgres()

        [proposal] = [entry for entry in advice["proposals"] if "gin" in entry["text"]]
        assert proposal["text"].startswith("notes gin ((TO_TSVECTOR(CAST('english' AS REGCONFIG)")
        assert "GinIndex" in proposal["line"]

    @pytest.mark.usefixtures("without_composite")
    def test_reads_pg_stat_statements_if_it_is_installed(self):
        """A table in its place, with what PostgreSQL 15 has written into the view for this site."""
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE pg_stat_statements AS SELECT 9::bigint AS calls, 4.5::float AS "
                "total_exec_time, oid AS dbid, %s AS query FROM pg_database "
                "WHERE datname = current_database()",
                [
                    'SELECT "notes"."id" AS "id" FROM "notes" WHERE "notes"."user_id" = $1 ORDER BY '
                    '"notes"."created_at" DESC LIMIT $2 '
                    "/*endpoint='notes',request_id='617b07af2e344faea7669f32153ef711'*/"
                ],
            )

        advice = postgres()

        assert advice["source"] == "pg_stat_statements"
        [proposal] = advice["proposals"]
        assert proposal["text"] == "notes (user_id, created_at DESC)"
        [gain] = proposal["gains"]
        assert (gain["stats"]["calls"], gain["stats"]["endpoints"]) == (9, ["notes"])
        assert gain["stats"]["statement"].endswith("DESC LIMIT %s")


@pytest.mark.usefixtures("allowed")
class TestMongoDB:
    def profiled(self, api, *paths: str) -> None:
        with mongodb_profiler.at_level(mongodb_profiler.EVERYTHING):
            for path in paths:
                assert api.get(path).status_code == 200

    def test_finds_the_index_of_the_users_that_was_dropped(self, api, events):
        user_id = samples.sample_events().heavy_user
        events.drop_index("user_id_timestamp")
        events.drop_index("timestamp")  # which serves users with a large share of the events
        self.profiled(api, *[f"/api/v1/activity/{user_id}?limit=5"] * 3)
        before = traces()

        advice = mongodb()

        [proposal] = advice["proposals"]
        assert (
            proposal["line"]
            == '{"name": "user_id_timestamp", "fields": ["user_id", "-timestamp"]},'
        )
        [gain] = proposal["gains"]
        assert gain["stats"]["calls"] == 3
        assert gain["with_it"]["rows"] <= 6 < 100 < gain["without"]["rows"]
        assert proposal["size_bytes"] > 0
        assert proposal["cost"]["rows"] == 100
        assert traces() == before

    def test_tries_both_directions_of_a_key(self, api, events):
        """The feed is sorted by the time, newest first; the summary only bounds it."""
        user_id = samples.sample_events().heavy_user
        events.drop_index("user_id_timestamp")
        events.drop_index("timestamp")
        self.profiled(
            api,
            *[f"/api/v1/activity/{user_id}?limit=5"] * 3,
            *[f"/api/v1/activity/{user_id}/summary"] * 3,
        )

        [proposal] = mongodb()["proposals"]

        assert proposal["line"].startswith('{"name": "user_id_timestamp", ')

    def test_proposes_nothing_where_nothing_is_missing_and_flags_a_prefix(self, api, events):
        user_id = samples.sample_events().heavy_user
        self.profiled(api, f"/api/v1/activity/{user_id}", f"/api/v1/activity/{user_id}/summary")
        events.create_index([("user_id", 1)], name="user_alone")
        events.create_index([("details.x", 1)], name="details")
        try:
            advice = mongodb()
        finally:
            events.drop_index("user_alone")
            events.drop_index("details")

        assert advice["proposals"] == []
        assert "user_id_timestamp is there" in rejection_reason(
            advice, f"{EVENTS} {{user_id: 1, timestamp: -1}}"
        )
        flagged = {index["name"]: index for index in advice["flagged"]}
        assert flagged["user_alone"]["kind"] == "redundant"
        assert "user_id_timestamp begins with the same fields" in flagged["user_alone"]["why"]
        assert flagged["details"]["kind"] == "unused"
        assert "timestamp" not in flagged  # documents are deleted by it

    def test_has_the_profiler_record_for_that_long_and_then_stops_it(
        self, api, events, monkeypatch
    ):
        user_id = samples.sample_events().heavy_user
        waited = []

        def use_the_site(seconds: float) -> None:
            waited.append(seconds)
            api.get(f"/api/v1/activity/{user_id}")

        monkeypatch.setattr(mongodb_profiler, "wait", use_the_site)

        advice = mongodb(profile_seconds=30)

        assert waited == [30]
        assert advice["statements"] == 1
        assert get_db().command("profile", -1)["was"] == 0

    def test_says_how_to_have_commands_recorded(self, seeded):
        out = io.StringIO()
        call_command("index_advisor", store="mongodb", stdout=out)

        assert "--profile-seconds 30" in out.getvalue()

    def test_drops_the_indexes_of_a_killed_run(self, events):
        before = traces()
        events.create_index([("resource", 1)], name="explain_resource")

        mongodb()

        assert traces() == before


@pytest.mark.usefixtures("allowed", "lists_read", "without_composite")
class TestInterruption:
    @pytest.mark.parametrize("step", ["measuring", "trying without", "trying notes", "inserting"])
    def test_anywhere_in_postgresql_leaves_no_trace(self, monkeypatch, capsys, step):
        with connection.cursor() as cursor:  # so that another is redundant, and tried without
            cursor.execute("CREATE INDEX longer ON notes (user_id, version)")
        before = traces()
        heard = []

        def interrupt(stream: OutputWrapper, message: str) -> None:
            heard.append(message)
            if message.startswith(step):
                raise KeyboardInterrupt

        monkeypatch.setattr(index_advisor, "show_progress", interrupt)

        with pytest.raises(SystemExit) as ended:
            postgres()

        assert ended.value.code == 130
        assert heard[-1].startswith(step)
        assert "undone" in capsys.readouterr().err
        assert traces() == before

    @pytest.mark.parametrize("step", ["while it is made", "measuring beside it", "inserting"])
    def test_anywhere_in_mongodb_leaves_no_trace(self, monkeypatch, api, events, step):
        user_id = samples.sample_events().heavy_user
        events.drop_index("user_id_timestamp")
        events.drop_index("timestamp")
        with mongodb_profiler.at_level(mongodb_profiler.EVERYTHING):
            api.get(f"/api/v1/activity/{user_id}")
        before = traces()
        reached = []

        def interrupt(*args, **options):
            there = get_db().list_collection_names()
            made = [name for name in events.index_information() if name.startswith("explain_")]
            if made or "explain_copy_with" in there:
                reached.append(step)
                raise KeyboardInterrupt
            return whole(*args, **options)

        module, name = {
            "while it is made": (type(events), "create_index"),
            "measuring beside it": (measurement, "measure_query"),
            "inserting": (type(events), "insert_many"),
        }[step]
        whole = getattr(module, name)
        if step == "while it is made":

            def interrupt(collection, keys, **options):
                whole(collection, keys, **options)
                reached.append(step)
                raise KeyboardInterrupt

        monkeypatch.setattr(module, name, interrupt)
        with pytest.raises(SystemExit):
            mongodb()
        monkeypatch.undo()

        assert reached == [step]
        assert traces() == before


class TestRefusals:
    @pytest.mark.parametrize("store", ["postgres", "mongodb"])
    def test_without_permission_nothing_is_tried(self, seeded, store):
        before = traces()

        with pytest.raises(CommandError, match="set ALLOW_EXPLAIN_DDL=true"):
            advise(store=store)

        assert traces() == before

    @pytest.mark.parametrize(
        "option",
        [
            *("--runs 0", "--limit 1001", "--profile-seconds -1.0"),
            *("--profile-seconds inf", "--profile-seconds nan"),
        ],
    )
    def test_of_numbers_out_of_range(self, option):
        with pytest.raises(CommandError, match=f"{option}: must be from .* to "):
            call_command("index_advisor", *option.split())

    def test_of_no_folder(self):
        with pytest.raises(CommandError, match="--write: must be a folder, not an empty text"):
            call_command("index_advisor", "--write", "")

    def test_a_folder_that_cannot_be_written_is_refused_before_the_measurement(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(
            "config.advisor.postgres.advise", lambda **options: pytest.fail("measured")
        )
        (tmp_path / "file").touch()

        with pytest.raises(CommandError, match=f"^{tmp_path / 'file'}: File exists$"):
            call_command("index_advisor", "--write", str(tmp_path / "file"))

    @pytest.mark.usefixtures("allowed", "seeded")
    def test_reports_a_store_that_does_not_answer(self, monkeypatch):
        def fails(*args):
            raise client.CacheDown

        monkeypatch.setattr(workload.query_stats.STATEMENTS, "rows", fails)
        with pytest.raises(CommandError, match="Redis, which holds the site's own count"):
            postgres()

        monkeypatch.setattr(
            workload, "load_workload", lambda: connection.cursor().execute("nonsense")
        )
        with pytest.raises(CommandError, match="PostgreSQL: syntax error"):
            postgres()


class TestSelectCandidates:
    STATS = QueryStats(
        statement="SELECT", fingerprint="f", endpoints=("notes",), calls=10, total_ms=50.0
    )

    def trial(self, name: str, with_ms: float, rows: int = 20, keys: int = 1) -> Trial[str]:
        gain = Gain(
            stats=self.STATS, without=QueryCost(5, 900, 900), with_it=QueryCost(with_ms, rows, rows)
        )
        return Trial(candidate=name, gains=[gain], keys=keys, size_bytes=8192)

    def choose(self, *made: Trial[str]) -> tuple[list[str], list[str]]:
        trials = {trial.candidate: trial for trial in made}
        kept_names: list[str] = []

        def attempt(name: str, before: dict[str, QueryCost]) -> Trial[str]:
            [gain] = trials[name].gains
            now = Gain(stats=self.STATS, without=before["f"], with_it=gain.with_it)
            return Trial(candidate=name, gains=[now], keys=trials[name].keys, size_bytes=8192)

        chosen, refused = selection.select_candidates(
            list(trials),
            {"f": QueryCost(5, 900, 900)},
            attempt=attempt,
            keep=lambda trial: kept_names.append(trial.candidate),
            worth_ms=0.02,
        )
        assert kept_names == [trial.candidate for trial in chosen]
        return kept_names, [trial.candidate for trial in refused]

    def test_selects_the_largest_saving_and_tries_the_others_beside_it(self):
        assert self.choose(self.trial("a", 1), self.trial("b", 0.1)) == (["b"], ["a"])

    def test_prefers_fewer_columns_if_they_are_as_good(self):
        made = self.trial("long", 0.02, rows=21, keys=3), self.trial("short", 0.03, rows=22, keys=2)

        assert self.choose(*made) == (["short"], ["long"])

    def test_does_not_if_they_read_more_rows(self):
        made = self.trial("long", 0.1, rows=21, keys=2), self.trial("short", 0.1, rows=80, keys=1)

        assert self.choose(*made) == (["long"], ["short"])

    def test_refuses_a_gain_that_no_plan_explains(self):
        assert self.choose(self.trial("a", 1, rows=900)) == ([], ["a"])

    def test_refuses_a_gain_too_small(self):
        assert self.choose(self.trial("a", 4)) == ([], ["a"])
        assert "gains too little: 5 ms and 900 rows" in selection.rejection_reason(
            self.trial("a", 4)
        )

    def test_refuses_an_index_that_costs_writes_more_than_it_saves_reads(self):
        cost = InsertCost(rows=100, with_ms=20.0, without_ms=10.0, noise_ms=1.0)  # 0.1 ms a row
        trial = self.trial("a", 1)  # saves 40 ms

        assert selection.write_cost_objection(trial, cost, 399) is None
        assert selection.write_cost_objection(trial, cost, 400) == (
            "it saves 40 ms of reads but costs 400 writes 40 ms"
        )

    def test_refuses_an_index_that_loses_time_in_total(self):
        good, bad = self.trial("a", 1), self.trial("a", 30)
        trial = Trial(candidate="a", gains=[*good.gains, *bad.gains], keys=1, size_bytes=1)

        assert not selection.pays_off(trial, 0.02)
        assert "it loses 210 ms" in selection.rejection_reason(trial)


@pytest.mark.usefixtures("allowed", "lists_read", "without_composite")
class TestText:
    def test_shows_gain_cost_declaration_and_the_rest(self):
        out = io.StringIO()

        call_command("index_advisor", store="postgres", stdout=out)

        text = out.getvalue()
        assert "create: notes (user_id, created_at DESC), saves" in text
        assert "rows without it" in text
        assert "inserting 100 rows" in text
        assert "into Meta.indexes of the model: models.Index(" in text
        assert "idx_notes_user_id would be redundant beside it" in text
        assert "not proposed: notes (user_id): idx_notes_user_id is there" in text
        assert "some statement takes 1.5 times as long" in text
        assert Note.objects.exists()
