"""The notes part of docs/api.md, call by call."""

import itertools
import json
import re
import uuid
from datetime import datetime

import pytest
from django.test import Client

from notes.models import Note
from tests.builders import make_note, make_notes

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN = uuid.UUID(int=0)


def post(api: Client, body: object, **headers: str):
    return api.post("/api/v1/notes", json.dumps(body), "application/json", headers=headers)


def send(api: Client, method: str, note_id: object, body: object = None, **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.generic(
        method, f"/api/v1/notes/{note_id}", json.dumps(body), "application/json", headers=named
    )


def problem(response, status: int) -> dict:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= set(body)
    assert body["request_id"] == response["X-Request-ID"]
    assert body["status"] == status
    return body


def error_fields(response) -> set[str]:
    return {error["field"] for error in problem(response, 400)["errors"]}


class TestCreate:
    def test_answers_201_with_the_note_and_where_it_is(self, api):
        response = post(api, {"title": "  Test ", "content": " Original\n"})

        assert response.status_code == 201
        body = response.json()
        assert list(body) == [
            "id",
            "user_id",
            "title",
            "content",
            "created_at",
            "updated_at",
            "version",
        ]
        assert (body["user_id"], body["title"], body["content"], body["version"]) == (
            "abc",
            "Test",
            " Original\n",
            1,
        )
        assert response["Location"] == f"http://testserver/api/v1/notes/{body['id']}"
        assert body["created_at"].endswith("Z")
        assert datetime.fromisoformat(body["created_at"]).utcoffset() is not None

    def test_the_note_read_back_is_the_same_representation(self, api):
        created = post(api, {"title": "Test"})

        read = api.get(created["Location"])

        assert (read.content, read["ETag"]) == (created.content, created["ETag"])

    def test_the_user_is_demo_without_a_header(self):
        assert post(Client(), {"title": "x"}).json()["user_id"] == "demo"

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "title"),
            ({"title": ""}, "title"),
            ({"title": "  \t "}, "title"),
            ({"title": "x" * 201}, "title"),
            ({"title": 5}, "title"),
            ({"title": None}, "title"),
            ({"title": True}, "title"),
            ({"title": "nul \0"}, "title"),
            ({"title": "x", "content": "nul \0"}, "content"),
            ({"title": "x", "content": "y" * 100_001}, "content"),
            ({"title": "x", "content": ["y"]}, "content"),
            ({"title": "x", "user_id": "eve"}, "user_id"),
            (["title"], "body"),
            ("title", "body"),
            (None, "body"),
        ],
    )
    def test_refuses_what_is_not_a_note_and_names_it(self, api, body, field):
        response = post(api, body)

        assert error_fields(response) == {field}
        assert Note.objects.count() == 0

    @pytest.mark.parametrize(
        "raw",
        [
            b"{",
            b'{"title": "\\ud800"}',
            b'{"title": "\xff"}',
            b'{"title": NaN}',
            b"[" * 100_000,
            b'{"title": "x"} trailing',
        ],
    )
    def test_refuses_what_is_not_json(self, api, raw):
        response = api.post("/api/v1/notes", raw, "application/json")

        assert error_fields(response) == {"body"}

    def test_keeps_the_longest_note_there_may_be(self, api):
        longest = {"title": "é" * 200, "content": "\U0001f600" * 100_000}

        response = post(api, longest)

        assert response.status_code == 201
        assert api.get(response["Location"]).json()["content"] == longest["content"]

    def test_refuses_a_body_over_the_limit(self, api, settings):
        settings.REQUEST_BODY_MAX_BYTES = 1000

        problem(post(api, {"title": "x", "content": "y" * 1000}), 413)

    def test_refuses_another_media_type(self, api):
        problem(api.post("/api/v1/notes", "title=x", "application/x-www-form-urlencoded"), 415)

    @pytest.mark.parametrize("user_id", ["", "a b", "x" * 129, "ü", "a/b", "a\n"])
    def test_refuses_a_malformed_caller(self, api, user_id):
        response = post(api, {"title": "x"}, **{"X-User-Id": user_id})

        assert error_fields(response) == {"X-User-Id"}


class TestRead:
    def test_is_loaded_once_and_then_a_hit(self, api):
        note_id = make_note()

        first, second = (api.get(f"/api/v1/notes/{note_id}") for _ in range(2))

        assert first["Cache-Status"] == "trilith; fwd=uri-miss; stored"
        assert re.fullmatch(r"trilith; hit; ttl=(2[4-9]\d|300)", second["Cache-Status"])
        assert first.content == second.content
        assert second["Cache-Control"] == "private, no-cache"
        assert "Vary" not in second or "X-User-Id" not in second["Vary"]
        assert "redis;dur=" in second["Server-Timing"]
        assert "postgres" not in second["Server-Timing"]
        assert "app;dur=" in second["Server-Timing"]

    def test_takes_the_id_in_either_case(self, api):
        note_id = make_note()

        assert api.get(f"/api/v1/notes/{str(note_id).upper()}").json()["id"] == str(note_id)

    @pytest.mark.parametrize(
        "bad", ["1", "x" * 36, f"{{{UNKNOWN}}}", UNKNOWN.hex, f"urn:uuid:{UNKNOWN}"]
    )
    def test_a_malformed_id_is_a_404(self, api, bad):
        problem(api.get(f"/api/v1/notes/{bad}"), 404)

    def test_an_unknown_note_is_a_404_and_cached(self, api):
        first, second = (api.get(f"/api/v1/notes/{UNKNOWN}") for _ in range(2))

        problem(first, 404)
        problem(second, 404)
        assert first["Cache-Control"] == second["Cache-Control"] == "private, no-cache"
        assert first["Cache-Status"] == "trilith; fwd=uri-miss; stored"
        assert re.fullmatch(r"trilith; hit; ttl=(2[6-9]|3[0-3])", second["Cache-Status"])

    @pytest.mark.parametrize("name", ["If-None-Match"])
    @pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
    def test_a_matching_etag_is_a_304(self, api, name, form):
        note_id = make_note()
        etag = api.get(f"/api/v1/notes/{note_id}")["ETag"]

        response = api.get(f"/api/v1/notes/{note_id}", headers={name: form.format(etag)})

        assert response.status_code == 304
        assert response.content == b""
        assert response["ETag"] == etag
        assert response["Cache-Control"] == "private, no-cache"
        assert "hit" in response["Cache-Status"]

    def test_another_etag_is_answered_in_full(self, api):
        note_id = make_note()

        response = api.get(f"/api/v1/notes/{note_id}", headers={"If-None-Match": '"other"'})

        assert response.status_code == 200

    @pytest.mark.parametrize(
        ("query", "header"), [("?cache=false", ""), ("", "no-cache"), ("", "max-age=0, No-Cache")]
    )
    def test_a_bypass_answers_from_the_store_and_refreshes_the_copy(self, api, query, header):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        Note.objects.filter(pk=note_id).update(title="Updated in DB")

        def is_refreshed() -> bool:
            bypassed = api.get(f"/api/v1/notes/{note_id}{query}", headers={"Cache-Control": header})
            after = api.get(f"/api/v1/notes/{note_id}")

            assert bypassed["Cache-Status"] == "trilith; fwd=bypass"
            assert bypassed.json()["title"] == "Updated in DB"
            assert after.json()["title"] == "Updated in DB"
            return "hit" in after["Cache-Status"]

        # Who keeps the lease delivers the triggers' invalidation, too, perhaps in between.
        assert is_refreshed() or is_refreshed()

    def test_no_store_leaves_the_copy_as_it_was(self, api):
        note_id = make_note(title="Before")
        api.get(f"/api/v1/notes/{note_id}")
        Note.objects.filter(pk=note_id).update(title="Updated in DB")

        bypassed = api.get(f"/api/v1/notes/{note_id}", headers={"Cache-Control": "no-store"})

        assert bypassed.json()["title"] == "Updated in DB"
        assert api.get(f"/api/v1/notes/{note_id}").json()["title"] == "Before"

    @pytest.mark.parametrize("query", ["cache=maybe", "fields=title", "cache=false&cache=true"])
    def test_refuses_parameters_that_it_does_not_know(self, api, query):
        assert error_fields(api.get(f"/api/v1/notes/{make_note()}?{query}"))

    def test_head_has_the_same_headers_and_no_body(self, api):
        note_id = make_note()
        full = api.get(f"/api/v1/notes/{note_id}")

        head = api.head(f"/api/v1/notes/{note_id}")

        assert head.content == b""
        assert (head.status_code, head["ETag"]) == (200, full["ETag"])


class TestChange:
    def test_put_replaces_and_raises_the_version(self, api):
        note_id = make_note()

        response = send(api, "PUT", note_id, {"title": "New", "content": ""})

        assert response.status_code == 200
        body = response.json()
        assert (body["title"], body["content"], body["version"]) == ("New", "", 2)
        assert body["updated_at"] > body["created_at"]

    @pytest.mark.parametrize("body", [{"title": "x"}, {"content": "x"}, {}])
    def test_put_wants_the_whole_note(self, api, body):
        assert error_fields(send(api, "PUT", make_note(), body))

    @pytest.mark.parametrize("body", [{"title": "New"}, {"content": "New"}, {"content": ""}])
    def test_patch_changes_what_it_names(self, api, body):
        note_id = make_note(title="T", content="C")

        changed = send(api, "PATCH", note_id, body).json()

        assert {k: changed[k] for k in ("title", "content")} == {
            "title": "T",
            "content": "C",
        } | body

    def test_patch_of_nothing_is_refused(self, api):
        assert error_fields(send(api, "PATCH", make_note(), {})) == {"body"}

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    def test_what_belongs_to_another_is_a_403(self, api, method):
        note_id = make_note(user_id="eve")

        problem(send(api, method, note_id, {"title": "x", "content": "y"}), 403)

        assert Note.objects.get(pk=note_id).version == 1

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize("note_id", [UNKNOWN, "malformed"])
    def test_what_is_not_there_is_a_404(self, api, method, note_id):
        problem(send(api, method, note_id, {"title": "x", "content": "y"}), 404)

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize("etag", ['"other"', "W/{}", "unquoted", ""])
    def test_if_match_that_does_not_match_writes_nothing(self, api, method, etag):
        note_id = make_note()
        current = api.get(f"/api/v1/notes/{note_id}")["ETag"]

        response = send(
            api, method, note_id, {"title": "x", "content": "y"}, If_Match=etag.format(current)
        )

        problem(response, 412)
        assert Note.objects.get(pk=note_id).version == 1

    @pytest.mark.parametrize("form", ["{}", "*", '"other", {}'])
    def test_if_match_that_matches_writes(self, api, form):
        note_id = make_note()
        etag = api.get(f"/api/v1/notes/{note_id}")["ETag"]

        response = send(api, "PATCH", note_id, {"title": "x"}, If_Match=form.format(etag))

        assert response.status_code == 200
        assert response["ETag"] != etag
        assert api.get(f"/api/v1/notes/{note_id}")["ETag"] == response["ETag"]

    def test_delete_answers_204_and_the_note_is_gone(self, api):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        response = send(api, "DELETE", note_id)

        assert (response.status_code, response.content) == (204, b"")
        assert "Content-Type" not in response
        problem(api.get(f"/api/v1/notes/{note_id}"), 404)

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_the_next_read_is_fresh(self, api, method):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")

        changed = send(api, method, note_id, {"title": "New", "content": "New"})

        read = api.get(f"/api/v1/notes/{note_id}")
        assert read["Cache-Status"] == "trilith; fwd=uri-miss; stored"
        assert read.content == changed.content

    def test_a_create_ends_a_cached_absence(self, api, monkeypatch):
        problem(api.get(f"/api/v1/notes/{UNKNOWN}"), 404)

        make_note(note_id=UNKNOWN)

        assert api.get(f"/api/v1/notes/{UNKNOWN}").status_code == 200


class TestPages:
    def test_a_page_has_its_figures_and_links(self, api):
        make_notes(5)

        response = api.get("/api/v1/notes?limit=2&page=2")

        body = response.json()
        assert list(body) == ["results", "count", "page", "limit", "next", "previous"]
        assert (body["count"], body["page"], body["limit"]) == (5, 2, 2)
        assert [note["title"] for note in body["results"]] == ["plain 2", "plain 1"]
        assert body["next"].startswith("http://testserver/api/v1/notes?page=3&limit=2")
        assert f'<{body["next"]}>; rel="next"' in response["Link"]
        assert f'<{body["previous"]}>; rel="previous"' in response["Link"]

    def test_the_links_lead_through_the_whole_list(self, api):
        make_notes(7)
        titles, url = [], "/api/v1/notes?limit=3&sort=title:ASC&userId=abc"

        while url:
            body = api.get(url).json()
            titles += [note["title"] for note in body["results"]]
            url = body["next"]

        assert titles == [f"plain {n}" for n in range(7)]

    def test_beyond_the_end_is_an_empty_page(self, api):
        make_notes(1)

        body = api.get("/api/v1/notes?page=2147483647").json()

        assert (body["results"], body["next"], body["count"]) == ([], None, 1)

    def test_count_false_leaves_the_count_out(self, api):
        make_notes(3)

        body = api.get("/api/v1/notes?count=false&limit=2").json()

        assert "count" not in body
        assert "count=false" in body["next"]

    @pytest.mark.parametrize("name", ["userId", "user_id"])
    def test_is_filtered_by_user(self, api, name):
        make_notes(2, user_id="abc")
        make_notes(3, user_id="eve")

        body = api.get(f"/api/v1/notes?{name}=eve").json()

        assert body["count"] == 3
        assert {note["user_id"] for note in body["results"]} == {"eve"}

    @pytest.mark.parametrize("field", ["created_at", "updated_at", "title"])
    @pytest.mark.parametrize("way", ["ASC", "DESC"])
    def test_is_sorted_as_asked_ties_by_id(self, api, field, way):
        make_notes(4)
        make_notes(4)

        notes = api.get(f"/api/v1/notes?sort={field}:{way}").json()["results"]

        key = [(note[field], note["id"]) for note in notes]
        assert key == sorted(key, reverse=way == "DESC")

    def test_searches_the_words_of_the_title(self, api):
        make_note(title="Running with databases")
        make_note(title="A database runs")
        make_note(title="Cooking", content="databases")

        titles = [
            note["title"] for note in api.get("/api/v1/notes?q=run database").json()["results"]
        ]

        assert titles == ["A database runs", "Running with databases"]

    @pytest.mark.parametrize(
        ("q", "expected"),
        [
            ('"red apple"', ["red apple"]),
            ("apple -red", ["green apple"]),
            ("the", []),
            ("'; --", []),
        ],
    )
    def test_searches_as_the_web_does(self, api, q, expected):
        make_note(title="red apple")
        make_note(title="green apple")

        body = api.get("/api/v1/notes", {"q": q}).json()

        assert [note["title"] for note in body["results"]] == expected

    def test_a_search_is_the_same_whatever_is_around_it(self, api):
        make_note(title="red apple")
        api.get("/api/v1/notes?q=apple")
        padded = api.get("/api/v1/notes?q=%09" + "%20" * 1_000 + "apple%20&limit=20")

        assert "hit" in padded["Cache-Status"]
        assert [note["title"] for note in padded.json()["results"]] == ["red apple"]

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("page=0", "page"),
            ("page=-1", "page"),
            ("page=1.0", "page"),
            ("page=x", "page"),
            ("page=99999999999", "page"),
            ("page=%D9%A1", "page"),
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=", "limit"),
            ("sort=content:ASC", "sort"),
            ("sort=title:sideways", "sort"),
            ("sort=title", "sort"),
            ("count=no", "count"),
            ("cache=0", "cache"),
            ("q=", "q"),
            ("q=" + "x" * 201, "q"),
            ("q=a%00b", "q"),
            ("userId=a b", "userId"),
            ("userId=", "userId"),
            ("userId=a&user_id=a", "user_id"),
            ("foo=1", "foo"),
            ("page=1&page=2", "page"),
            ("cursor=&page=1", "page"),
            ("cursor=&q=x", "q"),
            ("cursor=&count=false", "count"),
            ("cursor=garbage", "cursor"),
            ("cursor=e30:abc", "cursor"),
        ],
    )
    def test_refuses_a_bad_parameter_and_names_it(self, api, query, field):
        assert error_fields(api.get(f"/api/v1/notes?{query}")) == {field}

    def test_an_out_of_range_message_names_the_bounds(self, api):
        body = problem(api.get("/api/v1/notes?limit=101"), 400)

        assert body["errors"][0]["message"] == "Must be a whole number from 1 to 100."

    def test_is_cached_and_conditional(self, api):
        make_notes(2)

        first, second = (api.get("/api/v1/notes") for _ in range(2))
        third = api.get("/api/v1/notes", headers={"If-None-Match": first["ETag"]})

        assert first["Cache-Status"] == "trilith; fwd=uri-miss; stored"
        assert "hit" in second["Cache-Status"]
        assert first.content == second.content
        assert third.status_code == 304

    def test_the_links_name_the_host_that_was_asked(self, api, settings):
        settings.ALLOWED_HOSTS = ["one.test", "two.test"]
        make_notes(2)

        bodies = [
            api.get("/api/v1/notes?limit=1", headers={"Host": host}).json()
            for host in ("one.test", "two.test")
        ]

        assert [body["next"].split("/")[2] for body in bodies] == ["one.test", "two.test"]

    def test_two_users_never_share_a_page(self, api):
        make_notes(1, user_id="a:page:1:limit:20")
        make_notes(1, user_id="a")

        bodies = [
            api.get("/api/v1/notes", {"userId": user}).json() for user in ("a:page:1:limit:20", "a")
        ]

        assert [body["results"][0]["user_id"] for body in bodies] == ["a:page:1:limit:20", "a"]


class TestCursors:
    @pytest.mark.parametrize(
        "sort", ["created_at:DESC", "created_at:ASC", "title:ASC", "updated_at:DESC"]
    )
    def test_lead_through_the_list_and_back(self, api, sort):
        make_notes(7)
        whole = [n["id"] for n in api.get(f"/api/v1/notes?sort={sort}").json()["results"]]
        there, url, last = [], f"/api/v1/notes?cursor=&limit=3&sort={sort}", None

        while url:
            last = api.get(url).json()
            there.append([note["id"] for note in last["results"]])
            url = last["next"]
        back, url = [], last["previous"]
        while url:
            body = api.get(url).json()
            back.append([note["id"] for note in body["results"]])
            url = body["previous"]

        assert list(itertools.chain(*there)) == whole
        assert back == there[-2::-1]

    def test_a_page_has_no_count(self, api):
        make_notes(1)

        body = api.get("/api/v1/notes?cursor=").json()

        assert list(body) == ["results", "limit", "next", "previous"]
        assert (body["next"], body["previous"]) == (None, None)

    def test_break_ties_by_id(self, api):
        notes = make_notes(6)
        Note.objects.update(created_at=notes[0].created_at)
        ids, url = [], "/api/v1/notes?cursor=&limit=2"

        while url:
            body = api.get(url).json()
            ids += [note["id"] for note in body["results"]]
            url = body["next"]

        assert ids == sorted((str(note.id) for note in notes), reverse=True)

    @pytest.mark.parametrize("sort", ["created_at:DESC", "title:ASC", "updated_at:DESC"])
    @pytest.mark.parametrize("owner", ["", "userId=abc&"])
    def test_a_page_emptied_by_deletes_leads_back_to_what_remains(self, api, sort, owner):
        make_notes(7)
        url = f"/api/v1/notes?{owner}sort={sort}"
        ids = [note["id"] for note in api.get(url).json()["results"]]
        second = api.get(f"{url}&cursor=&limit=3").json()["next"]
        for note_id in ids[3:]:
            api.delete(f"/api/v1/notes/{note_id}")

        empty = api.get(second).json()
        back = api.get(empty["previous"]).json()

        assert (empty["results"], empty["next"]) == ([], None)
        assert [note["id"] for note in back["results"]] == ids[:3]
        assert back["previous"] is None
        assert api.get(back["next"]).json()["results"] == []

    def test_a_page_emptied_before_its_end_leads_on_to_what_remains(self, api):
        make_notes(7)
        ids = [note["id"] for note in api.get("/api/v1/notes").json()["results"]]
        second = api.get(api.get("/api/v1/notes?cursor=&limit=3").json()["next"]).json()
        for note_id in ids[:3]:
            api.delete(f"/api/v1/notes/{note_id}")

        empty = api.get(second["previous"]).json()
        on = api.get(empty["next"]).json()

        assert (empty["results"], empty["previous"]) == ([], None)
        assert [note["id"] for note in on["results"]] == ids[3:6]

    def test_are_not_disturbed_by_new_notes(self, api):
        make_notes(4)
        first = api.get("/api/v1/notes?cursor=&limit=2").json()
        make_note(title="newest")

        second = api.get(first["next"]).json()

        assert [note["title"] for note in second["results"]] == ["plain 1", "plain 0"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda url: re.sub("cursor=.", "cursor=X", url),
            lambda url: url.replace("sort=created_at%3ADESC", "sort=created_at%3AASC"),
            lambda url: url + "&userId=eve",
            lambda url: url.replace("userId=abc&", ""),
        ],
        ids=["altered", "another sort", "given twice", "another filter"],
    )
    def test_refuse_to_serve_another_list(self, api, change):
        make_notes(3)
        url = api.get("/api/v1/notes?userId=abc&cursor=&limit=1").json()["next"]

        assert error_fields(api.get(change(url))) <= {"cursor", "userId"}

    def test_a_user_s_cursor_stays_with_the_user(self, api):
        make_notes(3, user_id="abc")
        make_notes(3, user_id="eve")

        body = api.get(api.get("/api/v1/notes?userId=abc&cursor=&limit=2").json()["next"]).json()

        assert [note["user_id"] for note in body["results"]] == ["abc"]


class TestConventions:
    @pytest.mark.parametrize(
        "path", ["/api/", "/api/v1", "/api/v1/notes/", "/api/v2/notes", "/api/v1/notes/x/y"]
    )
    def test_an_unknown_path_is_a_problem(self, api, path):
        problem(api.get(path), 404)

    def test_a_method_that_is_not_offered_is_a_405_that_says_which_are(self, api):
        response = api.delete("/api/v1/notes")

        problem(response, 405)
        assert "POST" in response["Allow"]

    def test_a_mistake_of_ours_is_a_500_without_its_insides(self, api, monkeypatch):
        monkeypatch.setattr("notes.selectors.note_read", lambda **_: 1 / 0)

        body = problem(api.get(f"/api/v1/notes/{UNKNOWN}"), 500)

        assert "division" not in json.dumps(body)

    def test_the_caller_s_request_id_comes_back(self, api):
        response = api.get("/api/v1/notes", headers={"X-Request-ID": "abc-123"})

        assert response["X-Request-ID"] == "abc-123"

    @pytest.mark.parametrize("bad", ["", "x" * 129, "a b", "a\tb", "é"])
    def test_an_unsafe_request_id_is_replaced(self, api, bad):
        response = api.get("/api/v1/notes", headers={"X-Request-ID": bad})

        assert re.fullmatch("[0-9a-f]{32}", response["X-Request-ID"])

    def test_an_unknown_host_is_a_problem(self, api):
        problem(api.get("/api/v1/notes", headers={"Host": "evil.example"}), 400)

    def test_accept_chooses_nothing(self, api):
        note_id = make_note()

        response = api.get(f"/api/v1/notes/{note_id}", headers={"Accept": "text/html"})

        assert response["Content-Type"] == "application/json"
