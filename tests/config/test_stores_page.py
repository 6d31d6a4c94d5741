"""The Stores page of the admin: servers, breakers, pools, latencies, errors; and who may view it."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from config.mongodb import client as mongodb_client
from config.stack.process import wait_until
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/config/store/"


class TestPage:
    def test_shows_the_figures_of_the_metrics(self, api, superuser_client):
        api.get(f"/api/v1/notes/{make_note()}")

        response = superuser_client.get(PAGE)

        page = response.content.decode()
        figures = Client().get("/api/v1/metrics/db").json()
        for store in ("postgres", "mongodb"):
            server = figures[store]["server"]
            assert server["version"] in page
            assert str(server.get("usable_connections", server["max_connections"])) in page
        for shown in ("Valkey", "PostgreSQL, a statement", "Redis, look", "closed"):
            assert shown in page, shown
        assert set(response.context["pools"]) == {"PostgreSQL", "MongoDB"}

    def test_says_which_server_does_not_answer(self, superuser_client, mongodb_restored):
        mongodb_restored.kill("mongodb")

        assert wait_until(
            lambda: (
                superuser_client.get(PAGE).status_code == 200 and mongodb_client.breaker.is_open
            ),
            30,
        )
        for _ in range(2):  # the second shows what the first was refused
            response = superuser_client.get(PAGE)

        page = response.content.decode()
        assert response.context["versions"]["MongoDB"] is None
        assert response.context["breakers"]["MongoDB"]
        assert '<span class="bad">does not answer</span>' in page
        assert '<span class="bad">open</span>' in page
        assert "CircuitOpen" in page  # among the errors

    def test_is_for_those_who_may_view_it(self):
        browser = Client()
        browser.force_login(User.objects.create_user("bob", is_staff=True))

        assert browser.get(PAGE).status_code == 403

    @pytest.mark.parametrize("rest", ["add/", "1/change/", "1/delete/", "1/history/"])
    def test_has_nothing_beside_it(self, superuser_client, rest):
        assert superuser_client.get(PAGE + rest).status_code == 404
