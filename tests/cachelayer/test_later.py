"""What is done for many writes at once, after their answers."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cachelayer import client, explain, invalidation, outbox, protocol
from cachelayer.later import Later
from cachelayer.models import OutboxRow
from config.stack import process
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)


class TestLater:
    def test_handles_an_item_at_once_where_no_thread_does(self):
        handled = []

        Later("test", handled.append).add(1)

        assert handled == [[1]]

    def test_a_thread_handles_many_together_and_loses_none(self):
        handled = []
        collected = Later("test", handled.append)
        collected.start_in_background()

        for number in range(1_000):
            collected.add(number)

        assert process.wait_until(lambda: sum(map(len, handled)) == 1_000, 30)
        assert [number for batch in handled for number in batch] == list(range(1_000))
        assert len(handled) < 1_000


class TestDeliveredRows:
    def test_are_deleted_after_the_answer_by_one_statement(self, served):
        for _ in range(5):
            with CaptureQueriesContext(connection) as captured:
                make_note()
            assert len(captured) == 1

        with CaptureQueriesContext(connection) as captured:
            invalidation.delivered_rows.flush()

        assert len(captured) == 1
        assert not OutboxRow.objects.exists()

    def test_that_cannot_be_deleted_are_left_to_the_relay(self, monkeypatch):
        def refuse(row_ids):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(NULL::text)")

        monkeypatch.setattr(outbox, "remove", refuse)
        make_note()

        assert OutboxRow.objects.count() == 1


class TestInvalidatedTags:
    def test_are_noted_after_the_answer_the_last_time_of_each(self, api, served, monkeypatch):
        key = f"notes:{make_note()}"
        protocol.invalidated_tags.flush()
        operations = []
        execute = client.execute

        def observed(name, *args, **options):
            if name != "keep":  # of the lease, by its thread
                operations.append(name)
            return execute(name, *args, **options)

        monkeypatch.setattr(client, "execute", observed)

        for _ in range(3):
            make_note()
        assert operations == ["invalidate"] * 3
        protocol.invalidated_tags.flush()

        assert operations == [*["invalidate"] * 3, "record"]
        assert explain.explain(key)["last_invalidation"] is not None
