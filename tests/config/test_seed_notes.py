"""manage.py seed_notes on a real PostgreSQL."""

import io
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from config.postgres.server import connect
from notes import selectors, services
from notes.models import Note
from notes.paging import PageQuery
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)


def seed(**options) -> str:
    out = io.StringIO()
    call_command("seed_notes", stdout=out, stderr=out, users=20, **options)
    return out.getvalue()


def stored() -> list[tuple]:
    return list(Note.objects.order_by("id").values_list("id", "user_id", "title", "version"))


class TestSeedNotes:
    def test_stores_as_many_as_asked_and_says_so(self):
        output = seed(count=300)

        assert Note.objects.count() == 300
        today = datetime.now(UTC).date()
        assert output.startswith(f"300 notes until {today} are stored, 300 of them new")

    def test_they_end_today_unless_another_day_is_said(self):
        seed(count=2_000)
        today = datetime.now(UTC).date()
        last = Note.objects.latest("created_at").created_at
        assert today - timedelta(days=8) < last.date() <= today

        seed(count=2_000, until=date(2026, 1, 1), reset=True, no_input=True)
        assert Note.objects.latest("updated_at").updated_at < datetime(2026, 1, 1, tzinfo=UTC)

    def test_run_again_it_changes_nothing(self):
        seed(count=300)
        before = stored()

        output = seed(count=300)

        assert "0 of them new" in output
        assert stored() == before

    def test_run_again_it_adds_only_what_is_missing(self):
        seed(count=300)
        whole = stored()
        Note.objects.filter(pk__in=[row[0] for row in whole[::3]]).delete()

        seed(count=300)

        assert stored() == whole

    def test_interrupted_and_run_again_it_ends_with_the_same_rows(self, monkeypatch):
        seed(count=25_000)
        whole = stored()
        seed(count=1, reset=True, no_input=True)
        load, calls = services.notes_load, []

        def interrupted(*, rows):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return load(rows=rows)

        monkeypatch.setattr(services, "notes_load", interrupted)
        with pytest.raises(SystemExit) as stopped:
            seed(count=25_000)
        monkeypatch.setattr(services, "notes_load", load)

        assert stopped.value.code == 130
        assert 0 < Note.objects.count() < 25_000
        seed(count=25_000)
        assert stored() == whole

    def test_a_lost_connection_is_one_line_and_leaves_whole_batches(self, monkeypatch):
        load, calls = services.notes_load, []

        def cut_off(*, rows):
            calls.append(1)
            if len(calls) == 2:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_backend_pid()")
                    [pid] = cursor.fetchone()
                with connect(psycopg.Connection, autocommit=True) as other:
                    other.execute("SELECT pg_terminate_backend(%s, 2000)", [pid])
            return load(rows=rows)

        monkeypatch.setattr(services, "notes_load", cut_off)

        with pytest.raises(CommandError, match="Run it again to continue"):
            seed(count=30_000)

        assert Note.objects.count() % 10_000 == 0

    def test_cached_lists_show_the_new_notes_at_once(self):
        selectors.note_list_read(query=PageQuery()).get()

        seed(count=10)

        page = selectors.note_list_read(query=PageQuery()).get().value
        assert b'"count":10' in page.body

    def test_if_empty_leaves_notes_alone(self):
        make_note()

        assert "nothing was added" in seed(count=10, if_empty=True)
        assert Note.objects.count() == 1

    def test_reset_deletes_every_note_first(self):
        make_note()

        output = seed(count=10, reset=True, no_input=True)

        assert "1 notes deleted." in output
        assert Note.objects.count() == 10

    @pytest.mark.parametrize("stdin", [io.StringIO("yes\n"), None])
    def test_reset_without_a_terminal_is_refused(self, monkeypatch, stdin):
        make_note()
        monkeypatch.setattr("sys.stdin", stdin)

        with pytest.raises(CommandError, match=r"^Nothing was deleted: .* --no-input"):
            seed(count=10, reset=True)

        assert Note.objects.count() == 1

    @pytest.mark.parametrize("answers", [["no"], []])  # without one, input ends with Ctrl-D
    def test_reset_asks_on_a_terminal(self, monkeypatch, answers):
        def answer(question: str) -> str:
            if not answers:
                raise EOFError
            return answers[0]

        make_note()
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", answer)

        with pytest.raises(CommandError, match="Nothing was deleted"):
            seed(count=10, reset=True)

        assert Note.objects.count() == 1

    @pytest.mark.parametrize("option", [{"count": 0}, {"count": -1}, {"count": 10**9}])
    def test_refuses_what_cannot_be(self, option):
        with pytest.raises(CommandError, match="--count"):
            seed(**option)

    def test_refuses_a_number_of_users_that_cannot_be(self):
        with pytest.raises(CommandError, match="--users 0: must be from 1"):
            call_command("seed_notes", users=0)
