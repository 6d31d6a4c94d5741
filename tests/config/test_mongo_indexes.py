"""manage.py mongo_indexes on a real MongoDB."""

import io

import pytest
from django.core.management import CommandError, call_command
from mongoengine.connection import get_db

from activity.documents import ActivityEvent
from config.mongodb import client as mongodb_client
from config.stack.process import wait_until
from profiles.documents import UserProfile


def run(**options) -> str:
    out = io.StringIO()
    call_command("mongo_indexes", stdout=out, **options)
    return out.getvalue()


def _drop() -> None:
    for name in ("user_profiles", "activity_logs"):
        get_db().drop_collection(name)


@pytest.fixture(autouse=True)
def _dropped():
    """Before and after each test, so that none sees the indexes of another."""
    _drop()
    yield
    _drop()


class TestMongoIndexes:
    def test_ensure_makes_what_the_documents_declare(self):
        run(ensure=True)

        profiles = UserProfile._get_collection().index_information()
        events = ActivityEvent._get_collection().index_information()
        assert profiles["user_id_unique"]["unique"]
        assert profiles["email_key_unique"]["unique"]
        assert events["user_id_timestamp"]["key"] == [("user_id", 1), ("timestamp", -1)]
        assert events["action_timestamp"]["key"] == [("action", 1), ("timestamp", -1)]
        assert events["timestamp"]["expireAfterSeconds"] == 90 * 86_400
        assert "as declared" in run(diff=True)

    def test_ensure_adds_the_key_to_older_profiles_and_reports_duplicate_addresses(self):
        collection = UserProfile._get_collection()
        collection.create_index("email", name="email_unique", unique=True)  # of a version before
        addresses = {
            "a": "a@straße.example",
            "b": "A@STRASSE.example",
            "c": "c@example.org",
            "d": "Å@example.org",
            "e": "a\u030a@example.org",
        }
        collection.insert_many({"user_id": key, "email": email} for key, email in addresses.items())
        warnings = io.StringIO()

        for _ in range(2):
            call_command("mongo_indexes", ensure=True, stdout=io.StringIO(), stderr=warnings)

        assert collection.count_documents({}) == len(addresses)
        keyed = {row["user_id"]: row.get("email_key") for row in collection.find()}
        assert {user for user, key in keyed.items() if key is None} == {"b", "e"}
        assert (keyed["a"], keyed["c"]) == ("a@strasse.example", "c@example.org")
        for user in ("b", "e"):
            assert warnings.getvalue().count(f"{user} has the e-mail address of another") == 2
        assert "email_unique" not in collection.index_information()
        assert "as declared" in run(diff=True)

    def test_ensure_is_safe_to_repeat(self):
        assert run(ensure=True) == run(ensure=True)

    @pytest.mark.parametrize("options", [{"expireAfterSeconds": 86_400}, {}], ids=str)
    def test_ensure_changes_the_retention_time_in_place(self, options):
        events = ActivityEvent._get_collection()
        events.create_index([("timestamp", -1)], name="timestamp", **options)

        run(ensure=True)

        assert events.index_information()["timestamp"]["expireAfterSeconds"] == 90 * 86_400
        assert "as declared" in run(diff=True)

    @pytest.mark.parametrize(
        ("key", "options", "named"),
        [
            ([("timestamp", 1)], {"expireAfterSeconds": 1}, "expireAfterSeconds, key"),
            (
                [("timestamp", -1)],
                {"expireAfterSeconds": 1, "sparse": True},
                "expireAfterSeconds, sparse",
            ),
            ([("timestamp", -1)], {"expireAfterSeconds": 90 * 86_400, "unique": True}, "unique"),
        ],
        ids=str,
    )
    def test_ensure_refuses_what_would_be_built_anew_and_changes_nothing(self, key, options, named):
        events = ActivityEvent._get_collection()
        events.create_index(key, name="timestamp", **options)
        before = events.index_information()

        with pytest.raises(CommandError) as refused:
            run(ensure=True)

        assert str(refused.value) == (
            f"activity_logs: the index timestamp has another {named}; drop it first"
        )
        assert "\n" not in str(refused.value)
        assert events.index_information() == before

    def test_ensure_leaves_a_hidden_index_hidden(self):
        run(ensure=True)
        index = {"name": "timestamp", "hidden": True}
        get_db().command("collMod", "activity_logs", index=index)

        run(ensure=True)

        assert ActivityEvent._get_collection().index_information()["timestamp"]["hidden"]

    def test_diff_names_an_option_that_differs(self):
        run(ensure=True)
        index = {"name": "timestamp", "expireAfterSeconds": 86_400}
        get_db().command("collMod", "activity_logs", index=index)
        out = io.StringIO()

        with pytest.raises(CommandError, match="1 indexes differ"):
            call_command("mongo_indexes", diff=True, stdout=out)

        assert out.getvalue() == (
            "activity_logs: timestamp has expireAfterSeconds 86400, declared is 7776000\n"
        )

    def test_diff_names_what_is_missing_and_what_is_not_declared(self):
        run(ensure=True)
        ActivityEvent._get_collection().drop_index("timestamp")
        ActivityEvent._get_collection().create_index("resource", name="extra")
        out = io.StringIO()

        with pytest.raises(CommandError, match="2 indexes differ"):
            call_command("mongo_indexes", diff=True, stdout=out)

        assert "activity_logs: missing timestamp" in out.getvalue()
        assert "activity_logs: not declared extra" in out.getvalue()

    def test_drop_leaves_id_alone(self):
        run(ensure=True)

        run(drop=True)

        assert list(UserProfile._get_collection().index_information()) == ["_id_"]

    def test_a_mongodb_that_is_down_is_one_line(self, stack):
        stack.kill("mongodb")
        try:
            with pytest.raises(CommandError, match="MongoDB: "):
                run(ensure=True)
        finally:
            stack.start("mongodb")
            assert wait_until(lambda: not mongodb_client.breaker.is_open, 30)
