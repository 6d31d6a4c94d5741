"""manage.py cache: what operators see and do on the command line."""

import json
import os
from io import StringIO

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from pymongo.errors import AutoReconnect

from cachelayer import audit, client, counts, popularity, protocol, warming
from cachelayer.models import Clearance
from notes import cache_keys
from notes.models import Note
from tests.builders import make_note, make_notes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_counted_yet() -> None:
    counts.take()


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("cache", *arguments, stdout=out)
    return out.getvalue()


def edit_unseen(**changes) -> None:
    """An edit that no trigger sees, as a broken installation would have it."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE notes DISABLE TRIGGER USER")
        Note.objects.update(**changes)
        cursor.execute("ALTER TABLE notes ENABLE TRIGGER USER")


class TestActions:
    def test_stats_are_the_figures(self, api):
        def reads() -> int:
            counts.flush()
            return json.loads(run("stats"))["namespaces"]["notes"]["reads"]

        before = reads()
        api.get(f"/api/v1/notes/{make_note()}")

        assert reads() == before + 1

    def test_explain_tells_of_a_key(self, api):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        assert json.loads(run("explain", f"notes:{note_id}"))["cached"]

    @pytest.mark.parametrize("name", ["nonsense", "notes:list:user:\udcff"])
    def test_explain_refuses_what_is_no_key(self, name):
        with pytest.raises(CommandError, match=r"keys look like notes:\{id\}"):
            run("explain", name)

    def test_clear_ends_what_is_cached_and_is_logged(self, api):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        assert "notes" in run("clear", "notes")
        assert protocol.look(cache_keys.note(note_id)).reason == "epoch"
        assert "manage.py" in Clearance.objects.get().cleared_by

    def test_an_empty_namespace_is_none_and_not_all(self):
        with pytest.raises(CommandError, match="there is no namespace ; there are notes"):
            run("clear", "")

        assert not Clearance.objects.exists()

    @pytest.mark.parametrize("error", [KeyError, OSError])  # OSError from Python 3.13 on
    def test_a_user_without_a_name_is_logged_by_number(self, monkeypatch, error):
        def nameless() -> str:
            raise error

        monkeypatch.setattr("getpass.getuser", nameless)

        run("clear", "notes")

        assert Clearance.objects.get().cleared_by == f"manage.py cache clear, by {os.getuid()}"

    def test_an_unknown_namespace_is_one_line(self):
        with pytest.raises(CommandError, match="there is no namespace x; there are notes"):
            run("clear", "x")

    def test_without_redis_it_is_one_line(self, stack):
        stack.kill("redis")
        try:
            with pytest.raises(CommandError, match="Redis does not answer"):
                run("warm")
        finally:
            stack.start("redis")
            client.breaker.reset()

    @pytest.mark.parametrize("action", ["clear", "warm", "audit"])
    @pytest.mark.parametrize("store", ["postgres", "mongodb"])
    def test_without_a_store_it_is_one_line(self, monkeypatch, action, store):
        def silent(*args: object, **named: object) -> None:
            raise OperationalError("away\nor not") if store == "postgres" else AutoReconnect("away")

        of = {"clear": "clear", "warm": "warming.warm", "audit": "audit.audit"}[action]
        monkeypatch.setattr(f"cachelayer.management.commands.cache.{of}", silent)

        with pytest.raises(CommandError, match=f"^{store} failed: away$"):
            run(action)

    def test_what_is_no_silence_of_a_store_is_not_hidden(self, monkeypatch):
        monkeypatch.setattr(audit, "audit", lambda count: 1 / 0)

        with pytest.raises(ZeroDivisionError):
            run("audit")


class TestWarm:
    def read(self, api, notes, times: int) -> None:
        for note in notes:
            for _ in range(times):
                api.get(f"/api/v1/notes/{note.pk}")
        popularity.flush()

    def test_loads_what_was_read_most_by_one_statement(self, api, django_assert_num_queries):
        notes = make_notes(5)
        self.read(api, notes[:3], 2)
        run("clear")

        with django_assert_num_queries(1):
            assert warming.warm(cache_keys.NOTES) == 3

        assert all(protocol.look(cache_keys.note(note.pk)).fresh for note in notes[:3])

    def test_leaves_alone_what_is_cached_already(self, api, django_assert_num_queries):
        self.read(api, make_notes(2), 1)

        with django_assert_num_queries(0):
            assert warming.warm(cache_keys.NOTES) == 0

    def test_takes_the_most_read_first_and_older_reads_count_less(self, api):
        first, second = make_notes(2)
        self.read(api, [first], 3)
        for _ in range(20):
            popularity.decay(["notes"])
        self.read(api, [second], 1)

        ranked = [name for name, _ in popularity.hottest("notes", 10)]

        assert ranked == [f"notes:{second.pk}", f"notes:{first.pk}"]

    def test_pushes_nothing_out_of_a_full_redis(self, api, monkeypatch):
        self.read(api, make_notes(2), 1)
        run("clear")
        monkeypatch.setattr(warming, "_MEMORY_SHARE_MAX", 0.0001)

        assert warming.warm(cache_keys.NOTES) == 0

    def test_one_process_does_it_for_all(self):
        assert [warming.take_turn(), warming.take_turn()] == [True, False]

    def test_does_not_count_as_reading(self, api):
        self.read(api, make_notes(1), 1)
        before = popularity.hottest("notes", 5)
        run("clear")

        run("warm")
        popularity.flush()

        assert popularity.hottest("notes", 5) == before


class TestAudit:
    @pytest.fixture(autouse=True)
    def _nothing_else_in_redis(self, stack) -> None:
        """Sampling draws among all keys, and those of other tests are still there."""
        with redis.Redis.from_url(stack.operator_urls()["REDIS_URL"]) as operator:
            operator.flushall()

    def test_finds_all_fresh(self, api):
        for note in make_notes(3):
            api.get(f"/api/v1/notes/{note.pk}")
        for path in ("?userId=abc", "?cursor=&limit=2", "?q=plain&count=false&sort=title:ASC"):
            api.get(f"/api/v1/notes{path}")

        assert run("audit") == "0 stale in 6 checked (6 fresh, 0 in flight)\n"

    def test_names_what_is_stale_and_exits_with_1(self, api, monkeypatch):
        monkeypatch.setattr(audit, "_SECOND_LOOK_SECONDS", 0.05)
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        edit_unseen(title="Changed behind its back")
        out = StringIO()

        with pytest.raises(SystemExit) as exited:
            call_command("cache", "audit", stdout=out)

        assert exited.value.code == 1
        assert "1 stale in 1 checked" in out.getvalue()
        assert f"stale: notes:{note_id}" in out.getvalue()

    def test_what_a_write_is_about_to_end_is_in_flight(self, api, monkeypatch):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        edit_unseen(title="Changed")
        agrees_later = audit._agrees_later

        def looked_at_again(key, pause):
            protocol.unlink([f"note:{note_id}"])  # after the first look
            return agrees_later(key, pause)

        monkeypatch.setattr(audit, "_SECOND_LOOK_SECONDS", 0.1)
        monkeypatch.setattr(audit, "_agrees_later", looked_at_again)

        assert "0 stale in 1 checked (0 fresh, 1 in flight)" in run("audit")
