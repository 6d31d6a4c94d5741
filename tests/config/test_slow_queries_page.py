"""The Slow queries page of the admin: what it shows, and who may see a plan."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from cachelayer import client
from config.observability import capped_list, slow_queries
from config.observability.generic_plans import NoPlan, generic_plan

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/config/slowstatement/"
LISTING = 'SELECT "notes"."id" FROM "notes" WHERE "notes"."user_id" = %s LIMIT 20'


def keep(statement: str = LISTING, *, store: str = "postgres", kind: str = "SELECT") -> str:
    """Keep a slow statement; return where its plan is."""
    row = {"at": 1.0, "store": store, "kind": kind, "statement": statement, "duration_ms": 1500}
    slow_queries.SLOW.add(row | {"fingerprint": "f1", "endpoint": "notes", "request_id": "r-1"})
    capped_list.flush()
    return f"{PAGE}f1/explain/"


class TestPage:
    def test_lists_shapes_with_their_cost_and_a_way_to_the_plan(self, superuser_client):
        link = keep()

        page = superuser_client.get(PAGE).content.decode()

        for shown in ("1500.0", "r-1", "postgres", "LIMIT 20", f'href="{link}"'):
            assert shown in page, shown

    @pytest.mark.parametrize(("store", "kind"), [("mongodb", "find"), ("postgres", "UPDATE")])
    def test_offers_a_plan_for_a_select_alone(self, superuser_client, store, kind):
        link = keep("anything", store=store, kind=kind)

        assert link not in superuser_client.get(PAGE).content.decode()

    def test_answers_without_redis(self, superuser_client, monkeypatch):
        monkeypatch.setattr(client.breaker, "is_open", True)

        assert "Redis does not answer" in superuser_client.get(PAGE).content.decode()

    @pytest.mark.parametrize("rest", ["add/", "1/change/", "1/delete/", "1/history/"])
    def test_has_nothing_beside_it(self, superuser_client, rest):
        assert superuser_client.get(PAGE + rest).status_code == 404

    def test_is_in_the_index(self, superuser_client):
        assert PAGE in superuser_client.get("/admin/").content.decode()

    def test_is_for_those_who_may_view_it(self):
        browser = Client()
        browser.force_login(User.objects.create_user("bob", is_staff=True))

        assert browser.get(PAGE).status_code == 403


class TestPlan:
    def test_is_shown_without_running_the_statement(self, superuser_client):
        page = superuser_client.get(keep()).content.decode()

        assert "user_id)::text = $1" in page
        assert "A generic plan" in page
        assert "actual time" not in page

    def test_why_there_is_none_is_shown(self, superuser_client):
        page = superuser_client.get(keep("SELECT nothing FROM nowhere")).content.decode()

        assert "PostgreSQL says: relation" in page

    def test_what_is_not_kept_has_none(self, superuser_client):
        keep(store="mongodb", kind="find")

        assert superuser_client.get(f"{PAGE}f1/explain/").status_code == 404
        assert superuser_client.get(f"{PAGE}f2/explain/").status_code == 404

    def test_who_may_only_look_gets_none(self):
        viewer = User.objects.create_user("bob", is_staff=True)
        viewer.user_permissions.add(Permission.objects.get(codename="view_slowstatement"))
        browser = Client()
        browser.force_login(viewer)
        link = keep()

        page = browser.get(PAGE)

        assert page.status_code == 200
        assert link not in page.content.decode()
        assert browser.get(link).status_code == 403


class TestGenericPlan:
    @pytest.mark.parametrize(
        ("statement", "reason"),
        [
            ("DELETE FROM notes", "Only a SELECT"),
            ("SELECTED", "Only a SELECT"),
            ("SELECT a FROM b; DELETE FROM notes", "more than one statement"),
        ],
    )
    def test_refuses_what_could_change_something(self, statement, reason):
        with pytest.raises(NoPlan, match=reason):
            generic_plan(statement)

    def test_takes_lists_names_and_percent_signs_as_they_are_kept(self):
        plan = generic_plan(
            'SELECT id AS "a;b" FROM notes WHERE version %% %s = %s AND user_id IN (%s, ...)'
        )

        assert "$3" in plan
