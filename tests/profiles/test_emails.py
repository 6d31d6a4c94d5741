"""E-mail addresses: the rule that every entry point applies; and which two are the same."""

import io

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from hypothesis import given
from hypothesis import strategies as st

from profiles import backends, records, seeding, services
from profiles.documents import UserProfile
from profiles.emails import EmailRejected, check_email, email_key
from profiles.models import ProfileRow
from profiles.stores import AlreadyExists
from tests.builders import SEEDED_UNTIL

# RFC 5321, 4.1.2; the lists of RFC 3696, section 3; RFC 6531; the limits of RFC 5321, 4.5.3.1.
VALID = [
    *(
        "a@example.org",
        "a.b+c@example.org",
        "user%x!y@example.org",
        "a@EXAMPLE.org",
        "_@example.org",
    ),
    *(
        "customer/department=shipping@example.com",
        "$A12345@example.com",
        "!def!xyz%abc@example.com",
    ),
    *('"a b"@example.org', '"Abc@def"@example.com', "a@[127.0.0.1]", "a@[IPv6:2001:db8::1]"),
    *("a@bücher.example", "a@xn--bcher-kva.example", "用户@例え.jp", "jörg@example.org"),
    *("erika@example.test", "root@mail.local", "a@example.invalid", "a@x.onion"),
    f"{'a' * 64}@example.org",
    f"{'é' * 32}@example.org",
    f"a@{'b' * 63}.org",
    f"a@{'.'.join(['b' * 61] * 4)}.org",
]
INVALID = [
    *(" a@example.org", "a@example.org ", "\u00a0a@example.org"),
    *("root@localhost", "x", "@", "x@", "@example.org", "a@b@c.org", "a..b@example.org"),
    *(".a@example.org", "a.@example.org", "a@example..org", "a@.example.org", "a@example.org."),
    *("a@-x.org", "a@x-.org", "a@x_y.org", "a@exa mple.org", "a b@example.org", "a@1.2.3.4"),
    *("a@example.123", "a@xn--zz.jp", "a@[1.2.3]", "a@[::1]", '""@example.org', '"a@example.org'),
    *("a\x01@example.org", "a\x7f@example.org", "a\n@example.org", "a@exam\nple.org", "a\t@x.org"),
    *("Joe <a@example.org>", "a(comment)@example.org", "a@example.org,b@example.org"),
    *("a@\u200bexample.org", "\u202ea@example.org", "\U000e0001@example.org", "\ud83d@example.org"),
    *(
        "a@\u212aelvin\u3002",
        "a;b@example.org",
        "a@example.org/x",
        "mailto:a@example.org@",
        "a@[x]",
    ),
    f"{'a' * 65}@example.org",
    f"{'é' * 33}@example.org",
    f"a@{'b' * 64}.org",
    f"aaa@{'.'.join(['b' * 61] * 4)}.org",
    f"a@{'é' * 60}.org",
]
SAME = [
    ("straße@example.org", "STRASSE@example.org"),
    ("a@straße.example", "a@STRASSE.example"),
    ("\u017fam@example.org", "SAM@example.org"),
    ("\u212a@example.org", "k@example.org"),
    ("όσος@example.org", "ΌΣΟΣ@example.org"),
    ("Å@example.org", "a\u030a@example.org"),
    ("ŉ@example.org", "\u02bcN@example.org"),
]
DIFFERENT = [("\u0131@example.org", "i@example.org"), ("é@example.org", "e@example.org")]


class TestCheckEmail:
    @pytest.mark.parametrize("email", VALID, ids=ascii)
    def test_accepts_an_address(self, email):
        check_email(email)

    @pytest.mark.parametrize("email", INVALID, ids=ascii)
    def test_says_what_is_wrong(self, email):
        with pytest.raises(EmailRejected) as caught:
            check_email(email)

        assert str(caught.value)

    @given(st.text() | st.from_regex(r".{0,70}@.{0,70}"))
    def test_raises_nothing_else(self, text):
        try:
            check_email(text)
        except EmailRejected:
            return
        assert len(text.encode()) <= 254
        assert len(email_key(text).encode()) < 2_704  # the longest key of a B-tree


@pytest.mark.usefixtures("backend")
class TestEveryWayIn:
    @pytest.mark.parametrize("email", INVALID, ids=ascii)
    def test_refuses_the_same(self, send, made, email):
        made()
        profile = next(seeding.batches(count=1, seed=1, until=SEEDED_UNTIL))[0]
        bodies = [
            send("POST", "", {"user_id": "eve", "email": email}, user="eve"),
            send("PUT", "/abc", {"email": email, "preferences": {}}),
        ]

        for response in bodies:
            assert response.status_code == 400, response.content
        for call in (
            lambda: services.profile_create(
                user_id="eve", email=email, preferences={}, caller=None
            ),
            lambda: services.profile_replace(
                user_id="abc", email=email, preferences={}, caller=None
            ),
            lambda: services.profiles_load(
                profiles=[records.ProfileRecord("eve", email, {}, profile.metadata, 1)]
            ),
        ):
            with pytest.raises(EmailRejected):
                call()
        assert backends.primary().get("eve") is None
        assert backends.primary().get("abc").email == "abc@example.org"

    @pytest.mark.parametrize("email", VALID, ids=ascii)
    def test_accepts_and_keeps_the_same(self, send, made, email):
        created = made(email=email)
        replaced = send("PUT", "/abc", {"email": email, "preferences": {}})

        assert created["email"] == email
        assert replaced.status_code == 200
        for store in ("mongo", "postgres"):
            assert send("GET", f"/{store}/abc").json()["email"] == email


@pytest.mark.usefixtures("backend")
class TestUniqueness:
    @pytest.mark.parametrize(("email", "other"), SAME, ids=ascii)
    def test_two_that_differ_in_case_alone_are_one(self, send, made, email, other):
        made(email=email)
        made("eve")

        created = send("POST", "", {"user_id": "bob", "email": other}, user="bob")
        replaced = send("PUT", "/eve", {"email": other, "preferences": {}}, user="eve")

        for response in (created, replaced):
            assert response.status_code == 409
            assert [error["field"] for error in response.json()["errors"]] == ["email"]
        assert send("PUT", "/abc", {"email": other, "preferences": {}}).status_code == 200
        assert [
            line.user_id for line in backends.primary().find(text=email, after="", limit=9)
        ] == ["abc"]

    @pytest.mark.parametrize(("email", "other"), DIFFERENT, ids=ascii)
    def test_others_are_two(self, made, email, other):
        made(email=email)
        made("eve", email=other)


class TestEditsPastTheService:
    def test_a_profile_changed_in_mongosh_gets_its_key_by_the_change_stream(self, made):
        made()
        made("eve")
        UserProfile._get_collection().update_one(
            {"user_id": "abc"}, {"$set": {"email": "Straße@example.org"}}
        )

        services.mirror_update(user_id="abc")

        assert UserProfile.objects.get(user_id="abc").email_key == "strasse@example.org"
        assert ProfileRow.objects.get(pk="abc").email_key == "strasse@example.org"
        UserProfile._get_collection().update_one(
            {"user_id": "eve"}, {"$set": {"email": "STRASSE@example.org"}}
        )
        with pytest.raises(AlreadyExists):
            services.mirror_update(user_id="eve")

    def test_a_row_written_in_psql_has_a_key_by_the_trigger(self, made):
        made()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE user_profiles SET email = 'New@Example.org'")
            cursor.execute(
                "INSERT INTO user_profiles SELECT 'eve', 'Eve@Example.org', preferences,"
                " created_at, updated_at, last_login, version FROM user_profiles"
            )
            with pytest.raises(IntegrityError, match="email_key_unique"), transaction.atomic():
                cursor.execute("UPDATE user_profiles SET email = 'NEW@example.org'")

        assert dict(ProfileRow.objects.values_list("pk", "email_key")) == {
            "abc": "new@example.org",
            "eve": "eve@example.org",
        }


class TestProfilesThatShareAnAddress:
    """From before addresses were compared without case: kept, reported, and copied whole."""

    @pytest.fixture(params=["mongo", "postgres"])
    def shared(self, request, settings) -> None:
        settings.PROFILE_BACKEND = request.param
        services.profile_create(user_id="a", email="straße@x.org", preferences={}, caller=None)
        services.profile_create(user_id="b", email="b@x.org", preferences={}, caller=None)
        UserProfile.objects(user_id="b").update(email="STRASSE@x.org", unset__email_key=1)
        with connection.cursor() as cursor:
            cursor.execute("SET trilith.copies_profile = 'on'")
            ProfileRow.objects.filter(pk="b").update(email="STRASSE@x.org", email_key=None)
            cursor.execute("RESET trilith.copies_profile")

    @pytest.mark.usefixtures("shared")
    def test_both_are_served_changed_and_copied(self, send):
        assert send("PATCH", "/b/preferences", {"x": 1}, user="b").status_code == 200
        call_command("copy_profiles", stdout=io.StringIO())
        mongo, postgres = (send("GET", f"/{store}/b") for store in ("mongo", "postgres"))

        assert mongo.content == postgres.content
        assert mongo.json()["preferences"]["x"] == 1
        assert mongo.json()["email"] == "STRASSE@x.org"

    @pytest.mark.usefixtures("shared")
    def test_one_of_them_takes_another_address(self, send):
        body = {"email": "STRASSE@x.org", "preferences": {}}
        assert send("PUT", "/b", body, user="b").status_code == 409

        assert send("PUT", "/b", body | {"email": "b@x.org"}, user="b").status_code == 200
        assert UserProfile.objects.get(user_id="b").email_key == "b@x.org"
        assert ProfileRow.objects.get(pk="b").email_key == "b@x.org"


class TestMigration:
    def test_gives_each_row_its_key_and_names_those_whose_address_is_taken(self, capsys):
        now = records.now()
        try:
            call_command("migrate", "profiles", "0002", verbosity=0, stdout=io.StringIO())
            old = MigrationExecutor(connection).loader.project_state(
                ("profiles", "0002_profiles_name")
            )
            rows = old.apps.get_model("profiles", "ProfileRow").objects
            for user_id, email in [("b", "STRASSE@x.org"), ("a", "straße@x.org"), ("c", "C@x.org")]:
                rows.create(
                    user_id=user_id, email=email, preferences={}, created_at=now, updated_at=now
                )
        finally:
            call_command("migrate", "profiles", verbosity=0)

        assert dict(ProfileRow.objects.values_list("pk", "email_key")) == {
            "a": "strasse@x.org",
            "b": None,
            "c": "c@x.org",
        }
        assert "b has the e-mail address of a" in capsys.readouterr().out
