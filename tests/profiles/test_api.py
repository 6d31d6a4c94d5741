"""The profiles part of docs/api.md, call by call, from both stores."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from django.db import connection
from django.test import Client

from profiles import cache_keys
from profiles.documents import UserProfile

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("backend")]


def problem(response, status: int) -> dict:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    return response.json()


def fields(response) -> list[str]:
    return [error["field"] for error in problem(response, 400)["errors"]]


class TestCreate:
    def test_answers_the_profile_with_its_defaults(self, send):
        response = send("POST", "", {"user_id": "abc", "email": "Abc@Example.org"})

        body = response.json()
        assert response.status_code == 201
        assert response["Location"] == "http://testserver/api/v1/profiles/abc"
        assert list(body) == ["user_id", "email", "preferences", "metadata", "version"]
        assert body["email"] == "Abc@Example.org"
        assert body["preferences"] == {
            "theme": "system",
            "language": "en",
            "notifications": {"email": True, "push": False},
        }
        assert body["metadata"]["created_at"].endswith("Z")
        assert body["metadata"]["last_login"] is None
        assert body["version"] == 1
        assert send("GET", "/abc").json() == body
        assert send("GET", "/abc")["ETag"] == response["ETag"]

    def test_keeps_further_preferences_as_given(self, send, made):
        given = {
            "theme": "dark",
            "language": "de-CH-1996",
            "notifications": {"push": True, "sms": [1, 2.5, None]},
            "editor": {"tabs": {"width": 4}, "ümlaut": "€ 𝄞", "n": None, "x": 2**62},
        }

        body = made(preferences=given)

        given["notifications"]["email"] = True
        assert body["preferences"] == given
        assert send("GET", "/abc").json()["preferences"] == given

    def test_ends_what_was_cached_of_there_being_none(self, send, made):
        assert send("GET", "/abc").status_code == 404

        made()

        assert send("GET", "/abc").status_code == 200

    @pytest.mark.parametrize(
        ("user", "email", "field"),
        [("abc", "other@example.org", "user_id"), ("xyz", "ABC@example.ORG", "email")],
    )
    def test_what_is_taken_is_a_409_that_names_it(self, send, made, user, email, field):
        made()

        response = send("POST", "", {"user_id": user, "email": email}, user=user)

        assert [error["field"] for error in problem(response, 409)["errors"]] == [field]

    def test_another_user_s_is_a_403(self, send):
        problem(send("POST", "", {"user_id": "xyz", "email": "x@example.org"}), 403)

    @pytest.mark.parametrize("user_id", ["mongo", "postgres", "", "a b", "a/b", "x" * 129, 7, None])
    def test_a_user_id_that_may_not_be_is_named(self, send, user_id):
        assert fields(send("POST", "", {"user_id": user_id, "email": "x@example.org"})) == [
            "user_id"
        ]

    @pytest.mark.parametrize(
        "email", ["", "x", "x@", "x@y z.org", f"{'x' * 250}@y.org", 7, {"$gt": ""}]
    )
    def test_an_email_that_may_not_be_is_named(self, send, email):
        assert fields(send("POST", "", {"user_id": "abc", "email": email})) == ["email"]

    def test_unknown_fields_are_named(self, send):
        body = {"user_id": "abc", "email": "x@example.org", "admin": True}

        assert fields(send("POST", "", body)) == ["admin"]


class TestPreferences:
    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ([], "preferences"),
            ("dark", "preferences"),
            ({"theme": "pink"}, "preferences.theme"),
            ({"theme": {"$gt": ""}}, "preferences.theme"),
            ({"language": "not a tag"}, "preferences.language"),
            ({"language": 7}, "preferences.language"),
            ({"notifications": []}, "preferences.notifications"),
            ({"notifications": {"email": "yes"}}, "preferences.notifications.email"),
            ({"$where": "1"}, "preferences.$where"),
            ({"a": {"$gt": 1}}, "preferences.a.$gt"),
            ({"a": [{"$set": 1}]}, "preferences.a.$set"),
            ({"a.b": 1}, "preferences.a.b"),
            ({"": 1}, "preferences"),
            ({"a": {"": 1}}, "preferences.a."),
            ({"a\0b": 1}, "preferences.a\0b"),
            ({"a": "x\0y"}, "preferences.a"),
            ({"a": 2**63}, "preferences.a"),
            ({"a": {"b": {"c": {"d": {"e": {}}}}}}, "preferences.a.b.c.d.e"),
            ({"a": [[[[[1]]]]]}, "preferences.a"),
            ({f"k{n}": n for n in range(65)}, "preferences"),
            ({"a": {f"k{n}": n for n in range(64)}}, "preferences"),
            ({"a": "x" * 16_400}, "preferences"),
            ({"a": "x" * 1_000_000}, "preferences"),
        ],
    )
    def test_what_may_not_be_is_a_400_that_names_it(self, send, made, given, field):
        made("xyz")

        created = send("POST", "", {"user_id": "abc", "email": "x@y.org", "preferences": given})
        replaced = send(
            "PUT", "/xyz", {"email": "xyz@example.org", "preferences": given}, user="xyz"
        )

        assert field in fields(created)
        assert field in fields(replaced)
        if isinstance(given, dict):
            assert field in fields(send("PATCH", "/xyz/preferences", given, user="xyz"))
        assert send("GET", "/xyz").json()["version"] == 1

    def test_the_bounds_themselves_are_allowed(self, made):
        made(preferences={"a": {"b": {"c": {"d": {"e": 1}}}}, "s": "x" * 16_000})
        made("xyz", preferences={f"k{n}": n for n in range(64)})

    @pytest.mark.parametrize("body", [b'{"a": "\\ud800"}', b"{", b"\xff", b"null", b"[1]", b"7"])
    def test_a_patch_that_is_no_object_is_a_400(self, send, made, body):
        made()

        problem(send("PATCH", "/abc/preferences", body), 400)


# RFC 7396, appendix A, where target and patch are objects.
RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ({"a": "scalar"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    (
        {"a": "$b", "b": 1},
        {"c": "$a", "d": {"e": "$$ROOT"}},
        {"a": "$b", "b": 1, "c": "$a", "d": {"e": "$$ROOT"}},
    ),
]


class TestPatch:
    @pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
    def test_is_a_json_merge_patch(self, send, made, target, patch, result):
        before = made(preferences=target)

        response = send("PATCH", "/abc/preferences", patch)

        body = response.json()
        defaults = made("xyz")["preferences"]
        assert body["preferences"] == defaults | result
        assert body["version"] == 2
        assert body["metadata"]["created_at"] == before["metadata"]["created_at"]
        updated_at, updated_before = (
            datetime.fromisoformat(profile["metadata"]["updated_at"]) for profile in (body, before)
        )
        assert updated_at >= updated_before
        assert send("GET", "/abc").json() == body

    def test_takes_the_media_type_of_the_rfc(self, send, made):
        made()

        response = send(
            "PATCH",
            "/abc/preferences",
            {"theme": "dark"},
            Content_Type="application/merge-patch+json",
        )

        assert response.json()["preferences"]["theme"] == "dark"

    def test_null_brings_the_default_back(self, send, made):
        made(preferences={"theme": "dark", "notifications": {"email": False, "push": True}})

        body = send(
            "PATCH", "/abc/preferences", {"theme": None, "notifications": {"push": None}}
        ).json()

        assert body["preferences"]["theme"] == "system"
        assert body["preferences"]["notifications"] == {"email": False, "push": False}

    def test_no_change_is_lost_among_many_at_once(self, send, made):
        made()

        def patch(number: int):
            try:
                return send("PATCH", "/abc/preferences", {"n": {f"k{number}": number}}).status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(patch, range(40)))

        body = send("GET", "/abc").json()
        assert set(statuses) == {200}
        assert body["preferences"]["n"] == {f"k{number}": number for number in range(40)}
        assert body["version"] == 41

    def test_what_would_grow_too_large_is_refused_whole(self, send, made):
        made(preferences={f"k{n}": n for n in range(60)})

        assert fields(send("PATCH", "/abc/preferences", {"a": {f"x{n}": n for n in range(4)}})) == [
            "preferences"
        ]
        assert fields(send("PATCH", "/abc/preferences", {"k1": "x" * 16_300})) == ["preferences"]
        assert send("PATCH", "/abc/preferences", {"a": 1, "k1": None}).status_code == 200

    def test_what_is_removed_takes_no_room(self, send, made):
        """A key that the profile does not have is removed as well, and so are many at once."""
        old = {f"old{n}": n for n in range(40)}
        made(preferences={"a": old})
        absent = {f"absent{n}": None for n in range(900)}
        new = {f"new{n}": n for n in range(40)}

        body = send(
            "PATCH", "/abc/preferences", {"a": dict.fromkeys(old) | new, "b": absent, "c": None}
        ).json()

        assert body["preferences"]["a"] == new
        assert body["preferences"]["b"] == {}
        assert send("GET", "/abc").json() == body

    def test_there_is_an_end_to_what_one_patch_removes(self, send, made):
        made()

        patch = {"a": {f"k{n}": None for n in range(1_001)}}

        assert fields(send("PATCH", "/abc/preferences", patch)) == ["preferences"]

    def test_keys_within_lists_count_too(self, send, made):
        made(preferences={"a": [{f"k{n}": n} for n in range(62)]})

        assert send("PATCH", "/abc/preferences", {"b": 1}).status_code == 200
        assert fields(send("PATCH", "/abc/preferences", {"c": 1})) == ["preferences"]


class TestReplace:
    def test_replaces_email_and_preferences(self, send, made):
        made(preferences={"a": 1})

        body = send("PUT", "/abc", {"email": "new@example.org", "preferences": {"b": 2}}).json()

        assert (body["email"], body["version"]) == ("new@example.org", 2)
        assert "a" not in body["preferences"]
        assert send("GET", "/abc").json() == body

    def test_needs_both(self, send, made):
        made()

        assert fields(send("PUT", "/abc", {})) == ["email", "preferences"]

    def test_an_email_that_is_another_s_is_a_409(self, send, made):
        made()
        made("xyz")

        response = send("PUT", "/abc", {"email": "XYZ@example.org", "preferences": {}})

        assert problem(response, 409)["errors"][0]["field"] == "email"
        assert send("GET", "/abc").json()["version"] == 1

    def test_the_own_email_in_another_case_is_no_conflict(self, send, made):
        made()

        response = send("PUT", "/abc", {"email": "ABC@example.org", "preferences": {}})

        assert response.status_code == 200


class TestDelete:
    def test_ends_the_profile(self, send, made):
        made()
        send("GET", "/abc")

        response = send("DELETE", "/abc")

        assert (response.status_code, response.content) == (204, b"")
        assert "Content-Type" not in response

        problem(send("GET", "/abc"), 404)
        problem(send("DELETE", "/abc"), 404)

    def test_takes_the_copy_with_the_address_out_of_redis_at_once(self, send, made, redis_client):
        made()
        send("GET", "/abc")
        assert redis_client.exists(cache_keys.profile("abc").entry_name)

        send("DELETE", "/abc")

        assert not redis_client.exists(cache_keys.profile("abc").entry_name)

    def test_its_email_is_free_again(self, send, made):
        made()
        send("DELETE", "/abc")

        made("xyz", email="abc@example.org")


WRITES = [
    ("PUT", "", {"email": "new@example.org", "preferences": {}}),
    ("PATCH", "/preferences", {"theme": "dark"}),
    ("DELETE", "", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=["PUT", "PATCH", "DELETE"])
class TestWrites:
    def test_what_is_not_there_is_a_404(self, send, method, path, body):
        problem(send(method, f"/abc{path}", body), 404)

    def test_a_malformed_id_is_a_404(self, send, method, path, body):
        problem(send(method, f"/a%00b{path}", body), 404)

    def test_another_user_s_is_a_403(self, send, made, method, path, body):
        made()

        problem(send(method, f"/abc{path}", body, user="xyz"), 403)
        assert send("GET", "/abc").json()["version"] == 1

    def test_a_stale_if_match_is_a_412_and_changes_nothing(self, send, made, method, path, body):
        made()
        old = send("GET", "/abc")["ETag"]
        send("PATCH", "/abc/preferences", {"x": 1})

        problem(send(method, f"/abc{path}", body, If_Match=old), 412)

        assert send("GET", "/abc").json()["version"] == 2

    def test_the_current_if_match_lets_it_pass(self, send, made, method, path, body):
        made()
        etag = send("GET", "/abc")["ETag"]

        response = send(method, f"/abc{path}", body, If_Match=etag)

        assert response.status_code in (200, 204)

    def test_of_many_with_one_if_match_one_wins(self, send, made, method, path, body):
        made()
        etag = send("GET", "/abc")["ETag"]

        def write(_):
            try:
                return send(method, f"/abc{path}", body, If_Match=etag).status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(6) as pool:
            statuses = list(pool.map(write, range(6)))

        assert sorted(statuses)[0] in (200, 204)
        assert set(sorted(statuses)[1:]) <= {412, 404}

    def test_staff_may_for_anyone(self, send, made, settings, method, path, body):
        settings.ADMIN_TOKEN = "a token of staff"
        made()

        good = send(
            method, f"/abc{path}", body, user="xyz", Authorization="Bearer a token of staff"
        )
        assert good.status_code in (200, 204)

    def test_wrong_credentials_are_a_403(self, send, made, settings, method, path, body):
        settings.ADMIN_TOKEN = "a token of staff"
        made()

        problem(send(method, f"/abc{path}", body, Authorization="Bearer wrong"), 403)

    def test_a_session_of_staff_counts_with_its_csrf_token_only(
        self, made, django_user_model, method, path, body
    ):
        made()
        client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        client.force_login(django_user_model.objects.create_user("boss", is_staff=True))

        refused = client.generic(
            method, f"/api/v1/profiles/abc{path}", json.dumps(body), "application/json"
        )

        problem(refused, 403)


class TestRead:
    def test_the_second_one_is_a_hit(self, send, made):
        made()

        first, second = send("GET", "/abc"), send("GET", "/abc")

        assert first["Cache-Status"] == "trilith; fwd=uri-miss; stored"
        assert second["Cache-Status"].startswith("trilith; hit; ttl=")
        assert 800 < int(second["Cache-Status"].rpartition("=")[2]) <= 990
        assert first.content == second.content
        assert second["Cache-Control"] == "private, no-cache"
        assert "mongodb" not in second["Server-Timing"]
        assert "postgres" not in second["Server-Timing"]

    def test_a_matching_if_none_match_is_a_304(self, send, made):
        made()
        etag = send("GET", "/abc")["ETag"]

        response = send("GET", "/abc", If_None_Match=etag)

        assert (response.status_code, response.content) == (304, b"")

    def test_asked_past_the_cache_it_comes_from_the_store(self, send, made):
        made()
        send("GET", "/abc")

        assert send("GET", "/abc?cache=false")["Cache-Status"] == "trilith; fwd=bypass"
        assert (
            send("GET", "/abc", Cache_Control="no-cache")["Cache-Status"] == "trilith; fwd=bypass"
        )

    @pytest.mark.parametrize("name", ["x", "user_id", "$where", "userId[$ne]"])
    def test_unknown_parameters_are_named(self, send, made, name):
        made()

        assert fields(send("GET", f"/abc?{name}=1")) == [name]

    @pytest.mark.parametrize(
        "user_id", ["a%20b", "$gt", "x" * 129, "%7B%22$gt%22:%22%22%7D", "a%00"]
    )
    def test_a_malformed_id_is_a_404(self, send, user_id):
        problem(send("GET", f"/{user_id}"), 404)
        problem(send("GET", f"/mongo/{user_id}"), 404)
        problem(send("GET", f"/postgres/{user_id}"), 404)


class TestStores:
    def test_both_have_the_same_profile(self, send, made):
        made(preferences={"a": {"b": [1, 2]}})
        send("PATCH", "/abc/preferences", {"theme": "dark"})
        expected = send("GET", "/abc").json()

        assert send("GET", "/mongo/abc").json() == expected
        assert send("GET", "/postgres/abc").json() == expected
        assert "Cache-Status" not in send("GET", "/mongo/abc")

    def test_what_was_deleted_is_gone_from_both(self, send, made):
        made()
        send("DELETE", "/abc")

        problem(send("GET", "/mongo/abc"), 404)
        problem(send("GET", "/postgres/abc"), 404)

    def test_the_store_itself_is_asked(self, send, made, backend):
        made()
        UserProfile._get_collection().update_one(
            {"user_id": "abc"}, {"$set": {"email": "edited@example.org"}}
        )

        assert send("GET", "/mongo/abc").json()["email"] == "edited@example.org"
        assert send("GET", "/postgres/abc").json()["email"] == "abc@example.org"
