"""Which requests have a session."""

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client

from config.observability import middleware
from config.web.callers import identity_of_settings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def requests(monkeypatch) -> list:
    """The requests that were answered."""
    answered = []
    keep = middleware.traces.keep_trace
    monkeypatch.setattr(
        middleware.traces,
        "keep_trace",
        lambda request, *args: (answered.append(request), keep(request, *args)),
    )
    return answered


class TestWhereNeeded:
    @pytest.mark.parametrize(
        "path", ["/api/v1/notes", "/api/v1/profiles/abc", "/api/v1/activity/abc"]
    )
    def test_a_call_without_a_cookie_has_none(self, api, requests, path):
        api.get(path)

        assert not hasattr(requests[0], "session")

    @pytest.mark.parametrize("path", ["/admin/login/", "/api/v1/admin/cache/explain"])
    def test_what_may_need_one_has_one(self, api, requests, path):
        api.get(path)

        assert hasattr(requests[0], "session")

    def test_a_call_with_a_cookie_has_one(self, requests):
        client = Client()
        client.cookies[settings.SESSION_COOKIE_NAME] = "unknown"

        client.get("/api/v1/notes")

        assert hasattr(requests[0], "session")

    @pytest.mark.parametrize("authentication", ["stub", "session"])
    @pytest.mark.parametrize(
        "cookie", ['"\\000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"', "\xff" * 32, "a" * 5_000, ""]
    )
    def test_a_cookie_that_no_store_takes_is_none(self, settings, authentication, cookie):
        """Django reads an escaped NUL out of the first; PostgreSQL has no such text."""
        settings.AUTHENTICATION = authentication
        headers = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={cookie}"}

        assert Client().get("/api/v1/notes", headers=headers).status_code == 200
        assert Client().get("/admin/", headers=headers).status_code == 302
        assert Client().delete("/api/v1/admin/cache/clear", headers=headers).status_code == 401

    def test_one_more_does_not_evade_the_rate_limit(self, settings):
        settings.AUTHENTICATION = "session"
        cookie = {"HTTP_COOKIE": f'{settings.SESSION_COOKIE_NAME}="\\000aaaaaaaaaa"'}

        assert identity_of_settings().counted_as(cookie) == "anonymous"

    def test_staff_may_write_by_their_session(self):
        staff = get_user_model().objects.create_user("staff", is_staff=True)
        client = Client(enforce_csrf_checks=False)
        client.force_login(staff)

        assert client.delete("/api/v1/admin/cache/clear").status_code == 200
