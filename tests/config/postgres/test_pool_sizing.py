"""How large the pool should be: the arithmetic, the command on a real server, and the system check."""

import copy
import threading
from io import StringIO

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections

from config import checks
from config.postgres import pool_sizing
from config.postgres.base import DatabaseWrapper
from config.postgres.pool_sizing import Load, Site
from config.postgres.server import capacity, connect

SITE = Site(workers=2, threads=16, pool_max=20)


def advice(**changes):
    arguments = {"load": None, "at_once": 5, "usable": 90, "site": SITE} | changes
    return pool_sizing.advise(**arguments)


class TestAdvise:
    def test_without_a_load_the_formula_decides(self):
        advised = advice()

        assert (advised.pool_max, advised.binds, advised.load) == (3, "formula", None)

    def test_a_small_load_asks_for_no_more_than_the_formula(self):
        advised = advice(load=Load(rate=100, hold_seconds=0.005))

        # 0.25 in use in each process: 0.25 + 2 x 0.5 = 1.25.
        assert (advised.load, advised.pool_max, advised.binds) == (2, 3, "formula")

    def test_a_load_that_holds_connections_for_long_asks_for_more(self):
        advised = advice(load=Load(rate=400, hold_seconds=0.02))

        # 4 in use in each process: 4 + 2 x 2 = 8.
        assert (advised.load, advised.pool_max, advised.binds) == (8, 8, "load")

    def test_no_more_than_the_threads_can_use(self):
        advised = advice(load=Load(rate=4000, hold_seconds=0.02))

        assert (advised.pool_max, advised.binds) == (16 + pool_sizing.BACKGROUND, "threads")

    def test_no_more_than_the_server_takes(self):
        advised = advice(load=Load(rate=400, hold_seconds=0.02), usable=9)

        assert (advised.server, advised.pool_max, advised.binds) == (4, 4, "server")

    def test_at_least_one(self):
        assert advice(usable=0).pool_max == 1


class TestCapacity:
    def test_counts_what_is_open_and_leaves_out_what_is_reserved(self):
        before = capacity()
        with connect(psycopg.Connection):
            now = capacity()

        assert (now.max_connections, now.usable_connections) == (100, 97)
        assert now.connections == before.connections + 1

    def test_knows_the_limit_of_the_user(self, stack):
        with psycopg.connect(stack.operator_urls()["DATABASE_URL"], autocommit=True) as operator:
            operator.execute("ALTER ROLE trilith CONNECTION LIMIT 50")
            try:
                assert capacity().usable_connections == 50
            finally:
                operator.execute("ALTER ROLE trilith CONNECTION LIMIT -1")


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("pool_advice", *arguments, stdout=output, stderr=StringIO())
    return output.getvalue()


@pytest.mark.django_db(transaction=True)
class TestCommand:
    def test_says_what_binds_and_what_to_set(self):
        output = run("--rate", "400", "--hold-ms", "20", "--cores", "2", "--workers", "2")

        assert "400.0/s x 20.00 ms = 8.00 in use" in output
        assert "2 cores x 2 + 1 = 5" in output
        assert "40 in all: exhausted at 2000/s" in output
        assert "The limit is the measured load" in output
        assert "Set POSTGRES_POOL_MAX=8." in output

    def test_measures_what_is_lent_meanwhile(self):
        settings_dict = copy.deepcopy(connections["default"].settings_dict)
        settings_dict["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 2}
        stopped, lent = threading.Event(), threading.Event()

        def lend() -> None:
            wrapper = DatabaseWrapper(settings_dict, "default")
            while not stopped.wait(0.01):
                with wrapper.cursor() as cursor:
                    cursor.execute("SELECT 1")
                    lent.set()
                wrapper.close()
            wrapper.close_pool()

        lending = threading.Thread(target=lend)
        lending.start()
        try:
            assert lent.wait(30)
            said = run("--seconds", "1", "--cores", "2")
        finally:
            stopped.set()
            lending.join()

        assert "in use on average" in said
        assert "The limit is the formula" in said

    def test_without_a_load_says_how_to_have_one(self):
        assert "no connection was borrowed: run this under load" in run("--seconds", "0.01")

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["--rate", "3"], "must be given together"),
            (["--workers", "0"], "--workers 0: must be from 1 to 10000"),
            (["--rate", "-1", "--hold-ms", "5"], "--rate -1.0: must be from 0 to"),
            (["--rate", "nan", "--hold-ms", "5"], "--rate nan: must be"),
            (["--rate", "5", "--hold-ms", "inf"], "--hold-ms inf: must be"),
            (["--seconds", "inf"], "--seconds inf: must be"),
            (["--seconds", "1e10"], "--seconds 10000000000.0: must be"),
        ],
    )
    def test_misuse_is_reported(self, arguments, reason):
        with pytest.raises(CommandError, match=reason):
            run(*arguments)

    def test_a_silent_server_is_reported(self, stack):
        connections["default"].close()
        stack.kill("postgres")
        try:
            with pytest.raises(CommandError, match="does not answer"):
                run()
        finally:
            stack.start("postgres")


class TestChecks:
    def ids(self, **changes):
        arguments = {"workers": 2, "threads": 16, "pool_max": 20, "usable": 97} | changes
        return [message.id for message in checks.check_pool(**arguments)]

    def test_the_defaults_pass(self):
        assert self.ids() == []

    def test_more_than_the_server_takes_is_a_warning(self):
        assert self.ids(workers=4) == []  # 4 x 22 = 88
        assert self.ids(workers=5) == ["config.W001"]

    def test_more_threads_than_connections_are_one(self):
        assert self.ids(threads=21) == ["config.W002"]

    def test_what_is_not_known_is_none(self):
        assert self.ids(workers=100, usable=None) == []

    def test_are_part_of_manage_py_check(self, settings):
        settings.WEB_WORKERS = 50
        output = StringIO()

        call_command("check", stdout=output, stderr=output)

        assert "50 x 23 = 1150, but the PostgreSQL server leaves this user 97" in output.getvalue()

    def test_say_nothing_of_a_server_that_does_not_answer(self, settings, monkeypatch):
        settings.WEB_WORKERS = 50
        monkeypatch.setitem(connection.settings_dict, "PORT", "1")

        assert checks.check_pools(None) == []
