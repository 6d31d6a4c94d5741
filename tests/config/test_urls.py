"""What is served beside the API: its description, and errors for people and for programs."""

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory

from config.web import problems

pytestmark = pytest.mark.django_db


class TestSchema:
    def test_is_openapi_3_1_and_documents_problems_and_the_caller(self):
        schema = Client().get("/api/schema").json()

        assert schema["openapi"] == "3.1.1"
        assert set(schema["paths"]) == {
            "/api/v1/notes",
            "/api/v1/notes/bulk",
            "/api/v1/notes/bulk/delete",
            "/api/v1/notes/{note_id}",
            "/api/v1/profiles",
            "/api/v1/profiles/{user_id}",
            "/api/v1/profiles/{user_id}/preferences",
            "/api/v1/profiles/mongo/{user_id}",
            "/api/v1/profiles/postgres/{user_id}",
            "/api/v1/activity/recent",
            "/api/v1/activity/trend",
            "/api/v1/activity/insights/resources",
            "/api/v1/activity/insights/hours",
            "/api/v1/activity/insights/retention",
            "/api/v1/activity/{user_id}",
            "/api/v1/activity/{user_id}/summary",
            "/api/v1/activity/{user_id}/daily",
            "/api/v1/metrics/cache",
            "/api/v1/metrics/db",
            "/api/v1/admin/cache/clear",
            "/api/v1/admin/cache/explain",
        }
        listing = schema["paths"]["/api/v1/notes"]["get"]
        for status in ("400", "503"):
            assert "application/problem+json" in listing["responses"][status]["content"]
        assert "default" not in listing["responses"]
        assert set(schema["components"]["securitySchemes"]) == {"staff"}
        assert listing["tags"] == ["notes"]

    def test_documents_every_parameter_that_a_list_takes(self):
        schema = Client().get("/api/schema").json()
        listing = schema["paths"]["/api/v1/notes"]["get"]

        assert {item["name"] for item in listing["parameters"] if item["in"] == "query"} == {
            *("userId", "user_id", "q", "page", "limit", "sort", "count", "cursor", "cache"),
        }

    def test_the_page_to_try_it_fetches_nothing_from_outside(self):
        page = Client().get("/api/docs").content.decode()

        assert "swagger-ui" in page
        assert "https://" not in page


@pytest.mark.parametrize("path", ["/api/docs", "/api/schema"])
class TestDocumentation:
    @pytest.mark.parametrize(
        ("method", "query", "headers", "status"),
        [
            ("POST", "", {}, 405),
            ("GET", "?version=2", {}, 400),
            ("GET", "", {"X-User-Id": "a b"}, 400),
        ],
    )
    def test_has_the_errors_of_every_endpoint(self, path, method, query, headers, status):
        reply = Client().generic(method, f"{path}{query}", headers=headers)

        assert reply.status_code == status
        assert reply["Content-Type"] == "application/problem+json"
        assert reply.json()["status"] == status

    def test_is_described_by_options(self, path):
        reply = Client().options(path)

        assert reply.status_code == 200
        assert reply["Content-Type"] == "application/json"
        assert reply.json()["name"]


class TestDebug:
    @pytest.fixture(autouse=True)
    def _debug(self, settings):
        settings.DEBUG = True
        settings.MIDDLEWARE = ["config.web.middleware.DebugMiddleware", *settings.MIDDLEWARE]

    @pytest.mark.parametrize(
        ("path", "host", "status"),
        [("/api/v1/nope", "testserver", 404), ("/api/v1/notes", "evil.example", 400)],
    )
    def test_shows_no_page_to_programs(self, path, host, status):
        reply = Client(headers={"Host": host}).get(path)

        assert reply.status_code == status
        assert reply["Content-Type"] == "application/problem+json"
        assert "Traceback" not in reply.content.decode()

    @pytest.mark.parametrize("accepted", ["*/*", "text/html", "application/json"])
    def test_shows_no_traceback_to_programs(self, monkeypatch, accepted):
        def fail(*args):
            raise ZeroDivisionError

        monkeypatch.setattr("config.observability.views.CacheMetricsView.get", fail)
        reply = Client(raise_request_exception=False, headers={"Accept": accepted}).get(
            "/api/v1/metrics/cache"
        )

        assert reply.status_code == 500
        assert reply["Content-Type"] == "application/problem+json"
        assert "ZeroDivisionError" not in reply.content.decode()

    def test_shows_djangos_pages_to_people(self):
        assert "DEBUG = True" in Client().get("/no/such/page").content.decode()


class TestErrors:
    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (problems.bad_request, 400),
            (problems.forbidden, 403),
            (problems.not_found, 404),
            (problems.server_error, 500),
        ],
    )
    @pytest.mark.parametrize(
        ("path", "media"),
        [
            ("/api/v1/x", "application/problem+json"),
            ("/health/x", "application/problem+json"),
            ("/admin/x", "text/html"),
        ],
    )
    def test_are_problems_for_programs_and_pages_for_people(self, answer, status, path, media):
        response = answer(RequestFactory().get(path))

        assert response.status_code == status
        assert response["Content-Type"].startswith(media)

    def test_a_silent_store_outside_of_the_api_is_a_503_too(self):

        try:
            raise OperationalError("connection refused")  # noqa: TRY301  # seen by sys.exc_info
        except OperationalError:
            response = problems.server_error(RequestFactory().get("/admin/"))

        assert response.status_code == 503
        assert response["Retry-After"] == "1"
