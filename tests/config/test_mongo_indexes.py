"""manage.py mongo_indexes on a real MongoDB."""

import io

import pytest
from django.core.management import CommandError, call_command
from mongoengine.connection import get_db

from activity.documents import ActivityEvent
from config import mongodb
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
    """Before each test, and after it: what it made is none of another's."""
    _drop()
    yield
    _drop()


class TestMongoIndexes:
    def test_ensure_makes_what_the_documents_declare(self):
        run(ensure=True)

        profiles = UserProfile._get_collection().index_information()
        events = ActivityEvent._get_collection().index_information()
        assert profiles["user_id_unique"]["unique"]
        assert profiles["email_unique"]["collation"]["strength"] == 2
        assert events["user_id_timestamp"]["key"] == [("user_id", 1), ("timestamp", -1)]
        assert events["action_timestamp"]["key"] == [("action", 1), ("timestamp", -1)]
        assert events["timestamp"]["expireAfterSeconds"] == 90 * 86_400
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
            assert wait_until(lambda: not mongodb.breaker.is_open, 30)
