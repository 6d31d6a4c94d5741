"""Nothing that was committed stays cached: outbox, relay and triggers on real servers."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction

from cachelayer import client, outbox, protocol
from cachelayer import relay as relaying
from cachelayer.invalidation import clear, invalidate
from cachelayer.models import Clearance, OutboxRow
from cachelayer.relay import Relay
from cachelayer.testing import assert_invalidates
from config.stack import ROOT, process
from notes import cache_keys, services
from notes.models import Note
from tests.builders import make_note, make_notes
from tests.cachelayer.test_read import WORDS, Loads, get_or_load, key

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_restored")]


@pytest.fixture(autouse=True)
def _empty_outbox(_own_cache, transactional_db) -> None:
    OutboxRow.objects.all().delete()  # emptying the tables for the last test fired the trigger


@pytest.fixture
def redis_restored(stack):
    yield
    stack.start("redis")
    client.breaker.reset()


@pytest.fixture
def relay():
    running = Relay()
    thread = threading.Thread(target=running.run)
    thread.start()
    assert process.wait_until(lambda: running.leads, 30)
    yield running
    running.stop()
    thread.join()


def rows() -> int:
    return outbox.depth_and_age()[0]


def psql(statement: str) -> None:
    """An edit past the service and past Django's ORM."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


class TestInvalidate:
    def test_leaves_no_row_once_it_is_delivered(self):
        with transaction.atomic():
            invalidate("word:one")
            assert rows() == 1

        assert rows() == 0

    def test_a_rollback_takes_the_row_back_too(self):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            invalidate("word:one")
            _ = 1 / 0

        assert rows() == 0

    def test_a_rollback_to_a_savepoint_takes_back_what_it_invalidated_and_no_more(self):
        get_or_load(key("one"), Loads())
        get_or_load(key("two"), Loads())
        with transaction.atomic():
            invalidate("word:two")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                invalidate("word:one")
                _ = 1 / 0

        assert rows() == 0
        assert [protocol.look(key(name)).fresh for name in ("one", "two")] == [True, False]

    def test_a_crash_between_commit_and_unlink_leaves_the_row_to_the_relay(self, monkeypatch):
        get_or_load(key(), Loads())
        monkeypatch.setattr("cachelayer.invalidation._Delivery.__call__", lambda self: None)
        invalidate("word:one")
        assert protocol.look(key()).fresh  # the window that only the relay closes

        assert outbox.deliver(also_not_due=True) == 1

        assert not protocol.look(key()).fresh
        assert rows() == 0

    def test_what_is_delivered_twice_does_no_harm(self):
        get_or_load(key(), Loads())
        invalidate("word:one")
        get_or_load(key(), Loads())

        protocol.unlink(["word:one"])

        assert get_or_load(key(), Loads()).value is not None

    def test_the_relay_leaves_a_row_to_its_writer_for_a_moment(self):
        for _ in range(10):  # on a machine that stands still for a second, one is due at once
            outbox.add(["word:one"])
            if outbox.deliver() == 0:
                break

        assert process.wait_until(lambda: outbox.deliver() == 1, 30)

    def test_without_redis_the_row_stays(self, stack):
        get_or_load(key(), Loads())
        stack.kill("redis")
        invalidate("word:one")

        assert rows() == 1
        with pytest.raises(client.CacheDown):
            outbox.deliver(also_not_due=True)
        assert rows() == 1


class TestDepthAndAge:
    def test_are_those_of_the_rows_and_of_the_oldest(self, transactional_db):
        assert outbox.depth_and_age() == (0, 0)
        psql(
            "INSERT INTO cachelayer_outbox (tags, due_at, is_intent, created_at)"
            " SELECT '{}', now() + interval '1 hour', true, now() - n * interval '1 minute'"
            " FROM generate_series(3, 1, -1) AS n"
        )

        depth, age_seconds = outbox.depth_and_age()

        assert depth == 3
        assert 180 <= age_seconds < 240

    def test_rows_are_counted_up_to_a_bound(self, transactional_db, monkeypatch):
        monkeypatch.setattr(outbox, "DEPTH_MAX", 3)
        psql(
            "INSERT INTO cachelayer_outbox (tags, due_at, is_intent)"
            " SELECT '{}', now() + interval '1 hour', true FROM generate_series(1, 5)"
        )

        assert outbox.depth_and_age()[0] == 3


class TestDeliver:
    def test_rows_that_name_more_tags_than_one_reply_may_take_are_unlinked_in_parts(
        self, monkeypatch
    ):
        get_or_load(key(), Loads())
        monkeypatch.setattr(outbox, "_UNLINKED_AT_ONCE", 2)
        outbox.add([*(f"word:{number}" for number in range(7)), "word:one"])

        assert outbox.deliver(also_not_due=True) == 1

        assert rows() == 0
        assert not protocol.look(key()).fresh

    @pytest.mark.parametrize("tags", ["{}", "{NULL,word:one}", "{{word:one},{NULL}}"])
    def test_a_row_of_a_shape_that_only_a_person_writes_holds_nothing_up(self, tags):
        get_or_load(key(), Loads())
        psql(f"INSERT INTO cachelayer_outbox (tags) VALUES ('{tags}'), ('{{word:one}}')")

        assert outbox.deliver(also_not_due=True) == 2

        assert not protocol.look(key()).fresh


class TestPurge:
    def test_takes_the_value_out_of_redis_and_is_as_durable_as_a_tag(self, redis_client):
        get_or_load(key(), Loads())
        with transaction.atomic():
            outbox.add(["word:one", key().purge])  # and then the process died
        assert redis_client.exists(key().entry_name)

        outbox.deliver(also_not_due=True)

        assert not redis_client.exists(key().entry_name)

    def test_a_load_under_way_does_not_bring_it_back(self, redis_client):
        get_or_load(key(), Loads(during=lambda: invalidate("word:one", key().purge)))

        assert not redis_client.exists(key().entry_name)


class TestClear:
    def test_is_one_delete_and_logged_with_who_did_it(self):
        get_or_load(key(), Loads())

        assert clear([WORDS], cleared_by="ann") == ["words"]

        assert protocol.look(key()).reason == "epoch"
        assert list(Clearance.objects.values_list("cleared_by", "namespaces")) == [
            ("ann", ["words"])
        ]


class TestTriggers:
    @pytest.mark.parametrize(
        "edit",
        [
            lambda pk: psql(f"UPDATE notes SET title = 'New' WHERE id = '{pk}'"),
            lambda pk: psql(f"DELETE FROM notes WHERE id = '{pk}'"),
            lambda pk: psql("TRUNCATE notes"),
            lambda pk: Note.objects.filter(pk=pk).update(title="New"),
            lambda pk: Note.objects.bulk_update([Note(pk=pk, title="New")], ["title"]),
        ],
        ids=["psql update", "psql delete", "truncate", "QuerySet.update", "bulk_update"],
    )
    def test_an_edit_past_the_service_is_seen_over_http_within_a_second(self, api, relay, edit):
        note_id = make_note(title="Old")
        paths = [f"/api/v1/notes/{note_id}", "/api/v1/notes", "/api/v1/notes?userId=abc"]
        before = [api.get(path).content for path in paths]

        edit(note_id)

        assert process.wait_until(
            lambda: all(api.get(p).content != b for p, b in zip(paths, before, strict=True)), 30
        )

    def test_an_insert_past_the_service_ends_absence_and_lists(self, api, relay):
        note_id = "5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b"
        assert api.get(f"/api/v1/notes/{note_id}").status_code == 404

        psql(f"INSERT INTO notes (id, user_id, title) VALUES ('{note_id}', 'abc', 'Made in psql')")

        assert process.wait_until(
            lambda: api.get(f"/api/v1/notes/{note_id}").status_code == 200, 30
        )

    def test_they_name_the_tags_that_the_services_name(self):
        note_id = make_note(user_id="a:b%c".replace("%", "-"))

        Note.objects.filter(pk=note_id).update(title="New")

        (tags,) = OutboxRow.objects.values_list("tags", flat=True)
        assert set(tags) == set(cache_keys.tags_of_note(note_id=note_id, user_id="a:b-c"))

    def test_a_change_of_owner_ends_the_lists_of_both(self):
        note_id = make_note(user_id="ann")

        with assert_invalidates("notes:user:ann", "notes:user:eve"):
            Note.objects.filter(pk=note_id).update(user_id="eve")

    def test_a_statement_over_many_rows_clears_the_namespaces(self):
        make_notes(501)
        OutboxRow.objects.all().delete()

        Note.objects.update(content="y")

        (tags,) = OutboxRow.objects.values_list("tags", flat=True)
        assert tags == [cache_keys.NOTES.tag, cache_keys.NOTE_LISTS.tag]

    def test_a_service_s_write_is_told_once(self):
        note_id = make_note()
        inserted = []
        with transaction.atomic():
            services.note_update(note_id=note_id, caller=None, title="New")
            inserted = list(OutboxRow.objects.values_list("tags", flat=True))

        assert len(inserted) == 1
        assert rows() == 0

    def test_a_further_write_in_a_service_s_transaction_is_not_lost(self):
        one, other = make_note(), make_note(user_id="eve")
        with assert_invalidates(f"note:{one}", f"note:{other}"), transaction.atomic():
            services.note_update(note_id=one, caller=None, title="New")
            Note.objects.filter(pk=other).update(title="New, too")

    def test_a_statement_that_changes_nothing_says_nothing(self):
        Note.objects.filter(title="none such").update(title="New")

        assert rows() == 0

    def test_can_be_taken_away_and_brought_back(self):
        try:
            call_command("migrate", "config", "zero", verbosity=0)
            Note.objects.create(user_id="abc", title="Unseen")
            assert rows() == 0
        finally:
            call_command("migrate", "config", verbosity=0)
        Note.objects.create(user_id="abc", title="Seen")
        assert rows() == 1


class TestRelay:
    def test_holds_no_connection_of_the_pool_while_it_waits_to_lead(self, relay, monkeypatch):
        held = []
        follower = Relay()
        following = threading.Thread(target=follower.run)
        wait = relaying._wait_for_notice

        def waiting(listening):
            if threading.current_thread() is not following:
                return wait(listening)
            held.append(connections["default"].connection)
            follower.stop()
            return False

        monkeypatch.setattr(relaying, "_wait_for_notice", waiting)
        following.start()
        following.join(30)

        assert held == [None]

    def test_one_of_many_leads_and_another_takes_over(self, relay):
        other = Relay()
        thread = threading.Thread(target=other.run)
        thread.start()
        threading.Event().wait(0.3)
        assert not other.leads

        relay.stop()

        assert process.wait_until(lambda: other.leads, 30)
        other.stop()
        thread.join()

    def test_delivers_within_two_seconds_of_redis_answering(self, stack, relay):
        get_or_load(key(), Loads())
        stack.pause("redis")
        invalidate("word:one")
        threading.Event().wait(2.5)  # long enough for its breaker to open and wait
        stack.resume("redis")

        assert process.wait_until(lambda: rows() == 0, 30)

    def test_survives_a_restart_of_postgresql(self, stack, relay):
        connection.close()
        stack.kill("postgres")
        stack.start("postgres")
        assert process.wait_until(lambda: relay.leads, 30)
        make_note()
        Note.objects.update(title="New")

        assert process.wait_until(lambda: rows() == 0, 30)

    def test_steps_in_where_the_leader_is_frozen(self, relay):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            assert cursor.fetchone() == (1,)
        relay._deliver = lambda **_: True  # it holds the lock, and delivers nothing
        other = Relay()
        thread = threading.Thread(target=other.run)
        thread.start()
        outbox.add(["word:one"])

        delivered = process.wait_until(lambda: rows() == 0, 30)

        other.stop()
        thread.join()
        assert delivered

    def test_runs_as_a_command_until_it_is_told_to_end(self):
        name = connection.settings_dict["NAME"]
        url = os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
        command = subprocess.Popen(
            [sys.executable, "manage.py", "cache_relay"],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": url},
            stdout=subprocess.PIPE,
        )
        try:
            assert command.stdout.readline()
            outbox.add(["word:one"])
            assert process.wait_until(lambda: rows() == 0, 30)
        finally:
            command.send_signal(signal.SIGTERM)
            assert command.wait(10) == 0
            command.stdout.close()
