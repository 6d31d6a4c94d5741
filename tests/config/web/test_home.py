"""The page at /."""

import re
from urllib.parse import urlsplit

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.fixture
def page():
    return Client().get("/")


class TestHome:
    def test_says_what_runs_here(self, page):
        assert page.status_code == 200
        assert page["Content-Type"] == "text/html; charset=utf-8"
        assert "<h1>Trilith</h1>" in page.content.decode()

    def test_leads_to_documentation_admin_health_and_schema(self, page):
        targets = re.findall('<a href="([^"]+)"', page.content.decode())

        assert {"/api/docs", "/api/schema", "/admin/", "/health", "/metrics"} < set(targets)
        for target in targets:
            assert Client().get(target).status_code in (200, 302, 503), target

    def test_loads_nothing_from_outside(self, page):
        loaded = re.findall('(?:src|href)="([^"]+)"', page.content.decode())

        assert {urlsplit(url).netloc for url in loaded} == {""}
        assert "<script" not in page.content.decode()
        style = Client().get("/static/home.css")
        assert (style.status_code, style["Content-Type"]) == (200, 'text/css; charset="utf-8"')
        style.close()

    def test_is_guarded_by_headers(self, page):
        assert page["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")
        assert page["X-Frame-Options"] == "DENY"
        assert page["X-Content-Type-Options"] == "nosniff"
        assert page["Referrer-Policy"] == "same-origin"

    def test_shows_a_request_to_the_requested_host(self, settings):
        settings.ALLOWED_HOSTS = ["*"]

        page = Client().get("/", headers={"Host": "a.example:8000"}).content.decode()

        assert "curl -i 'http://a.example:8000/api/v1/notes?limit=2'" in page

    def test_asks_no_store(self, page):
        assert re.fullmatch("app;dur=[0-9.]+", page["Server-Timing"])

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_is_only_read(self, method):
        answer = Client(enforce_csrf_checks=True).generic(method, "/")

        assert answer.status_code == 405
        assert answer["Allow"] == "GET, HEAD"

    @pytest.mark.parametrize(
        ("path", "media"), [("/x", "text/html"), ("/api/", "application/problem+json")]
    )
    def test_every_other_unknown_path_is_a_404(self, path, media):
        answer = Client().get(path)

        assert answer.status_code == 404
        assert answer["Content-Type"].startswith(media)
