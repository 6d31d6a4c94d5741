"""The databases in figures, and what health says of dropped events."""

import time

import mongoengine
import pytest
from django.conf import settings
from django.test import Client

from activity import ledger, services
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)

EVENT = {"user_id": "abc", "action": "note_viewed", "resource": "note", "details": {}}


def figures() -> dict:
    response = Client().get("/api/v1/metrics/db")
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    return response.json()


class TestMetricsDb:
    def test_tells_pools_latencies_and_errors_of_both(self, api):
        mongoengine.get_connection().admin.command("ping")
        api.get(f"/api/v1/notes/{make_note()}?cache=false")

        told = figures()

        for store in ("postgres", "mongodb"):
            assert {"active_connections", "idle_connections", "waiting_requests"} <= set(
                told[store]
            )
            latency = told[store]["latency_ms"]
            assert latency["count"] >= 1
            assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
            assert isinstance(told[store]["errors"], dict)
            assert told[store]["breaker_open"] is False
        assert told["mongodb"]["idle_connections"] >= 1
        assert told["mongodb"]["commands"]["ping"]["count"] >= 1

    def test_tells_what_waits_in_the_spool(self):
        services.own_spool().append(EVENT)

        spool = figures()["mongodb"]["spool"]

        assert (spool["depth_events"], spool["dropped"]) == (1, 0)
        assert spool["depth_bytes"] > 50
        assert spool["oldest_age_seconds"] >= 0
        assert spool["recorded"] >= 1

    def test_prometheus_is_told_the_same(self):
        services.own_spool().append(EVENT)

        text = Client().get("/metrics").content.decode()

        assert "activity_spool_depth_events 1.0" in text
        assert "mongodb_pool_connections" in text
        assert "postgres_statement_seconds_bucket" in text


class TestHealth:
    def test_is_degraded_while_events_were_dropped_lately(self, monkeypatch):
        services.own_spool()
        assert "activity" not in Client().get("/health").json()
        ledger.add(services.own_spool().folder, "aa", [60, 60], 2)

        told = Client().get("/health")

        assert (told.status_code, told.json()["status"]) == (200, "degraded")
        assert "2 events dropped" in told.json()["activity"]["reason"]
        assert Client().get("/health?strict=1").status_code == 503
        later = time.time() + services.LOSS_TOLD_SECONDS + 1
        monkeypatch.setattr(services.time, "time", lambda: later)
        assert Client().get("/health").json()["status"] == "ok"
        assert settings.ACTIVITY_SPOOL_DIR
