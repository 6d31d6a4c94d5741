"""How many statements and round trips each endpoint costs, whatever the number of rows."""

import json
import re
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cachelayer.models import OutboxRow
from tests.builders import make_note, make_notes

pytestmark = pytest.mark.django_db(transaction=True)


def statements(call) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        call()
    return [
        query["sql"]
        for query in captured.captured_queries
        if query["sql"] not in ("BEGIN", "COMMIT")
    ]


ADDED = "INSERT INTO cachelayer_outbox"


def verbs(sql: str) -> list[str]:
    """What a statement does: each of its verbs, with the table that it writes."""
    return re.findall(r"BEGIN|COMMIT|UPDATE \w+|INSERT INTO \w+|DELETE FROM \w+|^\s*SELECT", sql)


class TestHit:
    @pytest.mark.parametrize("path", ["", "?userId=abc", "?cursor=", "?q=plain", "/{id}"])
    def test_is_no_statement_and_one_round_trip(self, api, round_trips, path):
        make_notes(30)
        url = "/api/v1/notes" + path.format(id=make_note())
        api.get(url)
        round_trips.clear()

        assert statements(lambda: api.get(url)) == []
        assert len(round_trips) == 1


class TestMiss:
    @pytest.mark.parametrize(
        ("path", "most"),
        [
            ("/{id}", 1),
            ("", 2),
            ("?userId=abc", 2),
            ("?q=plain", 2),
            ("?count=false", 1),
            ("?cursor=", 1),
        ],
    )
    @pytest.mark.parametrize("rows", [1, 60])
    def test_costs_the_same_whatever_the_number_of_rows(self, api, path, most, rows):
        make_notes(rows)
        url = "/api/v1/notes" + path.format(id=make_note())

        assert len(statements(lambda: api.get(url))) == most

    def test_is_three_round_trips_look_begin_end(self, api, round_trips):
        note_id = make_note()
        round_trips.clear()

        api.get(f"/api/v1/notes/{note_id}")

        assert len(round_trips) <= 4  # the first use of a script may load it


@pytest.mark.usefixtures("served")
class TestWrite:
    def test_create_is_one_statement_and_one_unlink(self, api, round_trips):
        body = json.dumps({"title": "x"})

        ran = statements(lambda: api.post("/api/v1/notes", body, "application/json"))

        assert [verbs(sql) for sql in ran] == [["INSERT INTO notes", ADDED]]
        assert len(round_trips) == 1

    @pytest.mark.parametrize("method", ["put", "patch", "delete"])
    def test_a_change_is_one_statement_and_one_unlink(self, api, round_trips, method):
        note_id = make_note()
        body = json.dumps({"title": "x", "content": "y"})
        round_trips.clear()

        ran = statements(
            lambda: getattr(api, method)(f"/api/v1/notes/{note_id}", body, "application/json")
        )

        written = "DELETE FROM notes" if method == "delete" else "UPDATE notes"
        assert [verbs(sql) for sql in ran] == [[written, ADDED]]
        assert len(round_trips) == 1

    def test_a_conditional_change_is_also_a_lock_in_a_transaction(self, api, round_trips):
        note_id = make_note()
        etag = api.get(f"/api/v1/notes/{note_id}")["ETag"]
        body = json.dumps({"title": "x", "content": "y"})
        round_trips.clear()

        with CaptureQueriesContext(connection) as captured:
            api.put(
                f"/api/v1/notes/{note_id}", body, "application/json", headers={"If-Match": etag}
            )

        ran = [verbs(query["sql"]) for query in captured.captured_queries]
        assert ran == [["BEGIN"], ["SELECT"], ["UPDATE notes", ADDED], ["COMMIT"]]
        assert len(round_trips) == 1

    @pytest.mark.parametrize("method", ["put", "patch", "delete"])
    def test_in_vain_is_two_statements_and_leaves_no_row_behind(self, api, round_trips, method):
        body = json.dumps({"title": "x", "content": "y"})

        ran = statements(
            lambda: getattr(api, method)(f"/api/v1/notes/{uuid4()}", body, "application/json")
        )

        assert len(ran) == 2
        assert round_trips == []
        assert not OutboxRow.objects.exists()


class TestListInvalidation:
    def test_a_write_ends_the_lists_of_its_user_and_of_all_and_no_others(self, api):
        make_note(user_id="abc")
        make_note(user_id="eve")
        paths = ["?userId=abc", "?userId=abc&sort=title:ASC", "", "?cursor=", "?userId=eve"]
        for path in paths:
            api.get(f"/api/v1/notes{path}")

        make_note(user_id="abc")

        hits = ["hit" in api.get(f"/api/v1/notes{path}")["Cache-Status"] for path in paths]
        assert hits == [False, False, False, False, True]
