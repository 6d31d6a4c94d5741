"""How probes reach the site: by any Host, and by reading alone."""

import socket

import pytest
from django.test import Client
from django.urls import get_resolver

from config.observability import health, probes, views

pytestmark = pytest.mark.django_db(transaction=True)

PATHS = sorted(probes.PATHS)
HOSTS = ["", "10.1.2.3:8000", "[::1]:8000", "unknown.example", "no name at all", "a" * 300]


def test_paths_are_those_of_the_health_and_metrics_views():
    routes = {
        f"/{pattern.pattern}"
        for pattern in get_resolver().url_patterns
        if getattr(getattr(pattern, "callback", None), "view_class", None)
        in (health.HealthView, views.PrometheusView)
    }

    assert routes == probes.PATHS


class TestHost:
    @pytest.mark.parametrize("host", HOSTS)
    @pytest.mark.parametrize("path", PATHS)
    def test_does_not_matter_to_a_probe(self, path, host):
        response = Client().get(path, headers={"Host": host})

        assert response.status_code == 200

    @pytest.mark.parametrize("form", ["json", "text", "html", "openmetrics", "atom", "rss"])
    def test_is_not_echoed_in_any_format(self, form):
        response = Client().get(f"/health?format={form}", headers={"Host": "evil.example"})

        assert response.status_code == 200
        assert b"evil" not in response.content

    @pytest.mark.parametrize("host", HOSTS)
    @pytest.mark.parametrize(
        "path", ["/", "/api/v1/notes", "/admin/", "/health/", "/healthy", "/health/x", "/metrics/x"]
    )
    def test_must_be_listed_elsewhere(self, path, host):
        assert Client().get(path, headers={"Host": host}).status_code == 400

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize(
        "lines", ["HTTP/1.0\r\n\r\n", "HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"]
    )
    def test_does_not_matter_over_a_socket(self, live_server, path, lines):
        address = (live_server.thread.host, live_server.thread.port)
        with socket.create_connection(address, timeout=10) as probe:
            probe.sendall(f"GET {path} {lines}".encode())
            status_line = probe.makefile("rb").readline()

        assert b" 200 " in status_line

    @pytest.mark.parametrize("path", PATHS)
    def test_is_answered_over_plain_http_behind_tls(self, settings, path):
        settings.SECURE_SSL_REDIRECT = True

        assert Client().get(path, headers={"Host": "10.1.2.3"}).status_code == 200
        assert Client().get("/api/v1/notes").status_code == 301


class TestMethods:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"])
    @pytest.mark.parametrize("path", PATHS)
    def test_others_than_reading_are_a_405_that_says_what_is_offered(self, path, method):
        client = Client(enforce_csrf_checks=True)

        response = client.generic(method, path, b"{}", "application/json")

        assert response.status_code == 405
        assert response["Allow"] == "GET, HEAD, OPTIONS"
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["status"] == 405

    @pytest.mark.parametrize("path", PATHS)
    def test_head_and_options_are_offered(self, path):
        assert Client().head(path).status_code == 200
        assert Client().options(path)["Allow"] == "GET, HEAD, OPTIONS"
