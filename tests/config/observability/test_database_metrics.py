"""The databases in figures, and what health says of dropped events."""

import copy
import time

import mongoengine
import pytest
from django.conf import settings
from django.db import connections
from django.test import Client

from activity import ledger, services
from config.mongodb import client as mongodb_client
from config.postgres.base import DatabaseWrapper
from config.postgres.outages import breaker as postgres_breaker
from config.stack.process import wait_until
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)

EVENT = {"user_id": "abc", "action": "note_viewed", "resource": "note", "details": {}}


def figures() -> dict:
    response = Client().get("/api/v1/metrics/db")
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    assert ("postgres;dur=" in response["Server-Timing"]) is not postgres_breaker.is_open
    return response.json()


class TestMetricsDb:
    def test_shows_pools_latencies_and_errors_of_both(self, api):
        mongoengine.get_connection().admin.command("ping")
        api.get(f"/api/v1/notes/{make_note()}?cache=false")

        metrics = figures()

        for store in ("postgres", "mongodb"):
            assert {"active_connections", "idle_connections", "waiting_requests"} <= set(
                metrics[store]
            )
            latency = metrics[store]["latency_ms"]
            assert latency["count"] >= 1
            assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
            assert isinstance(metrics[store]["errors"], dict)
            assert metrics[store]["breaker_open"] is False
        assert metrics["mongodb"]["idle_connections"] >= 1
        assert metrics["mongodb"]["commands"]["ping"]["count"] >= 1

    def test_shows_the_connections_of_the_servers_and_their_maximum(self):
        connections["default"].ensure_connection()

        metrics = figures()

        assert metrics["postgres"]["server"]["max_connections"] == 100
        assert metrics["postgres"]["server"]["usable_connections"] == 97
        assert 1 <= metrics["postgres"]["server"]["connections"] < 97
        assert metrics["mongodb"]["server"]["connections"] >= 1
        assert metrics["mongodb"]["server"]["max_connections"] > 100

    def test_shows_how_long_connections_were_waited_for_and_held(self):
        settings_dict = copy.deepcopy(connections["default"].settings_dict)
        settings_dict["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 2}
        pooled = DatabaseWrapper(settings_dict, "default")
        try:
            pooled.ensure_connection()
            pooled.close()
        finally:
            pooled.close_pool()

        postgres = figures()["postgres"]

        for name in ("acquire_ms", "hold_ms"):
            assert postgres[name]["count"] >= 1
            assert 0 < postgres[name]["p50"] <= postgres[name]["p95"] <= postgres[name]["p99"]
        assert figures()["mongodb"]["acquire_ms"]["count"] >= 1

    def test_answers_while_a_store_is_down(self, stack):
        for name in ("postgres", "mongodb"):
            stack.kill(name)
        try:
            metrics, text = figures(), Client().get("/metrics").content.decode()
        finally:
            stack.up()
            assert wait_until(lambda: not mongodb_client.breaker.is_open, 30)
            postgres_breaker.reset()
            connections["default"].close()

        assert metrics["postgres"]["server"] is None
        assert metrics["mongodb"]["server"] is None
        assert "postgres_server_connections" not in text

    def test_shows_what_waits_in_the_spool(self):
        before = figures()["mongodb"]["spool"]["recorded"]
        services.own_spool().append(EVENT)
        services.own_spool().count()

        spool = figures()["mongodb"]["spool"]

        assert spool["depth_events"] == 1
        assert spool["recorded"] == before + 1
        assert {"shipped", "repeated", "rejected", "dropped", "failed"} <= set(spool)
        assert spool["depth_bytes"] > 50
        assert spool["oldest_age_seconds"] >= 0

    def test_prometheus_gets_the_same(self):
        services.own_spool().append(EVENT)

        text = Client().get("/metrics").content.decode()

        assert "activity_spool_depth_events 1.0" in text
        assert "mongodb_pool_connections" in text
        for name in (
            "postgres_statement_seconds_bucket",
            "postgres_acquire_seconds_bucket",
            "postgres_hold_seconds_bucket",
            "mongodb_acquire_seconds_bucket",
            "postgres_server_max_connections 100.0",
            "postgres_server_connections ",
            "mongodb_server_max_connections ",
            "postgres_pool_waiting",
        ):
            assert name in text, name

    def test_a_spool_that_cannot_be_read_hides_nothing_else(self, unreadable_spool):
        response = Client().get("/metrics")

        assert response.status_code == 200
        assert "activity_spool_depth_events" not in response.content.decode()
        assert "depth_events" not in figures()["mongodb"]["spool"]


class TestHealth:
    def test_is_degraded_while_events_were_dropped_lately(self, monkeypatch):
        services.own_spool()
        assert "activity" not in Client().get("/health").json()
        ledger.add(services.own_spool().folder, "aa", [60, 60], 2)

        reply = Client().get("/health")

        assert (reply.status_code, reply.json()["status"]) == (200, "degraded")
        assert "2 events dropped" in reply.json()["activity"]["reason"]
        assert Client().get("/health?strict=1").status_code == 503
        later = time.time() + services.LOSS_REPORTED_SECONDS + 1
        monkeypatch.setattr(services.time, "time", lambda: later)
        assert Client().get("/health").json()["status"] == "ok"
        assert settings.ACTIVITY_SPOOL_DIR
