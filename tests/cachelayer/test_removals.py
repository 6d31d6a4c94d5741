"""Outbox rows that writers have delivered, deleted after the answers."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cachelayer import outbox, removals
from cachelayer.models import OutboxRow
from cachelayer.removals import Removals
from config.stack import process
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)


class TestAdd:
    def test_deletes_at_once_where_no_thread_does(self):
        Removals().add(outbox.add(["word:one"]))

        assert not OutboxRow.objects.exists()

    def test_leaves_it_to_the_thread_where_one_runs_which_collects_rows(self, monkeypatch):
        deleted = []
        remove = outbox.remove
        monkeypatch.setattr(outbox, "remove", lambda ids: (deleted.append(len(ids)), remove(ids)))
        row_ids = [outbox.add([f"word:{number}"]) for number in range(20)]
        background = Removals()
        background.start_in_background()

        with CaptureQueriesContext(connection) as captured:
            for row_id in row_ids:
                background.add(row_id)

        assert len(captured) == 0
        assert process.wait_until(lambda: not OutboxRow.objects.exists(), 30)
        assert len(deleted) < len(row_ids)

    def test_a_row_that_cannot_be_deleted_is_left_to_the_relay(self, monkeypatch):
        def refuse(row_ids):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(NULL::text)")

        monkeypatch.setattr(outbox, "remove", refuse)
        Removals().add(outbox.add(["word:one"]))

        assert OutboxRow.objects.count() == 1

    def test_a_write_in_a_process_that_serves_deletes_nothing_itself(self, monkeypatch):
        monkeypatch.setattr(removals.removals, "_is_running", True)

        with CaptureQueriesContext(connection) as captured:
            make_note()

        assert len(captured) == 1
        removals.removals.flush()
        assert not OutboxRow.objects.exists()
