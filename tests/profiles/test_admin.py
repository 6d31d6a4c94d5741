"""The Profiles page of the admin: search, pages, a single profile, and permissions."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from cachelayer import client as redis_connection
from config.explain.assertions import assert_plan
from profiles import backends, mongodb, records, seeding, selectors, services
from profiles.admin import PROFILES_A_PAGE
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from tests.builders import SEEDED_UNTIL
from tests.cachelayer.test_read import expire

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/profiles/profilerow/"
IDS = ["ab", "abc", "abc-1", "abc-2", "abd", "b", "z@example.org"]


def profile(user_id: str, **changes: object) -> records.ProfileRecord:
    now = records.now()
    values = {"email": f"{user_id.replace('@', '.')}@mail.example", "preferences": {}} | changes
    return records.ProfileRecord(
        user_id=user_id, metadata=records.Metadata(now, now), version=1, **values
    )


def load(*profiles: records.ProfileRecord) -> None:
    assert services.profiles_load(profiles=profiles) == len(profiles)


def shown(response) -> list[str]:
    assert response.status_code == 200
    return [line.user_id for line in response.context["lines"]]


def link(response, rel: str) -> str | None:
    match = re.search(rf'<a rel="{rel}" href="([^"]+)"', response.content.decode())
    return match and PAGE + match.group(1).replace("&amp;", "&")


class TestFind:
    """The store's own part of the search, the same on both."""

    pytestmark = pytest.mark.usefixtures("backend")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", IDS),
            ("abc", ["abc", "abc-1", "abc-2"]),
            ("ab", ["ab", "abc", "abc-1", "abc-2", "abd"]),
            ("ABC", []),
            ("b@MAIL.example", ["b"]),
            ("z@example.org", ["abd", "z@example.org"]),  # an address of one, the id of another
            ("z@", ["z@example.org"]),
            ("a_c", []),
            ("a%", []),
            ("nobody@mail.example", []),
        ],
    )
    def test_finds_by_beginning_of_the_id_or_by_address(self, text, expected):
        load(*(profile(user_id) for user_id in IDS if user_id != "abd"))
        load(profile("abd", email="Z@Example.org"))

        lines = backends.primary().find(text=text, after="", limit=100)

        assert [line.user_id for line in lines] == expected
        for limit in (1, 2):  # in parts, the same
            parts, after = [], ""
            while part := backends.primary().find(text=text, after=after, limit=limit):
                assert len(part) <= limit
                parts += [line.user_id for line in part]
                after = parts[-1]
            assert parts == expected

    def test_tells_theme_and_language_with_their_defaults(self):
        load(profile("a"), profile("b", preferences={"theme": "dark", "language": "de", "x": 1}))

        lines = backends.primary().find(text="", after="", limit=9)

        assert [(line.theme, line.language) for line in lines] == [
            ("system", "en"),
            ("dark", "de"),
        ]
        assert lines[0].updated_at == backends.primary().get("a").metadata.updated_at


class TestPlans:
    @pytest.fixture(autouse=True)
    def _many(self) -> None:
        for batch in seeding.batches(count=2_000, seed=1, until=SEEDED_UNTIL):
            services.profiles_load(profiles=batch)

    @pytest.mark.parametrize("text", ["", "user-01", "z"])
    @pytest.mark.parametrize("after", ["", "user-0105"])
    def test_a_beginning_is_a_range_of_the_index(self, text, after):
        checked = assert_plan(mongodb.by_beginning(text, after=after, limit=51))

        checked.uses_only("user_id_unique").no_seq_scan().no_sort()
        checked.rows_fetched_at_most(51).rows_examined_at_most(52)

    def test_an_address_is_found_by_its_index(self):
        cursor = mongodb.by_email("USER-0105@example.org")

        assert [row["user_id"] for row in cursor.clone()] == ["user-0105"]
        assert_plan(cursor).uses_only("email_key_unique").no_seq_scan().rows_fetched_at_most(1)

    def test_a_list_reads_no_more_of_a_profile_than_it_shows(self):
        [line] = mongodb.by_beginning("user-0001", after="", limit=1)

        assert set(line["preferences"]) <= {"theme", "language"}


class TestList:
    @pytest.mark.usefixtures("backend")
    def test_pages_show_every_profile_once(self, superuser_client):
        count = 2 * PROFILES_A_PAGE + 1
        load(*(profile(f"user-{number:03}") for number in range(count)), profile("other"))
        ids, url = [], f"{PAGE}?q=user-"
        while url:
            response = superuser_client.get(url)
            ids += shown(response)
            url = link(response, "next")

        assert ids == [f"user-{number:03}" for number in range(count)]
        assert shown(superuser_client.get(link(response, "first"))) == ids[:PROFILES_A_PAGE]

    def test_a_full_page_alone_has_no_next(self, superuser_client):
        load(*(profile(f"user-{number:03}") for number in range(PROFILES_A_PAGE)))

        response = superuser_client.get(PAGE)

        assert len(shown(response)) == PROFILES_A_PAGE
        assert link(response, "next") is None

    def test_reads_from_the_store_that_serves(self, superuser_client, settings):
        load(profile("abc"))
        ProfileRow.objects.update(email="copy@example.org")

        assert "abc@mail.example" in superuser_client.get(PAGE).content.decode()
        settings.PROFILE_BACKEND = "postgres"
        page = superuser_client.get(PAGE).content.decode()
        assert "copy@example.org" in page
        assert "From PostgreSQL" in page

    def test_says_so_where_there_is_nothing(self, superuser_client):
        assert "There is no profile." in superuser_client.get(PAGE).content.decode()
        assert (
            "No user id begins with this text"
            in superuser_client.get(PAGE, {"q": "abc"}).content.decode()
        )

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("q", "{$gt: 1}", "q: Must be the beginning of a user id"),
            ("q", "a\0b@x", "q: Null characters are not allowed."),
            ("q", "@" * 255, "q: Ensure this value has at most 254 characters"),
            ("after", "x" * 129, "after: Ensure this value has at most 128 characters"),
            ("user_id", "\0", "user_id: Null characters are not allowed."),
        ],
    )
    @pytest.mark.usefixtures("backend")
    def test_names_what_is_wrong(self, superuser_client, name, value, message):
        response = superuser_client.get(PAGE, {name: value})

        assert response.status_code == 200
        assert message in response.content.decode()

    @pytest.mark.parametrize("name", ["q", "after", "user_id"])
    @pytest.mark.parametrize("evil", ["$where", "[$ne]", '{"$gt": ""}', "a@$gt", "\ud83d@", "%00"])
    def test_an_operator_is_text(self, superuser_client, name, evil):
        load(profile("abc"))

        for query in ({name: evil.encode(errors="replace")}, {f"{name}[$ne]": "x"}):
            assert superuser_client.get(PAGE, query).status_code == 200
        assert superuser_client.get(PAGE, {"q": "abc", "user_id[$ne]": "x"}).context["lines"]

    def test_what_a_profile_says_is_text(self, superuser_client):
        load(profile("abc"))
        UserProfile._get_collection().update_one(
            {}, {"$set": {"email": "<script>x</script>", "preferences.theme": {"a": "<b>"}}}
        )

        for query in ({}, {"user_id": "abc"}, {"q": "<script>@"}):
            page = superuser_client.get(PAGE, query).content.decode()
            assert "<script>x" not in page
            assert "<script>@" not in page
            assert "<b>" not in page

    def test_says_that_mongodb_does_not_answer(self, superuser_client, mongodb_restored):
        load(profile("abc"))
        mongodb_restored.kill("mongodb")

        response = superuser_client.get(PAGE)

        assert response.status_code == 200
        assert "profiles: MongoDB does not answer." in response.content.decode()
        assert "lines" not in response.context


class TestOne:
    def test_shows_the_json_as_sent_its_copy_and_whether_it_is_cached(
        self, superuser_client, made, send
    ):
        made(preferences={"theme": "dark"})

        page = superuser_client.get(PAGE, {"user_id": "abc"}).content.decode()
        assert "&quot;theme&quot;: &quot;dark&quot;" in page
        assert "the copy: equal" in page
        assert "not cached (absent)" in page

        sent = send("GET", "/abc")
        page = superuser_client.get(PAGE, {"user_id": "abc"}).content.decode()
        assert sent["ETag"].strip('"') in page
        assert re.search(r"cached, \d+ s left: equal", page)

    @pytest.mark.usefixtures("backend")
    def test_says_where_the_copy_or_what_is_cached_is_another(self, superuser_client, made, send):
        made()
        send("GET", "/abc")
        ProfileRow.objects.update(email="copy@example.org")

        page = superuser_client.get(PAGE, {"user_id": "abc"}).content.decode()

        assert "the copy: not equal" in page

    def test_says_that_a_cached_copy_is_stale(self, superuser_client, made, send):
        made()
        send("GET", "/abc")
        UserProfile._get_collection().update_one({}, {"$set": {"email": "new@example.org"}})

        page = superuser_client.get(PAGE, {"user_id": "abc"}).content.decode()

        assert re.search(r'cached, \d+ s left: <span class="bad">not equal', page)

    def test_an_expired_copy_is_not_shown_as_cached(self, superuser_client, made, send):
        made()
        send("GET", "/abc")
        expire(selectors.cache_keys.profile("abc"))

        assert (
            "not cached (expired)"
            in superuser_client.get(PAGE, {"user_id": "abc"}).content.decode()
        )

    def test_a_copy_without_its_profile_is_shown(self, superuser_client, made):
        made()
        UserProfile._get_collection().delete_many({})

        page = superuser_client.get(PAGE, {"user_id": "abc"}).content.decode()

        assert "There is no profile of abc." in page
        assert "the copy: not equal" in page
        assert "abc@example.org" in page

    def test_who_is_nobody_is_told(self, superuser_client):
        page = superuser_client.get(PAGE, {"user_id": "nobody"}).content.decode()

        assert "There is no profile of nobody." in page
        assert "There is no copy." in page

    def test_shows_the_copy_where_mongodb_does_not_answer(
        self, superuser_client, made, mongodb_restored
    ):
        made()
        mongodb_restored.kill("mongodb")

        response = superuser_client.get(PAGE, {"user_id": "abc"})

        page = response.content.decode()
        assert response.status_code == 200
        assert "MongoDB does not answer." in page
        assert "abc@example.org" in page
        assert "<p>the copy</p>" in page  # nobody knows whether it is equal

    def test_answers_without_redis(self, superuser_client, made, stack):
        made()
        stack.kill("redis")
        try:
            page = superuser_client.get(PAGE, {"user_id": "abc"}).content.decode()
        finally:
            stack.start("redis")
            redis_connection.breaker.reset()

        assert "Redis does not answer." in page
        assert "the copy: equal" in page


class TestAccess:
    @pytest.mark.parametrize("user", [None, {}], ids=["nobody", "no staff"])
    def test_who_is_no_staff_is_sent_to_the_login(self, user):
        browser = Client()
        if user is not None:
            browser.force_login(User.objects.create_user("bob"))

        response = browser.get(PAGE)

        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]

    def test_staff_wants_the_permission_to_view(self):
        bob = User.objects.create_user("bob", is_staff=True)
        browser = Client()
        browser.force_login(bob)
        assert browser.get(PAGE).status_code == 403
        assert PAGE not in browser.get("/admin/").content.decode()

        bob.user_permissions.add(Permission.objects.get(codename="view_profilerow"))

        assert browser.get(PAGE).status_code == 200
        assert PAGE in browser.get("/admin/").content.decode()

    @pytest.mark.parametrize("path", ["add/", "abc/change/", "abc/delete/", "abc/history/"])
    def test_nothing_can_be_changed(self, superuser_client, made, path):
        made()

        assert superuser_client.get(PAGE + path).status_code == 404
        assert superuser_client.post(PAGE + path).status_code == 404
