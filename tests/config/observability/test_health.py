"""Health, liveness and readiness, with each real server down and paused in turn."""

import threading

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from cachelayer import client, supervision
from config.mongodb import client as mongodb_client
from config.observability import health
from config.stack.process import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def restored(stack):
    yield stack
    stack.up()
    connection.close()
    client.breaker.reset()
    health._executor._threads[health.MongoDB].submit(int).result(
        5
    )  # a late reply opens the breaker
    assert wait_until(lambda: not mongodb_client.breaker.is_open, 30)


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
        assert "no-store" in response["Cache-Control"]
        for name in ("postgres", "mongodb", "redis", "app"):
            assert f"{name};dur=" in response["Server-Timing"]

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

    @pytest.mark.parametrize("store", ["postgres", "mongodb", "redis"])
    def test_a_check_that_hangs_delays_no_reply(self, monkeypatch, store):
        released = threading.Event()
        kind = {"postgres": health.PostgreSQL, "mongodb": health.MongoDB, "redis": health.Redis}[
            store
        ]
        monkeypatch.setattr(kind, "probe", lambda self: released.wait(60))
        try:
            replies = [ask("/health").json() for _ in range(2)]
        finally:
            released.set()
            health._executor._threads[kind].submit(int).result(5)

        for body in replies:
            late = body.pop(store)
            assert (late["status"], late["reason"]) == ("down", "no answer in time")
            assert 1500 <= late["latency_ms"] < 4000  # far below what the check takes
            assert body.pop("status") == ("down" if store == "postgres" else "degraded")
            assert {entry["status"] for entry in body.values()} == {"ok"}

    def test_names_a_thread_that_died_lately(self, monkeypatch):
        monkeypatch.setattr(supervision, "recent_failures", lambda: {"cache-relay": 12.3})

        response = ask("/health")

        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        assert response.json()["threads"] == {
            "status": "down",
            "reason": "cache-relay failed 12 s ago",
        }
        assert ask("/health?strict=1").status_code == 503


class TestFormats:
    @pytest.mark.parametrize(
        ("query", "accept", "media_type"),
        [
            ("", None, "application/json"),
            ("", "*/*", "application/json"),
            ("", "application/json", "application/json"),
            ("", "image/png", "application/json"),
            ("", "/ ;;q=x, é, text/plain;q=nan", "application/json"),
            ("", "text/plain", "text/plain"),
            ("", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
            (
                "",
                "application/openmetrics-text;version=1.0.0;escaping=x;q=0.6,text/plain;q=0.3,*/*;q=0.2",
                "application/openmetrics-text",
            ),
            ("?format=json", "text/html", "application/json"),
            ("?format=text", None, "text/plain"),
            ("?format=openmetrics", None, "application/openmetrics-text"),
            ("?format=unknown", None, "application/json"),
        ],
    )
    @pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
    def test_are_chosen_by_the_query_or_by_accept(self, path, query, accept, media_type):
        headers = {} if accept is None else {"Accept": accept}

        response = Client().get(path + query, headers=headers)

        assert response.status_code == 200
        assert response["Content-Type"].split(";")[0] == media_type
        assert "no-store" in response["Cache-Control"]

    def test_have_the_status_of_the_json_and_no_secret(self, monkeypatch):
        monkeypatch.setattr(health.Redis, "probe", fail)

        for form in ("json", "text"):
            assert ask(f"/health?format={form}").status_code == 200
            assert ask(f"/health?format={form}&strict=1").status_code == 503
        assert "Redis(): Warning: ConnectionError" in ask("/health?format=text").content.decode()
        assert '{check="Redis"} 0' in ask("/health?format=openmetrics").content.decode()

        monkeypatch.setattr(health.PostgreSQL, "probe", fail)

        for path in ("/health", "/health/ready"):
            response = Client().get(path, headers={"Accept": "text/html"})
            assert response.status_code == 503
            assert "PostgreSQL()" in response.content.decode()
            assert "secret" not in response.content.decode()
            assert "postgres://" not in response.content.decode()


def fail(check: health.Check) -> None:
    raise ConnectionError("postgres://user:secret@host")


class TestLive:
    def test_asks_no_store(self, monkeypatch):
        monkeypatch.setattr(health._executor, "submit", lambda *run: 1 / 0)

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
            "config.observability.health.MigrationExecutor.migration_plan",
            lambda self, targets: ["pending"],
        )

        response = ask("/health/ready")

        assert response.status_code == 503
        assert response.json()["migrations_applied"] is False


class TestCommand:
    """manage.py health_check, over a server of its own."""

    @pytest.fixture
    def run(self, live_server, settings, capfd):
        def run(endpoint: str) -> tuple[int, str]:
            address = live_server.url.removeprefix("http://")
            try:
                call_command("health_check", endpoint, address)
            except SystemExit as exc:
                return int(exc.code or 0), capfd.readouterr().out
            return 0, capfd.readouterr().out

        return run

    @pytest.mark.parametrize("endpoint", ["health", "live", "ready"])
    def test_prints_the_checks_of_a_site_that_is_well(self, run, endpoint):
        status, printed = run(endpoint)

        assert status == 0
        assert ("PostgreSQL(): OK" in printed) == (endpoint != "live")

    def test_passes_where_the_site_is_degraded(self, run, monkeypatch):
        monkeypatch.setattr(health.Redis, "probe", fail)

        assert run("health")[0] == 0

    def test_fails_with_1_and_says_why_where_it_is_down(self, run, monkeypatch):
        monkeypatch.setattr(health.MongoDB, "probe", fail)

        status, printed = run("ready")

        assert status == 1  # 2 is not for a container's health check
        assert "MongoDB(): Unavailable: ConnectionError" in printed

    def test_asks_plain_http_whatever_stands_before_the_site(self, run, settings, monkeypatch):
        settings.SECURE_SSL_REDIRECT = True
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

        assert run("ready")[0] == 0
