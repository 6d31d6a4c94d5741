"""Stored slow statements and request traces, from a real request to the command that shows them."""

import json
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.backends.postgresql.base import Cursor
from django.test import Client

from cachelayer import client
from config import tracing
from config.observability import capped_list, slow_queries, traces
from tests.builders import make_event, make_note

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "a-token-of-staff"


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


@pytest.fixture
def everything_is_slow(settings):
    settings.SLOW_QUERY_MS = -1


@pytest.fixture
def staff(settings) -> dict[str, str]:
    settings.ADMIN_TOKEN = TOKEN
    return {"X-Trace": "1", "Authorization": f"Bearer {TOKEN}"}


def stored_rows() -> list[dict]:
    capped_list.flush()
    return slow_queries.SLOW.rows()


class TestSqlComment:
    def test_ends_each_statement_of_a_request(self, api, monkeypatch):
        sent = []
        execute = Cursor.execute

        def seeing(self, query, params=None, **options):
            sent.append(query)
            return execute(self, query, params, **options)

        monkeypatch.setattr(Cursor, "execute", seeing)
        api.get("/api/v1/notes?cache=false&q=x%25", headers={"X-Request-ID": "r/1"})

        marked = [query for query in sent if 'FROM "notes"' in str(query)]
        assert marked
        assert all(query.endswith(" /*endpoint='notes',request_id='r/1'*/") for query in marked)


class TestSlowStatements:
    def test_are_kept_of_all_three_stores_with_endpoint_and_request(self, api, everything_is_slow):
        make_event(user_id="private-name")
        api.get("/api/v1/notes?userId=private-name", headers={"X-Request-ID": "r-1"})
        api.get("/api/v1/activity/private-name", headers={"X-Request-ID": "r-2"})

        rows = [row for row in stored_rows() if row["request_id"] in ("r-1", "r-2")]
        assert {row["store"] for row in rows} == {"postgres", "mongodb", "redis"}
        assert "private-name" not in str(rows)
        selects = [row for row in rows if row["kind"] == "SELECT"]
        assert {row["endpoint"] for row in selects} == {"notes"}
        assert {row["request_id"] for row in selects} == {"r-1"}
        [find] = [row for row in rows if row["kind"] == "find"]
        assert find["statement"].startswith("find activity_logs {filter: {user_id: ?, ")
        assert all(len(row["fingerprint"]) == 12 and row["duration_ms"] > 0 for row in rows)

    def test_quick_ones_are_not(self, api):
        api.get("/api/v1/notes")

        assert stored_rows() == []

    def test_of_no_request_are_logged_alone(self, everything_is_slow):
        tracing.add_statement("redis", "count", 0.0, 1.0)

        assert stored_rows() == []

    def test_a_request_is_answered_while_redis_is_down(self, api, everything_is_slow, stack):
        stack.kill("redis")
        try:
            response = api.get("/api/v1/notes", headers={"X-Request-ID": "r-3"})
        finally:
            stack.start("redis")
            client.breaker.reset()

        assert response.status_code == 200
        assert "r-3" in {row["request_id"] for row in stored_rows()}

    def test_are_grouped_by_shape_the_most_expensive_in_all_first(self):
        for duration_ms, statement in ((300, "SELECT a"), (250, "SELECT b"), (251, "SELECT b")):
            row = {"at": 1.0, "store": "postgres", "kind": "SELECT", "endpoint": "notes"}
            row |= {"fingerprint": statement, "statement": statement}
            slow_queries.SLOW.add(
                row | {"request_id": str(duration_ms), "duration_ms": duration_ms}
            )
        capped_list.flush()

        first, second = slow_queries.slow_statements()

        assert (first["statement"], first["count"], first["total_ms"]) == ("SELECT b", 2, 501)
        assert (first["mean_ms"], first["max_ms"], first["request_id"]) == (250.5, 251, "251")
        assert second["statement"] == "SELECT a"
        assert slow_queries.slow_statements("redis") == []


class TestSlowQueriesCommand:
    def test_lists_and_explains(self, api, everything_is_slow):
        make_note()
        api.get("/api/v1/notes?limit=7&count=false")
        capped_list.flush()
        [shape] = [row for row in slow_queries.slow_statements() if "LIMIT 8" in row["statement"]]

        assert shape["statement"] in run("slow_queries")
        assert "notes:" in run("slow_queries", "--store", "postgres")
        listed = json.loads(run("slow_queries", "--json"))
        assert shape["fingerprint"] in [row["fingerprint"] for row in listed]
        plan = run("slow_queries", "--explain", shape["fingerprint"])
        assert "Limit  (cost=" in plan
        assert (
            "created_at DESC" in plan or "idx_notes_created_at" in plan
        )  # few rows: sorted, no index
        assert "actual time" not in plan

    @pytest.mark.parametrize("limit", ["0", "-1"])
    def test_refuses_a_limit_that_cuts_off_the_first(self, limit):
        with pytest.raises(CommandError, match=f"--limit {limit}: must be from 1 to"):
            run("slow_queries", "--limit", limit)

    def test_says_that_there_is_none(self):
        assert run("slow_queries") == "No slow query is stored.\n"

    def test_what_cannot_be_explained_is_reported(self, api, everything_is_slow):
        api.get("/api/v1/notes")
        capped_list.flush()
        look = slow_queries.slow_statements("redis")[0]

        with pytest.raises(CommandError, match="No statement"):
            run("slow_queries", "--explain", "0" * 12)
        with pytest.raises(CommandError, match="Only statements of PostgreSQL"):
            run("slow_queries", "--explain", look["fingerprint"])

    @pytest.mark.parametrize("command", [("slow_queries",), ("trace", "r-1")])
    def test_a_silent_redis_is_reported(self, command, monkeypatch):
        monkeypatch.setattr(client.breaker, "is_open", True)

        with pytest.raises(CommandError, match="does not answer"):
            run(*command)


class TestTrace:
    def test_shows_one_request_over_the_stores_in_order(self, api, staff):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}", headers=staff | {"X-Request-ID": "r-9"})
        capped_list.flush()

        [trace] = json.loads(run("trace", "r-9", "--json"))
        at = [step[0] for step in trace["steps"]]
        assert at == sorted(at)
        steps = [(step[2], step[3].split(" ")[0]) for step in trace["steps"]]
        assert steps == [
            *(("redis", "look"), ("redis", "begin"), ("postgres", "SELECT"), ("redis", "end")),
        ]
        text = run("trace", "r-9")
        assert f"GET /api/v1/notes/{note_id} (note): 200 after" in text
        assert "stored because requested" in text
        assert text.splitlines()[-1].count(" ms") == 3  # redis, postgres, elsewhere

    def test_shows_mongodb_too(self, api, staff):
        api.get("/api/v1/activity/abc", headers=staff | {"X-Request-ID": "r-9"})
        capped_list.flush()

        assert "mongodb   find activity_logs {filter: {user_id: ?, " in run("trace", "r-9")

    @pytest.mark.parametrize("token", ["wrong", ""])
    def test_nobody_else_is_traced_for_asking(self, api, staff, token):
        headers = {"X-Trace": "1", "X-Request-ID": "r-9"}
        api.get("/api/v1/notes", headers=headers | {"Authorization": f"Bearer {token}"})
        api.get("/api/v1/notes", headers=headers)
        api.get("/api/v1/notes", headers=staff | {"X-Request-ID": "r-9", "X-Trace": "0"})
        capped_list.flush()

        with pytest.raises(CommandError, match="No trace of r-9 is stored"):
            run("trace", "r-9")

    @pytest.mark.parametrize(("is_staff", "count"), [(True, 1), (False, 0)])
    def test_a_session_of_staff_is_enough(self, is_staff, count):
        browser = Client()
        browser.force_login(User.objects.create_user("ann", is_staff=is_staff))

        browser.get("/api/v1/notes", headers={"X-Trace": "1", "X-Request-ID": "r-9"})

        capped_list.flush()
        assert len(traces.traces_of("r-9")) == count

    def test_a_slow_request_is_stored_unmarked(self, api, everything_is_slow):
        api.get("/api/v1/notes", headers={"X-Request-ID": "r-9"})

        capped_list.flush()
        assert [trace["reason"] for trace in traces.traces_of("r-9")] == ["slow"]

    @pytest.mark.parametrize(("share", "count"), [(1.0, 1), (0.0, 0)])
    def test_a_share_of_the_others_is(self, api, settings, share, count):
        settings.TRACE_SHARE = share
        api.get("/api/v1/notes", headers={"X-Request-ID": "r-9"})

        capped_list.flush()
        assert len(traces.traces_of("r-9")) == count

    def test_holds_so_many_steps_and_counts_the_others(self, api, staff, monkeypatch):
        monkeypatch.setattr(tracing, "STEPS_MAX", 2)
        api.get(f"/api/v1/notes/{make_note()}", headers=staff | {"X-Request-ID": "r-9"})
        capped_list.flush()

        [trace] = traces.traces_of("r-9")
        assert (len(trace["steps"]), trace["left_out"]) == (2, 2)
        assert "and 2 more steps" in run("trace", "r-9")
