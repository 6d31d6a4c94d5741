"""PostgreSQL's log of statements, read while it is written."""

import psycopg
import pytest

from config.stack import Stack
from loadtests.testbed.statement_log import parse, statements_logged

LINE = b"2026-11-24 10:00:00.250 UTC [77] LOG:  duration: 1.500 ms  statement: SELECT 1 /*mine*/\n"


class TestParse:
    def test_tells_when_a_statement_ended_how_long_it_took_and_what_it_was(self):
        statement = parse(LINE)

        assert statement is not None
        assert (statement.duration_ms, statement.backend, statement.text) == (
            1.5,
            77,
            "SELECT 1 /*mine*/",
        )
        assert statement.ended_at % 1 == pytest.approx(0.25)

    def test_a_prepared_statement_is_one_too(self):
        line = LINE.replace(b"statement:", b"execute <unnamed>:")

        assert parse(line) == parse(LINE)

    @pytest.mark.parametrize(
        "line", [b"", b"\tFROM notes\n", LINE.replace(b"duration: 1.500 ms  ", b"")]
    )
    def test_another_line_is_none(self, line):
        assert parse(line) is None


class TestStatementsLogged:
    def test_a_statement_is_there_once_it_is_answered_and_the_setting_is_put_back(
        self, stack: Stack
    ):
        url = stack.operator_urls()["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            with (
                pytest.raises(KeyboardInterrupt),
                statements_logged(stack) as log,
            ):
                connection.execute("SELECT 1 /*mine*/")
                connection.execute("SELECT 2 /*other*/")
                first, second = log.read("/*mine*/"), log.read("/*mine*/")
                raise KeyboardInterrupt

            assert [statement.text for statement in first] == ["SELECT 1 /*mine*/"]
            assert second == []
        with psycopg.connect(url) as connection:
            assert connection.execute("SHOW log_min_duration_statement").fetchone() == ("-1",)
