"""Notes created and deleted in bulk: one statement, a result for each, and else as single ones."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import bson
import pytest
from django.db import connection

from cachelayer.models import OutboxRow
from notes import services
from notes.models import Note
from tests.builders import make_note
from tests.leases import trusted_again
from tests.notes.test_query_counts import ADDED, statements, verbs

pytestmark = pytest.mark.django_db(transaction=True)

CREATE, DELETE = "/api/v1/notes/bulk", "/api/v1/notes/bulk/delete"
KEY = {"Idempotency-Key": '"5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b"'}


@pytest.fixture
def create(api):
    def create(notes, **headers):
        return api.post(CREATE, {"notes": notes}, "application/json", headers=headers)

    return create


@pytest.fixture
def delete(api):
    def delete(ids, **headers):
        return api.post(
            DELETE, {"ids": [str(note_id) for note_id in ids]}, "application/json", headers=headers
        )

    return delete


@pytest.fixture
def events(monkeypatch):
    recorded = []

    def append(_, elements):
        recorded.append(bson.decode((len(elements) + 5).to_bytes(4, "little") + elements + b"\0"))

    monkeypatch.setattr("activity.spool.Spool.append_elements", append)
    return recorded


def titled(count: int) -> list[dict[str, str]]:
    return [{"title": f"Title {number}", "content": f"words {number}"} for number in range(count)]


def named(reply) -> list[tuple[str, str]]:
    return [(error["field"], error["code"]) for error in reply.json()["errors"]]


class TestCreate:
    def test_has_a_result_for_each_in_order(self, create, api):
        reply = create([{"title": "First", "content": "words"}, {"title": " Second "}])

        assert reply.status_code == 201
        first, second = reply.json()["results"]
        assert (first["status"], second["status"]) == (201, 201)
        assert [first["note"]["title"], second["note"]["title"]] == ["First", "Second"]
        assert [first["note"]["content"], second["note"]["content"]] == ["words", ""]
        for result in (first, second):
            single = api.get(f"/api/v1/notes/{result['note']['id']}")
            assert single.json() == result["note"]
            assert single["ETag"] == result["etag"]
            assert result["note"]["user_id"] == "abc"

    @pytest.mark.parametrize("count", [1, 100])
    def test_takes_1_to_100(self, create, count):
        assert len(create(titled(count)).json()["results"]) == count
        assert Note.objects.count() == count

    @pytest.mark.parametrize("count", [0, 101])
    def test_refuses_none_and_more(self, create, count):
        reply = create(titled(count))

        assert reply.status_code == 400
        assert reply.json()["errors"][0]["field"] == "notes"

    def test_looks_at_no_element_of_a_list_that_is_too_long(self, create):
        reply = create([0] * 200_000)

        assert reply.status_code == 400
        assert named(reply) == [("notes", "max_length")]

    def test_stores_none_where_one_is_not_valid_and_names_its_place(self, create):
        reply = create(
            [{"title": "Good"}, {"title": ""}, {"content": "x"}, {"title": "x", "id": 1}, 5]
        )

        assert reply.status_code == 400
        assert named(reply) == [
            ("notes.1.title", "blank"),
            ("notes.2.title", "required"),
            ("notes.3.id", "unknown"),
            ("notes.4", "invalid"),
        ]
        assert not Note.objects.exists()

    def test_ends_the_lists_that_were_cached(self, create, api):
        assert trusted_again()
        paths = ["/api/v1/notes", "/api/v1/notes?userId=abc", "/api/v1/notes?userId=eve"]
        for path in paths:
            api.get(path)
        created = create(titled(3)).json()["results"]

        assert ["hit" in api.get(path)["Cache-Status"] for path in paths] == [False, False, True]
        assert len(api.get(paths[1]).json()["results"]) == len(created)

    def test_records_an_event_for_each(self, create, events):
        ids = [result["note"]["id"] for result in create(titled(3)).json()["results"]]

        assert [(event["action"], event["resource_id"]) for event in events] == [
            ("note_created", note_id) for note_id in ids
        ]

    def test_with_a_key_is_done_once(self, create, events):
        first, second = create(titled(3), **KEY), create(titled(3), **KEY)

        assert second.content == first.content
        assert second["Idempotency-Replayed"] == "true"
        assert (Note.objects.count(), len(events)) == (3, 3)
        assert create(titled(2), **KEY).status_code == 422

    def test_shares_no_key_with_the_single_create(self, create, api):
        create(titled(1), **KEY)

        assert (
            api.post("/api/v1/notes", titled(1)[0], "application/json", headers=KEY).status_code
            == 422
        )

    def test_is_a_413_where_the_body_is_too_long(self, create, settings):
        settings.REQUEST_BODY_MAX_BYTES = 1_000
        reply = create(titled(100))

        assert reply.status_code == 413
        assert reply["Content-Type"] == "application/problem+json"
        assert not Note.objects.exists()

    def test_has_no_representation_to_compare(self, create, delete):
        assert create(titled(1), **{"If-Match": "*"}).status_code == 412
        assert delete([make_note()], **{"If-Match": '"x"'}).status_code == 412
        assert Note.objects.count() == 1


class TestDelete:
    def test_has_the_status_of_a_delete_for_each(self, delete):
        own, others, unknown = make_note(), make_note(user_id="eve"), uuid4()
        reply = delete([others, own, unknown])

        assert reply.status_code == 200
        assert reply.json() == {
            "results": [
                {"id": str(others), "status": 403},
                {"id": str(own), "status": 204},
                {"id": str(unknown), "status": 404},
            ]
        }
        assert list(Note.objects.values_list("pk", flat=True)) == [others]

    def test_again_finds_nothing(self, delete):
        ids = [make_note() for _ in range(2)]
        delete(ids)

        assert [result["status"] for result in delete(ids).json()["results"]] == [404, 404]

    def test_ends_what_was_cached_of_what_is_gone_and_of_nothing_else(self, delete, api):
        assert trusted_again()
        own, others = make_note(), make_note(user_id="eve")
        paths = [f"/api/v1/notes/{own}", f"/api/v1/notes/{others}", "/api/v1/notes?userId=abc"]
        for path in paths:
            api.get(path)
        delete([own, others])

        replies = [api.get(path) for path in paths]
        assert [reply.status_code for reply in replies] == [404, 200, 200]
        assert ["hit" in reply["Cache-Status"] for reply in replies] == [False, True, False]

    def test_records_an_event_for_each_that_is_gone(self, delete, events):
        own, others = make_note(), make_note(user_id="eve")
        delete([own, others, uuid4()])

        assert [(event["action"], event["resource_id"]) for event in events] == [
            ("note_deleted", str(own))
        ]

    @pytest.mark.parametrize("count", [0, 101])
    def test_refuses_none_and_more_than_100(self, delete, count):
        assert delete([uuid4() for _ in range(count)]).status_code == 400

    @pytest.mark.parametrize(
        "malformed",
        [
            "x",
            "",
            5,
            None,
            "5b0f2c3e8a7d4e0f9b1a2c3d4e5f6a7b",
            "5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b\n",
        ],
    )
    def test_names_the_place_of_a_malformed_id(self, api, malformed):
        own = make_note()
        reply = api.post(DELETE, {"ids": [str(own), malformed]}, "application/json")

        assert reply.status_code == 400
        assert reply.json()["errors"][0]["field"] == "ids.1"
        assert Note.objects.exists()

    def test_refuses_an_id_that_is_given_twice(self, delete):
        own = make_note()
        reply = delete([own, uuid4(), UUID(str(own).upper())])

        assert named(reply) == [("ids.2", "repeated")]
        assert Note.objects.exists()

    def test_of_the_same_notes_in_any_order_at_once_deletes_each_once(self):
        ids = [make_note() for _ in range(100)]
        start = threading.Barrier(4)

        def delete(order: int) -> list[str]:
            start.wait()
            try:
                return services.notes_delete(note_ids=ids[::order], caller="abc")
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(delete, [1, -1, 1, -1]))

        assert sum(result.count("deleted") for result in results) == len(ids)
        assert {text for result in results for text in result} <= {"deleted", "not-found"}


@pytest.mark.usefixtures("served")
class TestCost:
    @pytest.mark.parametrize("count", [1, 100])
    def test_of_a_create_is_one_statement_and_one_unlink(self, create, round_trips, count):
        ran = statements(lambda: create(titled(count)))

        assert [verbs(sql) for sql in ran] == [["INSERT INTO notes", ADDED]]
        assert len(round_trips) == 1

    def test_of_a_create_with_a_key_is_the_same(self, create, round_trips):
        assert len(statements(lambda: create(titled(100), **KEY))) == 1
        assert len(round_trips) == 1

    @pytest.mark.parametrize("count", [1, 100])
    def test_of_a_delete_is_one_statement_and_one_unlink(self, delete, round_trips, count):
        ids = [make_note() for _ in range(count)]
        round_trips.clear()
        ran = statements(lambda: delete(ids))

        assert [verbs(sql) for sql in ran] == [["DELETE FROM notes", ADDED]]
        assert len(round_trips) == 1

    def test_of_a_delete_that_finds_others_is_one_statement_more(self, delete):
        ids = [make_note(), make_note(user_id="eve"), *(uuid4() for _ in range(50))]

        assert len(statements(lambda: delete(ids))) == 2

    def test_in_vain_leaves_no_outbox_row(self, delete):
        delete([uuid4()])

        assert not OutboxRow.objects.exists()

    def test_of_the_outbox_is_one_row_with_each_tag_once(self, create, monkeypatch):
        monkeypatch.setattr("cachelayer.write.deliver_after_commit", lambda *_: None)
        ids = [result["note"]["id"] for result in json.loads(create(titled(3)).content)["results"]]

        [tags] = OutboxRow.objects.values_list("tags", flat=True)
        assert sorted(tags) == sorted(["notes:all", "notes:user:abc", *(f"note:{i}" for i in ids)])
