"""Health, liveness and readiness, with each real server down and paused in turn."""

import pytest
from django.db import connection
from django.test import Client

from cachelayer import client
from config import health, mongodb
from config.stack.process import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def restored(stack):
    yield stack
    stack.up()
    connection.close()
    client.breaker.reset()
    health._executors["mongodb"].submit(int).result(5)  # a late answer would open the breaker
    assert wait_until(lambda: not mongodb.breaker.is_open, 30)


def ask(path: str):
    return Client().get(path)


class TestHealth:
    @pytest.mark.parametrize("path", ["/health", "/health?strict=1"])
    def test_is_ok_while_every_store_answers(self, path):
        response = ask(path)

        body = response.json()
        assert response.status_code == 200
        assert list(body) == ["status", "postgres", "mongodb", "redis"]
        assert body["status"] == "ok"
        for name in ("postgres", "mongodb", "redis"):
            assert body[name]["status"] == "ok"
            assert body[name]["latency_ms"] > 0
        assert response["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("fault", ["kill", "pause"])
    @pytest.mark.parametrize(
        ("server", "status", "word"),
        [("redis", 200, "degraded"), ("mongodb", 200, "degraded"), ("postgres", 503, "down")],
    )
    def test_names_the_store_that_is_down(self, restored, server, status, word, fault):
        connection.close()
        getattr(restored, fault)(server)

        response = ask("/health")
        strict = ask("/health?strict=1")

        assert (response.status_code, response.json()["status"]) == (status, word)
        assert response.json()[server]["status"] == "down"
        assert strict.status_code == 503
        others = {"redis", "mongodb", "postgres"} - {server}
        assert {response.json()[name]["status"] for name in others} == {"ok"}
        assert "127.0.0.1" not in response.content.decode()  # no address, no user


class TestLive:
    def test_asks_no_store(self, monkeypatch):
        monkeypatch.setattr(health, "ask_stores", lambda *names: 1 / 0)

        response = ask("/health/live")

        assert (response.status_code, response.json()) == (200, {"status": "ok"})


class TestReady:
    def test_is_ready_while_postgresql_and_mongodb_answer(self):
        response = ask("/health/ready")

        assert response.status_code == 200
        assert response.json()["migrations_applied"] is True

    @pytest.mark.parametrize(("server", "status"), [("redis", 200), ("mongodb", 503)])
    def test_does_not_ask_for_redis(self, restored, server, status):
        restored.kill(server)

        assert ask("/health/ready").status_code == status

    def test_is_not_ready_before_the_migrations(self, monkeypatch):
        monkeypatch.setattr(health, "_migrated", False)
        monkeypatch.setattr(
            "config.health.MigrationExecutor.migration_plan", lambda self, targets: ["pending"]
        )

        response = ask("/health/ready")

        assert response.status_code == 503
        assert response.json()["migrations_applied"] is False


class TestMethods:
    def test_only_reading_is_offered(self):
        assert Client().post("/health").status_code == 405
