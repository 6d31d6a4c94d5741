"""What clients see while PostgreSQL is down, over the site's own pool and deadlines."""

import contextlib
import json
import socket
import threading

import psycopg
import pytest
from django.db import OperationalError, ProgrammingError, connections
from psycopg import pq
from pymongo.errors import (
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
    WTimeoutError,
)

from cachelayer import counts, protocol
from cachelayer.failures import unavailable_store
from config.postgres import base, deadlines, metrics, outages, repeating
from config.postgres.base import DatabaseWrapper
from config.postgres.deadlines import AnswerLate, DeadlineConnection, ServerSilent
from config.postgres.outages import breaker
from config.postgres.server import connect, connection_parameters
from config.stack.process import wait_until
from notes import cache_keys
from tests.builders import make_note
from tests.cachelayer.test_read import expire

pytestmark = pytest.mark.django_db(transaction=True)

KEY = {"Idempotency-Key": "key"}


def shown(gauge):
    """The value of a gauge of the pools, which are read when the counts are flushed."""
    counts.flush()
    return gauge._value.get()


def assert_unavailable(response):
    assert response.status_code == 503
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["store"] == "postgres"
    assert int(response["Retry-After"]) >= 1


class TestPostgresDown:
    def test_what_needs_it_is_a_503_that_names_it(self, api, restored):
        note_id = make_note()
        restored.kill("postgres")

        for response in (
            api.get(f"/api/v1/notes/{note_id}"),
            api.get("/api/v1/notes"),
            api.post("/api/v1/notes", json.dumps({"title": "x"}), "application/json"),
            api.post("/api/v1/notes", {"title": "x"}, "application/json", headers=KEY),
            api.post("/api/v1/notes/bulk", {"notes": [{"title": "x"}]}, "application/json"),
            api.post("/api/v1/notes/bulk/delete", {"ids": [str(note_id)]}, "application/json"),
            api.delete(f"/api/v1/notes/{note_id}"),
        ):
            assert_unavailable(response)

    def test_what_is_cached_is_served(self, api, restored):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        restored.kill("postgres")

        response = api.get(f"/api/v1/notes/{note_id}")

        assert response.status_code == 200
        assert "hit; ttl=" in response["Cache-Status"]

    def test_past_its_time_it_is_served_and_marked_stale(self, api, restored):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        expire(cache_keys.note(note_id))
        restored.kill("postgres")

        response = api.get(f"/api/v1/notes/{note_id}")

        assert response.status_code == 200
        assert response["Cache-Status"].startswith("trilith; hit; ttl=-")
        assert response["Cache-Status"].endswith("; detail=stale")

    def test_what_was_changed_is_not_served_from_before_the_change(self, api, restored):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        api.patch(f"/api/v1/notes/{note_id}", json.dumps({"title": "x"}), "application/json")
        restored.kill("postgres")

        assert_unavailable(api.get(f"/api/v1/notes/{note_id}"))

    def test_a_bypass_is_a_503_and_leaves_the_copy(self, api, restored):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        restored.kill("postgres")

        assert_unavailable(api.get(f"/api/v1/notes/{note_id}?cache=false"))
        assert protocol.look(cache_keys.note(note_id)).fresh


class TestDeadlineConnection:
    def test_gives_up_on_a_server_that_does_not_answer(self, restored, monkeypatch):
        with connect(DeadlineConnection) as connection:
            connection.execute("SELECT 1")
            monkeypatch.setattr(DeadlineConnection, "net_timeout_seconds", 0.2)
            restored.pause("postgres")

            with pytest.raises(ServerSilent, match=r"no answer from PostgreSQL within 0\.2 s"):
                connection.execute("SELECT 1")

            assert connection.closed

    def test_takes_back_what_the_server_has_not_acknowledged(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            place = "host=127.0.0.1 port={1} sslmode=disable".format(*listener.getsockname())
            pgconn = pq.PGconn.connect_start(place.encode())
            peer, _ = listener.accept()

            deadlines.abort(pgconn)

            with (
                peer,
                pytest.raises(ConnectionResetError),
            ):  # not FIN, after which the rest would still be sent
                while peer.recv(1024):
                    pass

    def test_begins_with_the_host_that_was_reached_last(self, monkeypatch):
        """Else each connection would wait for a host that is gone, for as long as connect_timeout."""
        monkeypatch.setattr(deadlines, "_reached", {})
        parameters = connection_parameters()
        with socket.create_server(("127.0.0.1", 0)) as gone:
            gone.settimeout(10)
            parameters |= {
                "host": f"127.0.0.1,{parameters['host']}",
                "port": f"{gone.getsockname()[1]},{parameters['port']}",
                "target_session_attrs": "primary",
                "connect_timeout": 2,
            }
            for _ in range(3):
                with DeadlineConnection.connect(**parameters) as connection:
                    assert connection.execute("SELECT 1").fetchone() == (1,)

            gone.accept()[0].close()
            gone.settimeout(0)
            with pytest.raises(BlockingIOError):  # only the first connection tried it
                gone.accept()

    def test_remembers_no_host_that_libpq_names_otherwise(self, monkeypatch):
        monkeypatch.setattr(deadlines, "_reached", {})
        parameters = connection_parameters()
        parameters |= {
            "host": f"127.0.0.1,{parameters['host']}",
            "port": f"9,0{parameters['port']}",  # which libpq reads without the 0
            "target_session_attrs": "primary",
        }

        with DeadlineConnection.connect(**parameters) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)

        assert deadlines._reached == {}

    def test_leaves_a_server_that_answers_in_time_alone(self):
        with connect(DeadlineConnection) as connection:
            assert connection.execute("SELECT pg_sleep(0.1), 1").fetchone()[1] == 1


def labelled(exc: PyMongoError, label: str) -> PyMongoError:
    exc._add_error_label(label)
    return exc


class TestLost:
    @pytest.fixture
    def unanswered(self, monkeypatch):
        """A probe that ends after a while: so does one of a host that is gone, after connect_timeout."""
        answered = threading.Event()
        monkeypatch.setattr(outages, "_probe", lambda: answered.wait(60))
        monkeypatch.setattr(outages, "_answered_at", 0.0)
        yield answered
        answered.set()
        with outages._probing:
            pass

    def test_a_request_waits_for_the_probe_for_a_part_of_its_time_only(
        self, unanswered, monkeypatch
    ):
        assert outages.lost(psycopg.OperationalError())  # not known yet

        unanswered.set()
        monkeypatch.setattr(outages, "_PATIENCE_SECONDS", 60)
        assert not outages.lost(psycopg.OperationalError())
        assert not breaker.is_open

    def test_while_the_probe_waits_no_further_connection_is_taken(
        self, pooled, unanswered, monkeypatch
    ):
        """Each would be broken, too, and cost the request as much time again."""
        monkeypatch.setattr(deadlines, "is_broken", lambda connection: True)
        before = metrics.ERRORS.labels("NoConnection")._value.get()

        with pytest.raises(OperationalError, match="does not answer"):
            pooled.ensure_connection()

        assert metrics.ERRORS.labels("NoConnection")._value.get() == before + 1

    def test_a_probe_that_the_system_refuses_counts_as_one_that_failed(self, monkeypatch):
        def fail() -> None:
            raise OSError("Too many open files")

        monkeypatch.setattr(outages, "_probe", fail)
        monkeypatch.setattr(outages, "_answered_at", 0.0)
        opened = []
        monkeypatch.setattr(breaker, "failed", lambda exc, *, opens: opened.append(opens))

        outages.lost(psycopg.OperationalError())

        assert opened == [True]


class TestUnavailableStore:
    @pytest.mark.parametrize(
        ("exc", "name"),
        [
            (OperationalError(), "postgres"),
            (ServerSilent(), None),  # psycopg's own; Django wraps it into its OperationalError
            (ValueError(), None),
            (None, None),
            # As it comes from an election: too few members have the write, or there is no primary.
            (WTimeoutError("operation exceeded time limit", 50), "mongodb"),
            (WriteConcernError("shutting down", 91), "mongodb"),
            (labelled(OperationFailure("stepped down", 189), "RetryableWriteError"), "mongodb"),
            (OperationFailure("No keys found for HMAC that is valid for time", 211), "mongodb"),
            (OperationFailure("operation exceeded time limit", 262), "mongodb"),
            (OperationFailure("no such command", 59), None),
            (DuplicateKeyError("E11000", 11000), None),
        ],
        ids=repr,
    )
    def test_knows_a_silent_store_by_its_error(self, exc, name):
        assert unavailable_store(exc) == name

    def test_looks_at_causes(self):
        outer = RuntimeError()
        outer.__cause__ = OperationalError()

        assert unavailable_store(outer) == "postgres"


class TestBreaker:
    """The site's own backend: a pool, deadlines, and no waiting while the server is silent."""

    @pytest.fixture
    def holders(self, pooled):
        """Whoever has all connections."""
        holders = [DatabaseWrapper(pooled.settings_dict, "default") for _ in range(2)]
        for holder in holders:
            holder.ensure_connection()
        pooled.pool.timeout = 0.3
        yield holders
        pooled.pool.timeout = 10
        for holder in holders:
            holder.close()

    def ask(self, wrapper):
        try:
            with wrapper.cursor() as cursor:
                cursor.execute("SELECT 1")
                return cursor.fetchone()
        finally:
            wrapper.close()

    def test_opens_with_the_first_lost_connection_and_then_fails_at_once(self, pooled, restored):
        assert self.ask(pooled) == (1,)
        restored.kill("postgres")

        with pytest.raises(OperationalError):
            self.ask(pooled)

        assert breaker.is_open
        before = metrics.ERRORS.labels("CircuitOpen")._value.get()
        with pytest.raises(OperationalError, match="does not answer"):
            self.ask(pooled)
        assert metrics.ERRORS.labels("CircuitOpen")._value.get() == before + 1

    def test_opens_where_the_server_is_frozen(self, pooled, restored, monkeypatch):
        self.ask(pooled)
        monkeypatch.setattr(DeadlineConnection, "net_timeout_seconds", 0.3)
        restored.pause("postgres")

        with pytest.raises(OperationalError, match="no answer from PostgreSQL"):
            self.ask(pooled)

        assert breaker.is_open

    def test_closes_by_itself_when_the_server_is_back(self, pooled, restored):
        self.ask(pooled)
        restored.kill("postgres")
        with pytest.raises(OperationalError):
            self.ask(pooled)

        restored.start("postgres")

        assert wait_until(lambda: not breaker.is_open and self.is_answered(pooled), 30)

    def is_answered(self, pooled) -> bool:
        """Whether the pool, which fills itself again in the background, has a connection by now."""
        try:
            return self.ask(pooled) == (1,)
        except OperationalError:
            return False

    def test_a_statement_that_fails_for_its_own_reason_opens_nothing(self, pooled):
        with pytest.raises(ProgrammingError), pooled.cursor() as cursor:
            cursor.execute("SELECT nothing")

        assert not breaker.is_open

    def test_stays_closed_where_the_pool_is_merely_exhausted(self, pooled, holders):
        before = metrics.ERRORS.labels("PoolExhausted")._value.get()

        with pytest.raises(OperationalError) as raised:
            self.ask(pooled)

        assert isinstance(raised.value.__cause__, base.PoolExhausted)
        assert not breaker.is_open
        assert metrics.ERRORS.labels("PoolExhausted")._value.get() == before + 1
        with holders[0].cursor() as cursor:  # who has a connection goes on
            cursor.execute("SELECT 1")
        for holder in holders:
            holder.close()
        assert self.ask(pooled) == (1,)

    def late(self, pooled, holders):
        """Ask after a wait for the pool that leaves the statement less time than it takes."""
        pool = pooled.pool
        pool.timeout = 30
        holders[0].inc_thread_sharing()

        def release() -> None:
            assert wait_until(lambda: pool.get_stats().get("requests_waiting"), 10)
            threading.Event().wait(0.3)
            holders[0].close()

        releasing = threading.Thread(target=release)
        releasing.start()
        try:
            with pytest.raises(OperationalError) as raised, pooled.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(2)")
        finally:
            releasing.join()
            pooled.close()
        return raised.value.__cause__

    def test_stays_closed_where_a_wait_for_the_pool_left_too_little_time(
        self, pooled, holders, monkeypatch
    ):
        monkeypatch.setattr(DeadlineConnection, "net_timeout_seconds", 0.5)
        answered = outages._answered_at

        assert isinstance(self.late(pooled, holders), AnswerLate)

        assert wait_until(lambda: outages._answered_at > answered, 10)
        assert not breaker.is_open

    def test_opens_where_the_server_froze_behind_a_wait_for_the_pool(
        self, pooled, holders, restored, monkeypatch
    ):
        monkeypatch.setattr(DeadlineConnection, "net_timeout_seconds", 0.5)
        restored.pause("postgres")

        assert isinstance(self.late(pooled, holders), AnswerLate)

        assert wait_until(lambda: breaker.is_open, 10)

    def test_opens_where_the_pool_gets_no_connection(self, pooled, restored):
        restored.kill("postgres")
        pooled.settings_dict["OPTIONS"]["pool"]["timeout"] = 0.3
        before = metrics.ERRORS.labels("NoConnection")._value.get()

        with pytest.raises(OperationalError) as raised:
            self.ask(pooled)

        assert isinstance(raised.value.__cause__, base.NoConnection)
        assert metrics.ERRORS.labels("NoConnection")._value.get() == before + 1
        assert breaker.is_open

    def test_a_server_that_is_full_is_not_silent(self, pooled, stack):
        pooled.settings_dict["OPTIONS"]["pool"] |= {"max_size": 9, "timeout": 1}
        holders = [DatabaseWrapper(pooled.settings_dict, "default") for _ in range(9)]
        with psycopg.connect(stack.operator_urls()["DATABASE_URL"], autocommit=True) as operator:
            holders[0].ensure_connection()
            operator.execute("ALTER ROLE trilith CONNECTION LIMIT 0")
            try:
                outages._recover()
                with pytest.raises(OperationalError) as raised:
                    for holder in holders:  # a few may have been made before
                        holder.ensure_connection()
            finally:
                operator.execute("ALTER ROLE trilith CONNECTION LIMIT -1")
                for holder in holders:
                    holder.close()

        assert isinstance(raised.value.__cause__, base.PoolExhausted)
        assert not breaker.is_open


class TestRestart:
    """Connections that a restart of PostgreSQL broke, as requests meet them."""

    def restart(self, stack):
        stack.kill("postgres")
        stack.start("postgres")

    def test_a_read_that_held_one_is_answered(self, api, site, restored):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}?cache=false")
        assert site.connection is not None  # it stays open between the requests of a test
        before = metrics.REPEATED._value.get()
        self.restart(restored)

        response = api.get(f"/api/v1/notes/{note_id}?cache=false")

        assert response.status_code == 200
        assert metrics.REPEATED._value.get() == before + 1
        assert not breaker.is_open

    @pytest.mark.parametrize("method", ["get", "post"])
    def test_idle_ones_are_replaced_before_reads_and_writes(self, api, site, restored, method):
        others = [DatabaseWrapper(site.settings_dict, "default") for _ in range(2)]
        for connection in others:
            connection.ensure_connection()
        for connection in others:
            connection.close()
        before = metrics.REPLACED._value.get()
        self.restart(restored)

        ask = getattr(api, method)
        body = [json.dumps({"title": "x"}), "application/json"] if method == "post" else []
        response = ask("/api/v1/notes", *body)

        assert response.status_code in (200, 201)
        assert metrics.REPLACED._value.get() == before + 2
        assert not breaker.is_open

    def test_a_write_that_held_one_is_a_503_and_the_next_one_passes(self, api, site, restored):
        make_note()
        self.restart(restored)

        def write():
            return api.post("/api/v1/notes", json.dumps({"title": "x"}), "application/json")

        assert_unavailable(write())
        site.close()  # as at the end of a request
        assert write().status_code == 201

    def test_one_backend_that_ends_leaves_the_breaker_closed(self, api, site, stack):
        make_note()
        pid = site.connection.info.backend_pid
        with psycopg.connect(stack.operator_urls()["DATABASE_URL"], autocommit=True) as operator:
            operator.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

        with pytest.raises(OperationalError), site.cursor() as cursor:
            cursor.execute("SELECT 1")  # outside of a request nothing is repeated

        assert not breaker.is_open


class TestExhaustedPool:
    def test_a_request_is_a_503_that_says_so_and_the_next_one_is_answered(self, api, pooled):
        own = connections["default"]
        holders = [DatabaseWrapper(pooled.settings_dict, "default") for _ in range(2)]
        for holder in holders:
            holder.ensure_connection()
        connections["default"] = pooled
        pooled.pool.timeout = 0.3
        try:
            response = api.get("/api/v1/notes?cache=false")
            pooled.pool.timeout = 10
            assert_unavailable(response)
            assert response.json()["detail"] == "Every connection to postgres is in use."
            for holder in holders:
                holder.close()
            assert api.get("/api/v1/notes?cache=false").status_code == 200
        finally:
            connections["default"] = own

    def test_a_connection_that_is_given_back_goes_to_who_waits(self, pooled):
        pooled.settings_dict["OPTIONS"]["pool"]["timeout"] = 30
        holders = [DatabaseWrapper(pooled.settings_dict, "default") for _ in range(2)]
        for holder in holders:
            holder.ensure_connection()
        answered = []

        def ask():
            waiting = DatabaseWrapper(pooled.settings_dict, "default")
            with waiting.cursor() as cursor:
                cursor.execute("SELECT 1")
                answered.append(cursor.fetchone())
            waiting.close()

        asking = threading.Thread(target=ask)
        asking.start()
        assert wait_until(lambda: shown(metrics.WAITING) == 1, 30)
        holders[0].inc_thread_sharing()
        holders[0].close()
        asking.join(30)
        holders[1].close()

        assert answered == [(1,)]


class TestCounts:
    @pytest.mark.parametrize("in_transaction", [False, True])
    def test_a_connection_that_the_pool_does_not_take_is_counted_as_given_back_once(
        self, pooled, monkeypatch, in_transaction
    ):
        lent, in_use = base._lent["default"], shown(metrics.IN_USE)
        pooled.ensure_connection()
        assert base._lent["default"] == lent + 1

        def refuse(connection):
            connection.close()
            raise psycopg.OperationalError("no room")

        monkeypatch.setattr(pooled.pool, "putconn", refuse)
        pooled.in_atomic_block = in_transaction
        for _ in range(2):
            with contextlib.suppress(OperationalError):
                pooled.close()
        pooled.in_atomic_block = False

        assert base._lent["default"] == lent
        assert shown(metrics.IN_USE) == in_use


class TestIsRead:
    @pytest.mark.parametrize(
        "sql", ["SELECT 1", " select a FROM t", "SELECT a FROM t ORDER BY updated_at"]
    )
    def test_plain_ones_are(self, sql):
        assert repeating.is_read(sql)

    @pytest.mark.parametrize(
        "sql",
        [
            "INSERT INTO t VALUES (1)",
            "WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x",
            "SELECT a INTO b FROM t",
            "SELECT a FROM t FOR UPDATE",
            "SELECT a FROM t FOR NO KEY UPDATE",
            "SELECT nextval('s')",
            "SELECT pg_try_advisory_lock(1)",
            "SELECT set_config('a', 'b', false)",
            None,
        ],
    )
    def test_those_that_write_lock_or_set_are_not(self, sql):
        assert not repeating.is_read(sql)
