"""Request ids, log lines, and statements that are slow."""

import logging

import pytest
import structlog
from django.db import connection
from structlog.testing import capture_logs

from config.observability import logs
from tests.builders import make_note
from tests.cachelayer.test_first_level import level_on  # noqa: F401  # a fixture

pytestmark = pytest.mark.django_db(transaction=True)


class TestLines:
    def test_each_request_is_one_line(self, api):
        with capture_logs() as lines:
            api.get("/api/v1/notes")

        [line] = [line for line in lines if line["event"] == "request"]
        assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/notes", 200)
        assert line["duration_ms"] > 0
        assert line["cache"] == "trilith; fwd=uri-miss; stored"

    def test_each_cache_operation_is_one_debug_line(self, api, monkeypatch):
        note_id = make_note()
        talkative = structlog.make_filtering_bound_logger(logging.DEBUG)
        logger = structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=talkative)
        monkeypatch.setattr("cachelayer.protocol.log", logger)

        with capture_logs() as lines:
            api.get(f"/api/v1/notes/{note_id}")
            api.get(f"/api/v1/notes/{note_id}")

        lookups = [line for line in lines if line.get("operation") == "look"]
        assert [line["event"] for line in lookups] == [
            f"Cache MISS: notes:{note_id}",
            f"Cache HIT: notes:{note_id}",
        ]
        assert [line["hit"] for line in lookups] == [False, True]
        assert all(line["duration_ms"] > 0 for line in lookups)
        assert all(line["key"] == f"notes:{note_id}" for line in lookups)

    def test_a_hit_of_the_first_level_is_one_too(self, api, level_on, monkeypatch):  # noqa: F811
        note_id = make_note()
        for _ in range(2):  # the second finds it in Redis, and keeps a copy
            api.get(f"/api/v1/notes/{note_id}")
        talkative = structlog.make_filtering_bound_logger(logging.DEBUG)
        logger = structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=talkative)
        monkeypatch.setattr("cachelayer.protocol.log", logger)

        with capture_logs() as lines:
            reply = api.get(f"/api/v1/notes/{note_id}")

        assert "detail=L1" in reply["Cache-Status"]
        [line] = [line for line in lines if line.get("operation") == "copy"]
        assert line["event"] == f"Cache HIT: notes:{note_id}"
        assert line["hit"] is True


class TestSlowQueries:
    def test_a_slow_statement_is_one_warning_without_its_parameters(self, api, settings):
        settings.SLOW_QUERY_MS = 0

        with capture_logs() as lines:
            api.get("/api/v1/notes?userId=private-name")

        slow = [line for line in lines if line["event"] == "slow query"]
        assert {line["store"] for line in slow} == {"postgres", "redis"}
        assert {line["log_level"] for line in slow} == {"warning"}
        assert 'FROM "notes"' in next(line["sql"] for line in slow if line["store"] == "postgres")
        assert "private-name" not in str(slow)

    def test_a_quick_one_is_none(self, api):
        with capture_logs() as lines:
            api.get("/api/v1/notes")

        assert "slow query" not in {line["event"] for line in lines}


class TestConfigure:
    @pytest.mark.parametrize("form", ["json", "console"])
    def test_both_forms_render_an_exception_without_local_variables(self, form):
        password = "not for the logs"  # a local that must not appear
        with pytest.raises(ValueError, match="seen") as raised:
            int(f"seen {len(password)}")
        event = {"event": "failed", "exc_info": raised._excinfo}
        text = event
        for processor in logs._rendering(form):
            text = processor(None, "error", text)

        assert "seen" in text
        assert "not for the logs" not in text

    def test_refuses_a_level_that_is_none(self):
        with pytest.raises(ValueError, match="LOUD"):
            logs.configure(level="LOUD", form="json")


class TestConnection:
    def test_a_cached_read_opens_none(self, api):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        connection.close()

        api.get(f"/api/v1/notes/{note_id}")

        assert connection.connection is None
