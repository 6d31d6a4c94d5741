"""The rules of the trust lease on real servers, one by one; their interplay is explored in models."""

import contextlib
import threading
from collections.abc import Iterator

import psycopg
import psycopg.sql
import pytest
import redis
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from structlog.testing import capture_logs

from cachelayer import client, invalidation, outbox, protocol, trust
from cachelayer.entries import Source
from cachelayer.invalidation import around, invalidate
from cachelayer.models import OutboxRow, Trust
from cachelayer.trust import LEASE_SECONDS, Grant, Lease, clock
from config.stack.process import wait_until
from tests.cachelayer.test_read import Loads, get_or_load, key, never

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _by_hand(transactional_db, monkeypatch, stack) -> Iterator[None]:
    """No thread renews: whatever has a lease here has renewed it by hand."""
    OutboxRow.objects.all().delete()
    trust.lease.stop()
    before = trust.lease
    yield
    end_lease()  # whatever a test has made of its row
    trust.lease = before
    stack.start("redis")
    client.breaker.reset()
    trust.lease.start()  # for conftest, which waits for it


class HandLease(Lease):
    """A process that looks when it is told to."""

    is_started = True


@pytest.fixture
def lease() -> Iterator[Lease]:
    """The lease of this process, held."""
    leases = [HandLease()]
    trust.lease = leases[0]
    end_lease()
    assert wait_until(lambda: renewed(leases[0]).is_held, 30)
    yield leases[0]
    leases[0]._disconnect()


@pytest.fixture
def endless(lease, monkeypatch) -> Iterator[None]:
    """A writer waits for nothing but delivery; over before threads renew the lease again."""
    with monkeypatch.context() as patch:
        patch.setattr(trust, "rest_seconds", lambda: None)
        patch.setattr(trust, "LEASE_SECONDS", 1_000)
        yield


@pytest.fixture
def other() -> Iterator[Lease]:
    """Another process."""
    other = HandLease()
    yield other
    other._disconnect()


@pytest.fixture
def operator(stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stack.operator_urls()["REDIS_URL"]) as connected:
        yield connected


def renewed(lease: Lease) -> Lease:
    lease.renew()
    return lease


def sql(statement: str, *values) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def end_lease() -> None:
    sql("UPDATE cachelayer_trust SET until = now()")


def let_be_renewed() -> None:
    """Leave so little of the lease that whoever looks renews it."""
    sql("UPDATE cachelayer_trust SET until = now() + interval '0.5 s'")


def row_of_lease() -> Trust:
    return Trust.objects.get()


def seconds_of(call) -> float:
    began = clock()
    call()
    return clock() - began


class TestWaits:
    def test_whatever_a_delivery_raises_the_write_waits_for_the_lease(
        self, lease, endless, monkeypatch
    ):
        """Unknown is not confirmed: any process may believe its copy until the lease ends."""
        waits = []
        monkeypatch.setattr(
            invalidation._Delivery, "_wait", lambda self, since: waits.append(since)
        )

        def fail(tags):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(protocol, "unlink", fail)
        invalidate("words")

        assert len(waits) == 1

    def test_what_another_wrote_ends_that_postgresql_is_read_only(self, lease, other):
        assert renewed(other).is_held
        other._read_only = True
        let_be_renewed()
        renewed(lease)

        assert not renewed(other)._read_only


class TestLook:
    def test_who_sees_a_round_has_its_lease_and_renews_nothing(self, lease, other):
        round_before = row_of_lease().round

        assert renewed(other).is_held
        assert row_of_lease().round == round_before

    def test_the_deadline_is_earlier_than_the_end_by_what_clocks_may_differ(self, lease, other):
        let_be_renewed()
        sql("UPDATE cachelayer_trust SET until = now() + interval '1.4 s', round = round + 1")

        assert renewed(other).deadline <= clock() + 1.4 * 0.95

    def test_a_round_counts_once_whatever_the_server_s_clock_says_later(self, lease):
        before = lease.deadline
        sql("UPDATE cachelayer_trust SET until = until + interval '1 s'")

        assert renewed(lease).deadline == before

    def test_no_round_counts_for_longer_than_a_lease(self, lease):
        sql("UPDATE cachelayer_trust SET until = until + interval '1 s', round = round + 1")

        assert renewed(lease).deadline <= clock() + LEASE_SECONDS * 0.95

    def test_a_clock_that_was_set_back_costs_one_lease(self, lease, other):
        sql("UPDATE cachelayer_trust SET until = until + interval '1 h'")
        round_before, held_until = row_of_lease().round, lease.deadline

        assert not renewed(other).is_held  # that round may have been renewed an hour ago
        assert (row_of_lease().round, row_of_lease().server) == (round_before + 1, "")
        assert not renewed(other).is_held
        assert wait_until(lambda: renewed(other).is_held, 30)
        assert clock() > held_until

    def test_it_is_over_by_itself(self, lease):
        assert wait_until(lambda: not lease.is_held, 30)
        with pytest.raises(trust.Untrusted):
            trust.execute("look", lambda r: r.get("x"))

    def test_a_generation_begins_with_a_lease_after_a_gap_and_with_no_other(self):
        begun = []
        lease = HandLease(lambda: begun.append(clock()))
        end_lease()
        assert wait_until(lambda: renewed(lease).is_held, 30)
        for _ in range(3):
            let_be_renewed()
            renewed(lease)
        assert len(begun) == 1
        assert wait_until(lambda: not lease.is_held, 30)

        assert wait_until(lambda: renewed(lease).is_held, 30)

        assert len(begun) == 2
        lease._disconnect()

    def test_a_change_is_logged_once(self, lease):
        with capture_logs() as lines:
            assert wait_until(lambda: not lease.is_held, 30)
            sql("UPDATE cachelayer_trust SET server = 'another', until = now() + interval '1 s'")
            for _ in range(3):
                renewed(lease)
            assert wait_until(lambda: renewed(lease).is_held, 30)
            renewed(lease)

        states = [
            line["state"] for line in lines if line.get("operation") == "trust" and "state" in line
        ]
        assert states in (["none", "held"], ["held", "none", "held"])  # it may adopt the other's

    def test_it_outlives_a_broken_connection(self, lease):
        lease._connection.close()
        let_be_renewed()
        sql("UPDATE cachelayer_trust SET until = now() + interval '0.9 s'")

        renewed(lease)

        assert row_of_lease().round > 0
        assert lease.is_held

    def test_a_first_use_in_a_process_starts_it(self):
        process = trust.lease = Lease()
        get_or_load(key(), Loads())
        assert process.is_started
        assert wait_until(lambda: get_or_load(key(), Loads()).source is Source.HIT, 30)
        process.stop()


class TestKeeper:
    def test_unlinks_what_waits_before_it_grants_and_leaves_the_rows(self, lease):
        get_or_load(key(), Loads())
        outbox.add(["word:one"])
        let_be_renewed()

        renewed(lease)

        assert lease.is_held
        assert not protocol.look(key()).fresh
        assert outbox.depth_and_age()[0] == 1

    def test_waits_for_writers_at_work_whose_copies_it_would_unlink_once_more(self, lease):
        get_or_load(key(), Loads())
        outbox.add(["word:one"])  # not due: its writer delivers it
        before = row_of_lease().round
        sql("UPDATE cachelayer_trust SET until = now() + interval '0.95 s'")
        renewed(lease)
        assert row_of_lease().round == before
        assert protocol.look(key()).fresh

        OutboxRow.objects.all().delete()

        renewed(lease)
        assert row_of_lease().round == before + 1
        assert protocol.look(key()).fresh

    def test_waits_for_nobody_where_a_row_is_due(self, lease):
        get_or_load(key(), Loads())
        outbox.add(["word:one"])
        before = row_of_lease().round
        sql("UPDATE cachelayer_outbox SET due_at = now()")
        sql("UPDATE cachelayer_trust SET until = now() + interval '0.95 s'")

        renewed(lease)

        assert row_of_lease().round == before + 1
        assert not protocol.look(key()).fresh

    def test_leaves_an_intent_alone_until_it_is_due(self, lease):
        get_or_load(key(), Loads())
        outbox.add_intent(["word:one"])
        let_be_renewed()
        assert protocol.look(key()).fresh
        renewed(lease)
        assert protocol.look(key()).fresh
        sql("UPDATE cachelayer_outbox SET due_at = now()")
        let_be_renewed()

        renewed(lease)

        assert not protocol.look(key()).fresh

    @pytest.mark.parametrize("lock", ["UPDATE", "SHARE"])
    def test_does_not_wait_for_the_lock(self, lease, lock):
        let_be_renewed()
        round_before = row_of_lease().round
        locked, go_on = threading.Event(), threading.Event()

        def hold():
            with transaction.atomic():
                sql(f"SELECT FROM cachelayer_trust FOR {lock}")
                locked.set()
                go_on.wait(30)
            connection.close()

        holder = threading.Thread(target=hold)
        holder.start()
        assert locked.wait(30)

        assert lease.renew() == trust._RETRY_SECONDS
        assert row_of_lease().round == round_before
        go_on.set()
        holder.join()

    def test_counts_from_the_start_of_its_transaction(self, lease):
        end_lease()

        with slow_redis(0.3):
            renewed(lease)

        assert lease.is_held
        assert lease.deadline <= clock() + (LEASE_SECONDS - 0.3) * 0.95

    def test_one_that_was_stopped_in_its_transaction_grants_nothing(self, lease):
        end_lease()
        before = lease.deadline, row_of_lease().round

        with slow_redis(1.0):
            renewed(lease)

        assert (lease.deadline, row_of_lease().round) == before

    @pytest.mark.parametrize("refusal", ["NOREPLICAS", "ACL", "PAUSE", "replica"])
    def test_grants_nothing_where_redis_refuses_writes(self, lease, operator, refusal):
        """With nothing to invalidate, one that serves reads may go on doing so."""
        get_or_load(key(), Loads())
        outbox.add(["word:one"])
        end_lease()
        round_before = row_of_lease().round
        refuse_writes(operator, refusal)
        try:
            for _ in range(3):
                renewed(lease)
            assert row_of_lease().round == round_before
        finally:
            allow_writes(operator, refusal)

    def test_clears_all_namespaces_where_more_waits_than_can_be_unlinked_in_time(self, lease):
        get_or_load(key(), Loads())
        sql(
            "INSERT INTO cachelayer_outbox (tags) SELECT ARRAY['x'] FROM generate_series(1, %s)",
            trust._ROWS_MAX + 1,
        )
        let_be_renewed()

        renewed(lease)

        assert lease.is_held
        assert protocol.look(key()).reason == "epoch"
        while outbox.deliver(also_not_due=True):  # for which a lease is needed
            pass
        assert outbox.depth_and_age()[0] == 0

    def test_where_the_row_is_gone_nobody_has_a_lease_before_an_old_one_is_over(self, lease):
        assert wait_until(lambda: not lease.is_held, 30)
        sql("DELETE FROM cachelayer_trust")
        began = clock()

        assert wait_until(lambda: renewed(lease).is_held, 30)

        assert clock() - began >= LEASE_SECONDS


class TestServer:
    def test_another_one_waits_for_the_end_and_starts_a_new_epoch(self, lease, operator):
        get_or_load(key(), Loads())
        let_be_renewed()
        renewed(lease)
        change_history(operator)  # the same data and run, as of a replica that was promoted
        held_until = clock() + row_rest()

        assert wait_until(lambda: renewed(lease).is_held and lease.counts(server_now()), 30)

        assert clock() >= held_until
        assert protocol.look(key()).reason == "epoch"

    def test_a_reply_of_another_one_is_none(self, lease):
        get_or_load(key(), Loads())
        lease._grant = Grant(lease.deadline, "another")

        assert get_or_load(key(), Loads()).source is Source.CACHE_DOWN

    def test_idle_connections_to_another_one_are_given_up(self, lease, operator):
        get_or_load(key(), Loads())
        change_history(operator)
        let_be_renewed()
        assert wait_until(lambda: renewed(lease).is_held and lease.counts(server_now()), 30)

        sources = {get_or_load(key(), Loads()).source for _ in range(3)}

        assert Source.HIT in sources

    def test_a_row_that_another_one_unlinked_stays(self, lease):
        row = outbox.add(["word:one"])
        lease._grant = Grant(lease.deadline, "another")

        with pytest.raises(trust.Untrusted):
            outbox.deliver(also_not_due=True)

        assert outbox.is_there(row)

    def test_no_client_speaks_to_a_replica(self, lease, operator):
        client.client().connection_pool.disconnect()
        refuse_writes(operator, "replica")
        try:
            with pytest.raises(client.CacheDown):
                client.execute("look", lambda r: r.get("x"))
        finally:
            allow_writes(operator, "replica")


class TestRead:
    def test_costs_a_round_trip_and_no_statement(self, lease, monkeypatch):
        get_or_load(key(), Loads())
        operations = []
        monkeypatch.setattr(client, "observers", [lambda name, *_: operations.append(name)])

        with CaptureQueriesContext(connection) as statements:
            assert get_or_load(key(), never).source is Source.HIT

        assert operations == ["look"]
        assert not statements.captured_queries

    def test_without_a_lease_asks_nothing_of_redis(self, lease, monkeypatch):
        get_or_load(key(), Loads())
        assert wait_until(lambda: not lease.is_held, 30)
        operations = []
        monkeypatch.setattr(client, "observers", [lambda name, *_: operations.append(name)])

        assert get_or_load(key(), Loads()).source is Source.UNTRUSTED
        assert not operations

    @pytest.mark.parametrize("how", ["silent", "read-only"])
    def test_without_postgresql_a_hit_is_marked_unverified(self, lease, how):
        get_or_load(key(), Loads())
        assert wait_until(lambda: not lease.is_held, 30)
        if how == "silent":
            lease._unanswered_since = clock() - 1
        else:
            lease._read_only = True

        assert get_or_load(key(), never).source is Source.UNVERIFIED
        assert get_or_load(key("two"), Loads()).source is Source.LOADED

    def test_is_held_again_when_the_database_takes_writes_again(self, lease, stack):
        """A session keeps the default that it began with, so the lease needs a new one."""
        database = psycopg.sql.Identifier(connection.settings_dict["NAME"])
        of_database = psycopg.sql.SQL(
            "ALTER DATABASE {} {} default_transaction_read_only {}"
        ).format
        words = psycopg.sql.SQL
        lease._disconnect()
        end_lease()
        with psycopg.connect(
            stack.operator_urls()["DATABASE_URL"],
            autocommit=True,
            options="-c default_transaction_read_only=off",
        ) as operator:
            operator.execute(of_database(database, words("SET"), words("= on")))
            try:
                assert wait_until(lambda: not renewed(lease).is_held, 30)
                assert lease._read_only
            finally:
                operator.execute(of_database(database, words("RESET"), words("")))

        assert wait_until(lambda: renewed(lease).is_held, 30)

    def test_nor_is_anything_shared_then_with_who_may_have_been_promised_more(self, lease):
        assert wait_until(lambda: not lease.is_held, 30)
        lease._unanswered_since = clock() - 1
        came, loads = threading.Event(), Loads(during=lambda: came.wait(30))
        answers = []
        readers = [
            threading.Thread(target=lambda: answers.append(get_or_load(key(), loads)))
            for _ in range(2)
        ]
        for reader in readers:
            reader.start()
        assert wait_until(lambda: loads.count == 1, 30)
        threading.Event().wait(0.1)
        came.set()
        for reader in readers:
            reader.join()

        assert Source.COLLAPSED not in {answer.source for answer in answers}


class TestWrite:
    def test_that_is_confirmed_costs_no_statement(self, lease):
        with CaptureQueriesContext(connection) as statements:
            invalidate("word:one")

        words = [query["sql"].split()[0] for query in statements.captured_queries]
        assert words == ["BEGIN", "INSERT", "COMMIT", "DELETE"]

    def test_that_is_not_is_answered_when_all_leases_are_over(self, lease, other, stack):
        let_be_renewed()
        renewed(lease)
        renewed(other)
        stack.kill("redis")

        seconds = seconds_of(lambda: invalidate("word:one"))

        assert not lease.is_held
        assert not other.is_held
        assert seconds < LEASE_SECONDS + 10
        assert trust.rest_seconds() <= 0
        assert outbox.depth_and_age()[0] == 1

    def test_after_that_it_waits_for_nothing(self, lease, stack, monkeypatch):
        stack.kill("redis")
        end_lease()
        monkeypatch.setattr("cachelayer.invalidation._LOOK_SECONDS", 1_000)

        invalidate("word:one")

        assert outbox.depth_and_age()[0] == 1

    @pytest.mark.usefixtures("endless")
    def test_it_is_answered_as_soon_as_another_process_has_delivered(self, lease, stack):
        stack.kill("redis")
        writer = threading.Thread(target=lambda: (invalidate("word:one"), connection.close()))
        writer.start()
        assert wait_until(lambda: outbox.depth_and_age()[0] == 1, 30)
        assert writer.is_alive()

        OutboxRow.objects.all().delete()

        writer.join(30)
        assert not writer.is_alive()

    @pytest.mark.usefixtures("endless")
    def test_it_tries_again_itself(self, lease, stack, monkeypatch):
        unlink, failures = protocol.unlink, [client.CacheDown("late"), client.CacheDown("late")]

        def late(tags):
            if failures:
                raise failures.pop()
            lease.deadline = clock() + 10
            lease._grant = Grant(lease.deadline, server_now())
            return unlink(tags)

        monkeypatch.setattr(protocol, "unlink", late)

        invalidate("word:one")

        assert outbox.depth_and_age()[0] == 0

    def test_where_the_lease_cannot_be_read_it_waits_for_a_whole_one(
        self, lease, stack, monkeypatch
    ):
        monkeypatch.setattr(trust, "rest_seconds", lambda: None)
        stack.kill("redis")

        assert seconds_of(lambda: invalidate("word:one")) >= LEASE_SECONDS

    def test_of_another_store_waits_from_the_release_of_its_intent(self, lease, stack, monkeypatch):
        monkeypatch.setattr(trust, "rest_seconds", lambda: None)
        release, released_at = outbox.release, []

        def slow(row_id, tags):
            threading.Event().wait(0.5)
            row_id = release(row_id, tags)
            released_at.append(clock())
            return row_id

        monkeypatch.setattr(outbox, "release", slow)
        with around("word:one"):
            stack.kill("redis")

        assert clock() - released_at[0] >= LEASE_SECONDS

    def test_the_look_at_the_lease_waits_for_a_keeper_and_gives_up(self, lease):
        locked, go_on = threading.Event(), threading.Event()

        def hold():
            with transaction.atomic():
                sql("SELECT FROM cachelayer_trust FOR UPDATE")
                locked.set()
                go_on.wait(30)
            connection.close()

        holder = threading.Thread(target=hold)
        holder.start()
        assert locked.wait(30)

        assert trust.rest_seconds() is None
        go_on.set()
        holder.join()
        assert trust.rest_seconds() is not None


@contextlib.contextmanager
def slow_redis(seconds: float) -> Iterator[None]:
    """Have Redis confirm late, within the keeper's transaction."""
    confirm, calls = trust._confirming, []

    def slow(tags):
        calls.append(tags)
        if len(calls) > 1:
            threading.Event().wait(seconds)
        return confirm(tags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "_confirming", slow)
        yield


def row_rest() -> float:
    rest = trust.rest_seconds()
    assert rest is not None
    return rest


def server_now() -> str:
    client.client().connection_pool.disconnect()
    client.ping()
    return client.replied()


def change_history(operator: redis.Redis) -> None:
    """Make the server a replica of nobody and a primary again: the same run, another history."""
    operator.execute_command("REPLICAOF", "127.0.0.1", "1")
    operator.execute_command("REPLICAOF", "NO", "ONE")


def refuse_writes(operator: redis.Redis, how: str) -> None:
    match how:
        case "NOREPLICAS":
            operator.config_set("min-replicas-to-write", 1)
        case "ACL":
            operator.execute_command("ACL", "SETUSER", "trilith", "-unlink")
        case "PAUSE":
            operator.execute_command("CLIENT", "PAUSE", 30_000, "WRITE")
        case "replica":
            operator.execute_command("REPLICAOF", "127.0.0.1", "1")


def allow_writes(operator: redis.Redis, how: str) -> None:
    match how:
        case "NOREPLICAS":
            operator.config_set("min-replicas-to-write", 0)
        case "ACL":
            operator.execute_command("ACL", "SETUSER", "trilith", "+unlink")
        case "PAUSE":
            operator.execute_command("CLIENT", "UNPAUSE")
        case "replica":
            operator.execute_command("REPLICAOF", "NO", "ONE")
