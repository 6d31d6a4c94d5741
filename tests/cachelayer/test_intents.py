"""Invalidations around a write to a store that shares no transaction with PostgreSQL."""

import threading

import pytest
from django.db import OperationalError, connection, transaction

from cachelayer import client, outbox, protocol
from cachelayer.invalidation import around
from cachelayer.models import OutboxRow
from tests.cachelayer.test_read import Loads, get_or_load, key

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _empty_outbox(_own_cache, transactional_db) -> None:
    OutboxRow.objects.all().delete()


@pytest.fixture
def redis_restored(stack):
    yield
    stack.start("redis")
    client.breaker.reset()


def rows() -> int:
    return outbox.depth_and_age()[0]


def make_due() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE cachelayer_outbox SET due_at = clock_timestamp()")


def release_and_close(row: int) -> None:
    outbox.release(row, ["word:one"])
    connection.close()


class TestAround:
    def test_announces_the_write_before_it_and_invalidates_after_it(self):
        get_or_load(key(), Loads())

        with around("word:one"):
            assert rows() == 1
            assert protocol.look(key()).fresh

        assert rows() == 0
        assert not protocol.look(key()).fresh

    def test_a_load_that_began_before_the_write_ended_is_not_served_afterwards(self):
        with around("word:one"):
            get_or_load(key(), Loads())  # read before the write reached the other store

        assert not protocol.look(key()).fresh

    def test_a_write_that_failed_may_have_been_done(self):
        get_or_load(key(), Loads())

        with pytest.raises(TimeoutError), around("word:one"):
            raise TimeoutError

        assert rows() == 0
        assert not protocol.look(key()).fresh

    def test_within_a_transaction_it_is_refused_before_anything_is_written(self):
        with (
            transaction.atomic(),
            pytest.raises(transaction.TransactionManagementError, match="at once"),
            around("word:one"),
        ):
            pytest.fail("the write was made")

    @pytest.mark.usefixtures("redis_restored")
    def test_without_redis_it_is_left_to_the_relay_at_once(self, stack):
        stack.kill("redis")

        with around("word:one"):
            pass

        assert list(OutboxRow.objects.values_list("tags", "is_intent")) == [(["word:one"], False)]


class TestFrozenWriter:
    """It goes on past its intent's time: the relay has deleted the row before the write was made."""

    def taken_by_the_relay(self) -> None:
        make_due()
        assert outbox.deliver() == 1
        get_or_load(key(), Loads())  # what the write is about to replace is cached again
        assert rows() == 0

    @pytest.mark.usefixtures("redis_restored")
    def test_without_redis_its_tags_are_left_to_the_relay_anew(self, stack):
        with around("word:one"):
            self.taken_by_the_relay()
            stack.kill("redis")

        assert list(OutboxRow.objects.values_list("tags", "is_intent")) == [(["word:one"], False)]

    @pytest.mark.usefixtures("redis_restored")
    def test_where_postgresql_does_not_say_that_the_row_is_there_the_write_is_not_acknowledged(
        self, stack, monkeypatch
    ):
        def silent(row_id, tags):
            raise OperationalError

        monkeypatch.setattr(outbox, "release", silent)
        with pytest.raises(OperationalError), around("word:one"):
            stack.kill("redis")

    def test_with_redis_nothing_is_left_to_do(self):
        with around("word:one"):
            self.taken_by_the_relay()

        assert rows() == 0
        assert not protocol.look(key()).fresh

    def test_releasing_a_row_that_is_there_leaves_one(self):
        row = outbox.add_intent(["word:one"])

        assert outbox.release(row, ["word:one"]) == row

        assert list(OutboxRow.objects.values_list("pk", "is_intent")) == [(row, False)]
        assert outbox.deliver() == 1

    def test_a_row_in_the_relay_s_hands_is_waited_for(self):
        row = outbox.add_intent(["word:one"])
        make_due()
        releasing = threading.Thread(target=release_and_close, args=[row])
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM cachelayer_outbox WHERE id = %s", [row])
            releasing.start()
            releasing.join(0.3)
            assert releasing.is_alive()
        releasing.join(30)

        (left,) = OutboxRow.objects.all()
        assert left.pk != row
        assert left.tags == ["word:one"]


class TestCrash:
    def test_an_announcement_is_nobody_else_s_before_its_time(self):
        """Delivered early it would be gone before the write that it announces."""
        outbox.add_intent(["word:one"])

        assert outbox.deliver(also_not_due=True) == 0
        assert rows() == 1

    def test_what_its_writer_did_not_end_the_relay_does(self):
        get_or_load(key(), Loads())
        outbox.add_intent(["word:one"])  # and then the process died
        make_due()

        assert outbox.deliver() == 1

        assert not protocol.look(key()).fresh
