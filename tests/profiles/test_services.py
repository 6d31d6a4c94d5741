"""Profiles past HTTP: the mirror, older shapes, crashes, injection, seeding, and MongoDB's absence."""

import json
import random
import threading
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from cachelayer import outbox, protocol
from cachelayer.models import OutboxRow
from config.mongodb import client
from profiles import cache_keys, documents, seeding, selectors, services
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from profiles.mongodb import MongoProfiles, merge_expression
from profiles.preferences import merged
from tests.builders import SEEDED_UNTIL
from tests.cachelayer.test_read import expire

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _mongodb_serves(settings) -> None:
    settings.PROFILE_BACKEND = "mongo"


OLD = {
    "user_id": "abc",
    "email": "abc@example.org",
    "created_at": datetime(2020, 1, 2, tzinfo=UTC),
    "updated_at": datetime(2020, 1, 3, tzinfo=UTC),
    "shoe_size": 43,
}


def command(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=StringIO())
    return out.getvalue()


class TestShapes:
    def test_an_older_document_with_unknown_and_missing_fields_loads(self, send):
        UserProfile._get_collection().insert_one(dict(OLD))

        body = send("GET", "/abc").json()

        assert body["metadata"] == {
            "created_at": "2020-01-02T00:00:00Z",
            "updated_at": "2020-01-03T00:00:00Z",
            "last_login": None,
        }
        assert (body["version"], body["preferences"]["theme"]) == (1, "system")
        assert "shoe_size" not in body
        assert UserProfile.objects.get(user_id="abc").email == "abc@example.org"

    def test_an_older_document_can_be_written(self, send):
        UserProfile._get_collection().insert_one(dict(OLD))

        body = send("PATCH", "/abc/preferences", {"theme": "dark"}).json()

        assert (body["version"], body["preferences"]["theme"]) == (2, "dark")
        assert body["metadata"]["created_at"] == "2020-01-02T00:00:00Z"

    def test_types_that_json_has_not_are_told_as_text(self, send, made):
        made()
        identity = UserProfile._get_collection().find_one()["_id"]
        UserProfile._get_collection().update_one({}, {"$set": {"preferences.a": identity}})

        assert send("GET", "/abc").json()["preferences"]["a"] == str(identity)

    def test_reshaping_writes_them_back_once_and_changes_no_answer(self, send):
        UserProfile._get_collection().insert_one(dict(OLD))
        before = send("GET", "/abc").content

        assert command("reshape_profiles") == "1 profiles rewritten.\n"

        stored = UserProfile._get_collection().find_one()
        assert stored["schema_version"] == documents.SCHEMA_VERSION
        assert stored["metadata"]["created_at"] == OLD["created_at"]
        assert stored["shoe_size"] == 43
        assert send("GET", "/abc?cache=false").content == before
        assert command("reshape_profiles") == "0 profiles rewritten.\n"


class TestMergeExpression:
    def test_agrees_with_the_rfc_on_random_documents(self):
        """The server's merge against the merge in Python, which the other store uses."""
        chance = random.Random(1)
        collection = UserProfile._get_collection()

        def value(levels: int):
            kinds = [1, "x", "$x", None, True, [1, {"a": 2}], 1.5]
            if levels and chance.random() < 0.6:
                return {key: value(levels - 1) for key in chance.sample("abcd", 2)}
            return chance.choice(kinds)

        for _ in range(150):
            target = {key: value(3) for key in "abc"}
            patch = {key: value(3) for key in chance.sample("abcd", 3)}
            collection.delete_many({})
            collection.insert_one({"user_id": "x", "email": "x", "p": target})

            collection.update_one({}, [{"$set": {"p": merge_expression("$p", patch)}}])

            assert collection.find_one()["p"] == merged(target, patch), (target, patch)


CORPUS = [
    "$where",
    "$gt",
    "a.b",
    "a\0b",
    '{"$gt": ""}',
    {"$gt": ""},
    {"$where": "sleep(1000)"},
    [{"$ne": None}],
    "\ud800",
    "x" * 1_000_000,
    {"a": {"b": {"c": {"d": {"e": {"f": {}}}}}}},
    True,
    1e308,
    2**64,
    None,
]


class TestInjection:
    @pytest.mark.parametrize("evil", CORPUS, ids=range(len(CORPUS)))
    @pytest.mark.usefixtures("backend")
    def test_nothing_reaches_a_store_as_an_operator(self, send, made, evil):
        """Each field with each value: refused, or kept as the data that it is."""
        made()
        everything = {"user_id": "abc", "email": "abc@example.org", "preferences": {}}
        answers = [
            *(send("POST", "", everything | {field: evil}) for field in everything),
            send("PUT", "/abc", {"email": evil, "preferences": {}}),
            send("PUT", "/abc", {"email": "abc@example.org", "preferences": evil}),
            send("PATCH", "/abc/preferences", evil),
            send("PATCH", "/abc/preferences", {"theme": evil}),
            send("PATCH", "/abc/preferences", {"free": evil}),
        ]
        if isinstance(evil, str) and evil.isascii() and "\0" not in evil and len(evil) < 99:
            answers += [
                send("POST", "", everything | {"preferences": {evil: 1}}),
                send("PATCH", "/abc/preferences", {evil: 1}),
                send("GET", f"/{evil}"),
                send("GET", f"/mongo/{evil}"),
                send("GET", f"/abc?{evil}=1"),
            ]

        assert {answer.status_code for answer in answers} <= {200, 400, 403, 404, 409}
        kept = send("GET", "/abc").json()
        if "free" in kept["preferences"]:
            assert kept["preferences"]["free"] == evil
        allowed = {"theme", "language", "notifications", "free"}
        if isinstance(evil, str) and not evil.startswith("$") and "." not in evil:
            allowed.add(evil)  # a harmless key, kept as given
        assert set(kept["preferences"]) <= allowed


class TestCrash:
    def test_between_write_and_unlink_leaves_what_the_relay_ends(self, send, made, monkeypatch):
        made()
        send("GET", "/abc")
        with monkeypatch.context() as patch:
            patch.setattr("cachelayer.invalidation._Delivery.__call__", lambda self: None)
            send("PATCH", "/abc/preferences", {"theme": "dark"})
        assert send("GET", "/abc").json()["version"] == 1  # the window
        OutboxRow.objects.update(due_at=datetime(2020, 1, 1, tzinfo=UTC))

        assert outbox.deliver() == 1

        assert send("GET", "/abc").json()["version"] == 2


class TestMirror:
    def test_copying_makes_good_what_was_missed(self, made):
        made()
        made("xyz")
        ProfileRow.objects.filter(pk="abc").delete()
        ProfileRow.objects.filter(pk="xyz").update(email="old@example.org")
        ProfileRow.objects.create(
            user_id="gone",
            email="xyz@example.org",  # in the way of the copy until it is deleted
            preferences={},
            created_at=OLD["created_at"],
            updated_at=OLD["created_at"],
        )

        assert command("copy_profiles") == "2 profiles copied from mongo to the other store.\n"

        rows = ProfileRow.objects.order_by("pk").values_list("user_id", "email")
        assert list(rows) == [("abc", "abc@example.org"), ("xyz", "xyz@example.org")]

    def test_a_copy_that_fails_does_not_fail_the_write(
        self, made, send, settings, mongodb_restored
    ):
        settings.PROFILE_BACKEND = "postgres"
        mongodb_restored.kill("mongodb")

        made()

        assert send("GET", "/abc").status_code == 200

    def test_copying_to_a_store_that_is_away_says_so(self, made, mongodb_restored):
        made()
        mongodb_restored.kill("mongodb")

        with pytest.raises(CommandError, match="after 0"):
            command("copy_profiles")


class TestSeedProfiles:
    def test_another_day_moves_all_times_and_none_is_later(self):
        day = timedelta(days=1)
        (these,) = seeding.batches(count=500, seed=1, until=SEEDED_UNTIL)
        (later,) = seeding.batches(count=500, seed=1, until=SEEDED_UNTIL + day)

        for profile, moved in zip(these, later, strict=True):
            assert profile.metadata.created_at <= profile.metadata.updated_at
            assert profile.metadata.updated_at < datetime(2026, 1, 1, tzinfo=UTC)
            assert moved.metadata.updated_at - profile.metadata.updated_at == day
            assert moved.preferences == profile.preferences

    def test_is_the_same_in_every_run_and_adds_only_what_is_missing(self, settings):
        first = [
            profile
            for batch in seeding.batches(count=30, seed=1, until=SEEDED_UNTIL)
            for profile in batch
        ]

        assert "30 of them new" in command("seed_profiles", "--count=30", f"--until={SEEDED_UNTIL}")
        assert " 0 of them new" in command("seed_profiles", "--count=30")
        assert "already" in command("seed_profiles", "--if-empty")

        assert MongoProfiles().get_many([profile.user_id for profile in first]) == {
            profile.user_id: profile for profile in first
        }
        assert ProfileRow.objects.count() == 30

    def test_bad_counts_are_named(self):
        with pytest.raises(CommandError, match="--count 0"):
            command("seed_profiles", "--count=0")


class TestMongodbAway:
    def test_what_is_cached_is_served_and_the_rest_is_a_503(self, made, send, mongodb_restored):
        made()
        made("xyz")
        send("GET", "/abc")
        mongodb_restored.kill("mongodb")

        assert send("GET", "/abc")["Cache-Status"].startswith("trilith; hit; ttl=")
        for response in (
            send("GET", "/xyz", user="xyz"),
            send("GET", "/mongo/abc"),
            send("PUT", "/abc", {"email": "a@b.org", "preferences": {}}),
            send("PATCH", "/abc/preferences", {"a": 1}),
            send("DELETE", "/abc"),
            send("POST", "", {"user_id": "new", "email": "new@example.org"}, user="new"),
        ):
            assert response.status_code == 503
            assert response.json()["store"] == "mongodb"
            assert int(response["Retry-After"]) >= 1

    def test_past_its_time_a_copy_is_served_and_marked_stale(self, made, send, mongodb_restored):
        made()
        send("GET", "/abc")
        expire(cache_keys.profile("abc"))
        mongodb_restored.kill("mongodb")

        response = send("GET", "/abc")

        assert response.status_code == 200
        assert response["Cache-Status"].endswith("detail=stale")

    def test_what_a_write_has_invalidated_is_not_served(self, made, send, mongodb_restored):
        made()
        send("GET", "/abc")
        protocol.unlink(cache_keys.tags_of_profile("abc"))
        mongodb_restored.kill("mongodb")

        assert send("GET", "/abc").status_code == 503


class TestCosts:
    """Counts of commands, which do not depend on the machine."""

    @pytest.fixture
    def commands(self, monkeypatch):
        """The commands of this thread, but for those that a new connection begins with."""
        here = threading.get_ident()
        names: list[str] = []
        count = client.Commands._count

        def counting(self, event):
            if threading.get_ident() == here and not event.command_name.startswith("sasl"):
                names.append(event.command_name)
            count(self, event)

        monkeypatch.setattr(client.Commands, "_count", counting)
        return names

    def test_a_hit_asks_mongodb_nothing(self, made, send, commands):
        made()
        send("GET", "/abc")
        commands.clear()

        send("GET", "/abc")

        assert commands == []

    def test_a_patch_is_one_command(self, made, send, commands):
        made()
        commands.clear()

        send("PATCH", "/abc/preferences", {"theme": "dark"})

        assert commands == ["findAndModify"]

    @pytest.mark.parametrize("number", [1, 20])
    def test_many_profiles_are_one_command(self, commands, number):
        services.profiles_load(
            profiles=next(seeding.batches(count=number, seed=1, until=SEEDED_UNTIL))
        )
        commands.clear()

        selectors.load_profiles([f"user-{n:02}" for n in range(number)])

        assert commands == ["find"]


def test_the_corpus_is_what_a_client_can_send():
    assert all(json.dumps(evil) for evil in CORPUS)
