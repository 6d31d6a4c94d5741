"""Idempotency-Key: a POST that is repeated is done once, and its reply is the same."""

import json
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from cachelayer import idempotency
from cachelayer.http import PreconditionFailed
from cachelayer.models import IdempotencyKey, OutboxRow
from cachelayer.relay import Relay
from notes import services
from notes.models import Note
from tests.leases import trusted_again
from tests.notes.test_query_counts import statements, verbs

pytestmark = pytest.mark.django_db(transaction=True)

KEY = '"8e03978e-40d5-43dd-bc93-6894a57f9324"'
PATH = "/api/v1/notes"


@pytest.fixture
def post(api):
    def post(body=None, key=KEY, path=PATH, **headers):
        body = {"title": "Once", "content": "words"} if body is None else body
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return api.post(path, body, "application/json", headers={"Idempotency-Key": key, **names})

    return post


class TestRepetition:
    def test_gets_the_same_reply_marked_and_creates_nothing(self, post):
        first, second = post(), post()

        assert (first.status_code, second.status_code) == (201, 201)
        assert first.content == second.content
        for name in ("ETag", "Location", "Cache-Control", "Content-Type"):
            assert first[name] == second[name]
        assert "Idempotency-Replayed" not in first
        assert second["Idempotency-Replayed"] == "true"
        assert Note.objects.count() == 1

    def test_gets_the_reply_of_then_whatever_became_of_the_note(self, post, api):
        first = post()
        api.patch(f"{PATH}/{first.json()['id']}", {"title": "New"}, "application/json")
        assert post().content == first.content
        api.delete(f"{PATH}/{first.json()['id']}")

        assert post().content == first.content
        assert not Note.objects.exists()

    @pytest.mark.parametrize(
        "body",
        ['{"content": "words", "title": "Once"}', '{ "title":"Once",\n"content":"w\\u006frds" }'],
        ids=["other order", "other spelling"],
    )
    def test_may_spell_its_json_differently(self, post, body):
        first = post()

        assert post(body).content == first.content

    def test_may_leave_the_quotes_out(self, post):
        first = post()

        assert post(key=KEY.strip('"')).content == first.content

    def test_of_another_caller_is_another_request(self, post):
        first, second = post(), post(X_User_Id="eve")

        assert first.json()["id"] != second.json()["id"]
        assert second.json()["user_id"] == "eve"

    def test_is_recorded_once(self, post, monkeypatch):
        recorded = []
        monkeypatch.setattr(
            "activity.services.Spool.append_elements", lambda _, elements: recorded.append(elements)
        )
        post()
        post()

        assert len(recorded) == 1

    def test_comes_before_the_preconditions_which_the_first_request_has_changed(self, post, api):
        etag = api.get(PATH)["ETag"]
        first, second = post(If_Match=etag), post(If_Match=etag)
        assert second.content == first.content

        assert post(key="other", If_Match=etag).status_code == 412
        assert Note.objects.count() == 1

    def test_is_recognized_where_the_first_is_committed_before_the_precondition_is_compared(self):
        request = idempotency.IdempotentRequest("abc", "key", bytes(32))
        once = {"user_id": "abc", "notes": [services.NewNote("Once", "")], "request": request}
        first = []

        def require() -> None:
            first.append(services.notes_create(**once))
            raise PreconditionFailed

        assert services.notes_create(**once, require=require) == (first[0][0], True)
        assert Note.objects.count() == 1

    def test_is_answered_once_the_note_is_in_the_lists(self, post, api, monkeypatch):
        """After a crash between commit and delivery, as the outbox row shows it."""
        assert trusted_again()
        api.get(PATH)
        assert "hit" in api.get(PATH)["Cache-Status"]
        with monkeypatch.context() as patch:
            patch.setattr("cachelayer.write.deliver_after_commit", lambda *_: None)
            first = post()
        assert OutboxRow.objects.exists()

        assert post().content == first.content
        assert not OutboxRow.objects.exists()
        assert api.get(PATH).json()["results"] == [first.json()]


class TestAnotherRequest:
    @pytest.mark.parametrize("body", [{"title": "Other"}, {"title": "Once", "content": "Words"}])
    def test_with_the_same_key_is_refused(self, post, body):
        post()
        refused = post(body)

        assert refused.status_code == 422
        assert refused["Content-Type"] == "application/problem+json"
        assert refused.json()["type"] == "urn:trilith:problem:idempotency-key-reused"
        assert Note.objects.count() == 1

    @pytest.mark.parametrize("if_match", ['"other"', "*"])
    def test_whose_precondition_fails_is_refused_for_its_key(self, post, if_match):
        post()

        assert post({"title": "Other"}, If_Match=if_match).status_code == 422


class TestFailure:
    def test_of_what_is_not_valid_does_not_use_the_key_up(self, post):
        assert post({"title": ""}).status_code == 400

        assert post().status_code == 201

    def test_of_a_precondition_does_not_use_the_key_up(self, post):
        assert post(If_Match='"other"').status_code == 412

        assert post().status_code == 201

    @pytest.mark.parametrize("path", [PATH, f"{PATH}/bulk"])
    def test_of_the_notes_does_not_use_the_key_up(self, post, path):
        """Key, notes and outbox row are written by one statement, of which the last part fails here."""
        note = {"title": "Once"}
        body = note if path == PATH else {"notes": [note]}
        fails = "CHECK (tags = '{}') NOT VALID"
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE cachelayer_outbox ADD CONSTRAINT fails {fails}")
        try:
            assert post(body, path=path).status_code == 500
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE cachelayer_outbox DROP CONSTRAINT fails")
        assert not IdempotencyKey.objects.exists()
        assert not Note.objects.exists()

        again = post(body, path=path)
        assert again.status_code == 201
        assert "Idempotency-Replayed" not in again


class TestUnderWay:
    def test_is_a_409_and_then_the_reply(self, post):
        """The first request stands in its transaction, as in another process."""
        first = post()
        row = IdempotencyKey.objects.values_list().get()
        IdempotencyKey.objects.all().delete()
        parameters = {k: v for k, v in connection.get_connection_params().items() if k != "pool"}
        parameters = {k: parameters[k] for k in ("dbname", "host", "port", "user", "password")}
        *_, lock = idempotency.claim(
            idempotency.IdempotentRequest("abc", KEY.strip('"'), b""), idempotency.Created([], None)
        )
        with psycopg.connect(**parameters) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
            other.execute(
                "INSERT INTO cachelayer_idempotency VALUES (%s, %s, %s, %s, %s, %s)", row[-6:]
            )

            conflict = post()
            assert conflict.status_code == 409
            assert conflict.json()["type"] == "urn:trilith:problem:idempotency-key-in-use"
            other.commit()

        assert post().content == first.content
        assert Note.objects.count() == 1


class TestKey:
    @pytest.mark.parametrize(
        "key",
        [
            "",
            '""',
            "a b",
            "a,b",
            'a"b',
            '"a',
            '"a"b',
            '"a\\n"',
            "ä",
            "x" * 256,
            f'"{"x" * 256}"',
            "a;b=1",
            '"a", "b"',
            "'a b'",
            "a\tb",
            "a\x7f",
        ],
    )
    def test_malformed_is_a_400_that_names_the_header(self, post, key):
        refused = post(key=key)

        assert refused.status_code == 400
        assert [error["field"] for error in refused.json()["errors"]] == ["Idempotency-Key"]
        assert "1 to 255" in refused.json()["errors"][0]["message"]
        assert not Note.objects.exists()

    @pytest.mark.parametrize(
        "key", ["k", "x" * 255, '"a b, c;d"', '"quoted \\" and \\\\"', f'"{"x" * 255}"']
    )
    def test_well_formed_is_accepted(self, post, key):
        assert post(key=key).status_code == 201
        assert post(key=key)["Idempotency-Replayed"] == "true"

    @pytest.mark.parametrize("key", [KEY, "not valid"])
    def test_says_nothing_to_other_methods_and_paths(self, post, api, key):
        created = post().json()
        path, headers = f"{PATH}/{created['id']}", {"Idempotency-Key": key}

        def send(method: str, path: str, body: object = None):
            return api.generic(method, path, json.dumps(body), "application/json", headers=headers)

        replies = [
            api.get(path, headers=headers),
            api.get(PATH, headers=headers),
            send("PUT", path, {"title": "Put", "content": ""}),
            send("PATCH", path, {"title": "Patched"}),
            send("POST", f"{PATH}/bulk/delete", {"ids": [created["id"]]}),
            send("DELETE", path),
        ]

        assert [reply.status_code for reply in replies] == [200, 200, 200, 200, 200, 404]
        assert not any("Idempotency-Replayed" in reply for reply in replies)
        assert list(IdempotencyKey.objects.values_list("key", flat=True)) == [KEY.strip('"')]


class TestExpiry:
    @pytest.fixture
    def aged(self):
        def aged(hours: float) -> None:
            IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=hours))

        return aged

    def test_is_after_a_day(self, post, aged):
        first = post()
        aged(23.9)
        assert post().json()["id"] == first.json()["id"]
        aged(24.1)

        again = post({"title": "Other"})
        assert again.status_code == 201
        assert "Idempotency-Replayed" not in again
        assert post({"title": "Other"}).content == again.content
        assert Note.objects.count() == 2

    def test_is_done_by_the_relay_that_leads(self, post, aged):
        post()
        aged(24.1)
        post(key="young")
        relay = Relay()
        with connection.cursor() as cursor:
            relay._lead(cursor, also_not_due=False)

        assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["young"]

    def test_of_many_keys_delivers_what_waits_between_batches(self, post, aged, monkeypatch):
        for number in range(5):
            post(key=str(number))
        aged(25)
        monkeypatch.setattr(idempotency, "_REMOVED_AT_ONCE", 2)
        relay, keys_left = Relay(), []

        def deliver(*, also_not_due: bool) -> bool:
            keys_left.append(IdempotencyKey.objects.count())
            return True

        monkeypatch.setattr(relay, "_deliver", deliver)
        with connection.cursor() as cursor:
            relay._lead(cursor, also_not_due=False)

        assert keys_left == [5, 3, 1]
        assert not IdempotencyKey.objects.exists()


@pytest.mark.usefixtures("served")
class TestCost:
    WRITES = [
        "INSERT INTO cachelayer_idempotency",
        "INSERT INTO notes",
        "INSERT INTO cachelayer_outbox",
    ]

    def test_of_the_first_is_one_statement(self, post):
        assert [verbs(sql) for sql in statements(post)] == [
            [self.WRITES[0], "UPDATE SET", *self.WRITES[1:]]
        ]

    def test_of_a_repetition_is_two(self, post):
        post()

        assert len(statements(post)) == 2

    def test_without_a_key_is_what_it_was(self, api):
        [sql] = statements(lambda: api.post(PATH, {"title": "x"}, "application/json"))

        assert verbs(sql) == self.WRITES[1:]
