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
