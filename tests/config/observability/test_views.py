"""The operators' endpoints: who may, what they say, and what clearing leaves alone."""

import json

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.test import Client

from cachelayer import client
from cachelayer.models import Clearance
from config.observability.serializers import CacheExplanation
from notes import cache_keys
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)
CLEAR, EXPLAIN = "/api/v1/admin/cache/clear", "/api/v1/admin/cache/explain"


@pytest.fixture
def token(settings) -> str:
    settings.ADMIN_TOKEN = "a token that only staff has"
    return settings.ADMIN_TOKEN


@pytest.fixture
def staff(token) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


class TestStaff:
    def test_without_credentials_it_is_a_401(self, api, token):
        answer = api.post(CLEAR)

        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == "Bearer"
        assert answer["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic YTpi", "nonsense"])
    def test_with_wrong_ones_a_403(self, api, token, header):
        assert api.post(CLEAR, headers={"Authorization": header}).status_code == 403

    @pytest.mark.parametrize(
        ("form", "status"),
        [
            ("Bearer {}", 200),
            ("Bearer  {}", 200),
            ("Bearer      {}", 200),
            ("bearer {}", 200),
            ("BEARER   {}", 200),
            ("  Bearer {}\t ", 200),
            ("Bearer\t{}", 403),
            ("Bearer \t{}", 403),
            ("Bearer{}", 403),
            ("Bearer: {}", 403),
            ("Bearer {}x", 403),
            ("Bearer {}, Bearer {}", 403),
            ("Basic {}", 403),
            ("{}", 403),
        ],
    )
    def test_credentials_are_a_scheme_spaces_and_the_token(self, api, settings, form, status):
        """RFC 9110, 11.4: 1*SP, and no other white space; 11.1: a scheme in any case."""
        settings.ADMIN_TOKEN = "dG9rZW4tb2Ytc3RhZmY="
        header = form.format(*[settings.ADMIN_TOKEN] * 2)

        assert api.post(CLEAR, headers={"Authorization": header}).status_code == status

    @pytest.mark.parametrize("header", ["Bearer ", "Bearer", ""])
    def test_no_token_in_the_settings_lets_nobody_in(self, api, settings, header):
        settings.ADMIN_TOKEN = ""

        assert api.post(CLEAR, headers={"Authorization": header}).status_code == 403

    def test_a_malformed_caller_is_a_400_for_staff_too(self, token):
        client = Client(headers={"Authorization": f"Bearer {token}", "X-User-Id": "a b"})

        reply = client.get(f"{EXPLAIN}?key=notes:{make_note()}")

        assert reply.status_code == 400
        assert [error["field"] for error in reply.json()["errors"]] == ["X-User-Id"]

    @pytest.mark.parametrize(("is_staff", "status"), [(True, 200), (False, 403)])
    def test_a_session_counts_where_it_is_of_staff(self, is_staff, status):
        browser = Client()
        browser.force_login(User.objects.create_user("ann", is_staff=is_staff))

        assert browser.post(CLEAR).status_code == status

    def test_a_session_needs_the_csrf_token(self):
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(User.objects.create_user("ann", is_staff=True))

        assert browser.post(CLEAR).status_code == 403


class TestClear:
    @pytest.mark.parametrize("method", ["post", "delete"])
    def test_clears_all_namespaces_and_says_which(self, api, staff, method):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        answer = getattr(staff, method)(CLEAR)

        assert {"notes", "notes:list"} <= set(answer.json()["cleared"])
        assert "uri-miss" in api.get(f"/api/v1/notes/{note_id}")["Cache-Status"]
        assert Clearance.objects.get().cleared_by == "admin-token"

    def test_clears_one_and_leaves_the_others(self, api, staff):
        path = f"/api/v1/notes/{make_note()}"
        for target in (path, "/api/v1/notes"):
            api.get(target)

        assert staff.post(f"{CLEAR}?namespace=notes").json() == {"cleared": ["notes"]}
        assert "uri-miss" in api.get(path)["Cache-Status"]
        assert "hit" in api.get("/api/v1/notes")["Cache-Status"]

    @pytest.mark.parametrize("query", ["namespace=none", "name=notes", "namespace="])
    def test_an_unknown_one_is_a_400_that_names_what_there_is(self, staff, query):
        answer = staff.post(f"{CLEAR}?{query}")

        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] in ("namespace", "name")

    def test_logs_nobody_out(self, staff):
        browser = Client()
        browser.force_login(User.objects.create_superuser("ann"))

        staff.post(CLEAR)

        assert browser.get("/admin/").status_code == 200

    def test_is_the_same_few_commands_however_many_entries(self, api, staff, redis_client):
        before = redis_client.info("commandstats")
        staff.post(CLEAR)
        after = redis_client.info("commandstats")

        for forbidden in ("flushdb", "flushall", "keys", "scan"):
            name = f"cmdstat_{forbidden}"
            assert after.get(name, {}).get("calls") == before.get(name, {}).get("calls")


class TestSessions:
    def test_survive_the_loss_of_redis(self):
        browser = Client()
        browser.force_login(User.objects.create_superuser("ann"))
        assert Session.objects.count() == 1

        caches["sessions"].clear()

        assert browser.get("/admin/").status_code == 200

    def test_are_kept_apart_from_the_cache_and_without_pickle(self, settings):
        assert settings.CACHES["sessions"]["LOCATION"] != settings.CACHES["default"]["LOCATION"]
        browser = Client()
        browser.force_login(User.objects.create_superuser("ann"))

        client = caches["sessions"].client.get_client()
        names = list(client.scan_iter("trilith-sessions:*"))

        assert names
        assert all(client.get(name).startswith(b"{") for name in names)


class TestExplain:
    def test_says_all_of_a_cached_key(self, api, staff):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        explanation = staff.get(f"{EXPLAIN}?key=notes:{note_id}").json()

        assert explanation["cached"]
        assert 0 <= explanation["age"] < 10
        assert 200 < explanation["ttl"] <= 300
        assert explanation["size"] > 100
        assert [tag["tag"] for tag in explanation["tags"]] == ["namespace:notes", f"note:{note_id}"]
        assert all(tag["valid"] for tag in explanation["tags"])
        assert explanation["last_miss"]["reason"] == "absent"
        assert explanation.keys() == set(CacheExplanation().fields)

    def test_says_which_write_ended_it_and_why_it_then_missed(self, api, staff):
        note_id = make_note()
        path = f"/api/v1/notes/{note_id}"
        api.get(path)
        api.patch(path, '{"title": "New"}', "application/json")

        ended = staff.get(f"{EXPLAIN}?key=notes:{note_id}").json()
        api.get(path)
        again = staff.get(f"{EXPLAIN}?key=notes:{note_id}").json()

        assert (ended["cached"], ended["reason"]) == (False, "invalidated")
        assert ended["last_invalidation"]["tag"] == f"note:{note_id}"
        assert [tag["valid"] for tag in ended["tags"]] == [True, False]
        assert again["last_miss"]["reason"] == "invalidated"

    @pytest.mark.parametrize("query", ["", "key=", "key=nonsense", "key=notes:1", "name=x"])
    def test_what_is_no_key_is_a_400(self, staff, query):
        assert staff.get(f"{EXPLAIN}?{query}").status_code == 400

    def test_without_redis_it_says_so(self, staff, stack):
        stack.kill("redis")
        try:
            answer = staff.get(f"{EXPLAIN}?key={cache_keys.NOTES.example}")
        finally:
            stack.start("redis")
            client.breaker.reset()

        explanation = answer.json()
        assert explanation["reason"] == "cache-down"
        assert explanation.keys() == set(CacheExplanation().fields)
        assert explanation["ttl"] is explanation["last_miss"] is None


class TestClearBody:
    @pytest.mark.parametrize("method", ["post", "delete"])
    def test_a_namespace_in_the_body_does_not_clear_them_all(self, staff, api, method):
        path = f"/api/v1/notes/{make_note()}"
        api.get(path)

        answer = getattr(staff, method)(
            CLEAR, json.dumps({"namespace": "users"}), content_type="application/json"
        )

        assert answer.status_code == 400
        assert [error["field"] for error in answer.json()["errors"]] == ["namespace"]
        assert "hit" in api.get(path)["Cache-Status"]

    def test_a_form_is_a_415_as_everywhere(self, staff):
        form = "application/x-www-form-urlencoded"

        assert staff.post(CLEAR, "namespace=notes", content_type=form).status_code == 415

    @pytest.mark.parametrize("body", ["", "{}", "null"])
    def test_of_an_empty_one_nothing_is_said(self, staff, body):
        assert staff.post(CLEAR, body, content_type="application/json").status_code == 200


class TestMetrics:
    def figures(self, api) -> dict:
        return api.get("/api/v1/metrics/cache").json()

    def test_counts_each_read_once(self, api):
        before = self.figures(api)
        path = f"/api/v1/notes/{make_note()}"
        for headers in ({}, {}, {}, {"Cache-Control": "no-cache"}, {"Cache-Control": "no-store"}):
            api.get(path, headers=headers)

        after = self.figures(api)

        grown = {
            name: after[name] - before[name]
            for name in ("reads", "hits", "misses", "stale", "bypasses", "degraded")
        }
        assert grown == {
            "reads": 5,
            "hits": 2,
            "misses": 1,
            "stale": 0,
            "bypasses": 2,
            "degraded": 0,
        }
        mine = after["namespaces"]["notes"]
        assert mine["hit_rate"] == mine["hits"] / (mine["hits"] + mine["misses"])

    def test_shows_memory_entries_timings_and_the_outbox(self, api):
        path = f"/api/v1/notes/{make_note()}"
        api.get(path)

        metrics = self.figures(api)

        assert metrics["memory_usage"] > 100_000
        assert metrics["memory_limit"] == 256 * 1024 * 1024
        assert metrics["namespaces"]["notes"]["entries"] == 1
        assert metrics["namespaces"]["notes"]["bytes"] > 100
        assert 0 < metrics["operations"]["look"]["p50"] <= metrics["operations"]["look"]["p99"]
        assert metrics["outbox"]["depth"] >= 0
        assert metrics["breaker"]["open"] is False

    def test_answers_without_redis(self, api, stack):
        stack.kill("redis")
        try:
            api.get(f"/api/v1/notes/{make_note()}")
            metrics = self.figures(api)
        finally:
            stack.start("redis")
            client.breaker.reset()

        assert metrics["memory_usage"] is None
        assert metrics["breaker"]["open"]

    def test_the_same_stands_in_prometheus_format(self, api):
        api.get(f"/api/v1/notes/{make_note()}")

        text = api.get("/metrics").content.decode()

        assert 'cachelayer_reads_total{namespace="notes",result="absent"}' in text
        assert "cachelayer_operation_seconds_bucket" in text
        assert 'cachelayer_entries{namespace="notes"} 1.0' in text
        for name in ("redis_memory_usage", "redis_evictions", "outbox_depth", "outbox_age_seconds"):
            assert f"\ncachelayer_{name} " in text, name
