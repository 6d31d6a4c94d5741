"""manage.py seed_activity on a real MongoDB."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pymongo.errors import AutoReconnect, BulkWriteError

from activity import services
from activity.documents import ActivityEvent
from tests.builders import make_event

UNTIL = datetime.now(UTC).date() - timedelta(days=1)
COUNT = 5_000  # three batches


def seed(**options: Any) -> str:
    out = io.StringIO()
    numbers = {"count": COUNT, "users": 20, "until": UNTIL}
    call_command("seed_activity", stdout=out, stderr=out, **(numbers | options))
    return out.getvalue()


def stored() -> list[dict[str, Any]]:
    return list(ActivityEvent._get_collection().find().sort("_id"))


class TestSeedActivity:
    def test_stores_as_many_as_asked_and_says_so(self):
        output = seed(count=300)

        assert len(stored()) == 300
        assert output.startswith(f"300 events until {UNTIL} are stored, 300 of them new")

    def test_ends_today_unless_told_otherwise(self):
        seed(count=300, until=None)

        newest = stored()[-1]["timestamp"]
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        assert today - timedelta(days=2) <= newest < today + timedelta(days=1)

    def test_run_again_it_changes_nothing(self):
        seed()
        before = stored()

        output = seed()

        assert "0 of them new" in output
        assert stored() == before

    def test_run_again_it_adds_only_what_is_missing(self):
        seed()
        whole = stored()
        gone = [event["_id"] for event in whole[::3]]
        ActivityEvent._get_collection().delete_many({"_id": {"$in": gone}})

        output = seed()

        assert f"{len(gone)} of them new" in output
        assert stored() == whole

    def test_interrupted_and_run_again_it_ends_with_the_same_events(self, monkeypatch):
        seed()
        whole = stored()
        ActivityEvent._get_collection().delete_many({})
        self.fail_at_the_second_batch(monkeypatch, KeyboardInterrupt())

        with pytest.raises(SystemExit) as stopped:
            seed()

        assert stopped.value.code == 130
        assert 0 < len(stored()) < COUNT
        monkeypatch.undo()
        seed()
        assert stored() == whole

    def test_a_lost_connection_is_one_line(self, monkeypatch):
        self.fail_at_the_second_batch(monkeypatch, AutoReconnect("gone"))

        with pytest.raises(
            CommandError, match=r"MongoDB failed \(gone\).*Run it again to continue"
        ):
            seed()

    def fail_at_the_second_batch(self, monkeypatch, exc: BaseException) -> None:
        load, calls = services.events_load, []

        def failing(*, events):
            calls.append(1)
            if len(calls) == 2:
                raise exc
            return load(events=events)

        monkeypatch.setattr(services, "events_load", failing)

    def test_reset_deletes_all_and_makes_the_indexes_again(self):
        make_event()

        output = seed(count=300, reset=True, no_input=True)

        assert "1 events deleted." in output
        assert len(stored()) == 300
        assert "timestamp" in ActivityEvent._get_collection().index_information()

    def test_reset_asks_on_a_terminal(self, monkeypatch):
        make_event()
        monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
        monkeypatch.setattr("builtins.input", lambda question: "no")

        with pytest.raises(CommandError, match="Nothing was deleted"):
            seed(reset=True)

        assert len(stored()) == 1

    def test_if_empty_adds_nothing_to_what_is_there(self):
        make_event()

        output = seed(if_empty=True)

        assert "nothing was added" in output
        assert len(stored()) == 1

    def test_makes_the_indexes_that_are_missing(self):
        ActivityEvent._get_collection().drop_indexes()

        seed(count=1)

        assert "user_id_timestamp" in ActivityEvent._get_collection().index_information()

    def test_changes_the_retention_time_of_an_index(self):
        collection = ActivityEvent._get_collection()
        collection.drop_index("timestamp")
        collection.create_index([("timestamp", -1)], name="timestamp", expireAfterSeconds=86_400)

        seed(count=1)

        assert collection.index_information()["timestamp"]["expireAfterSeconds"] == 90 * 86_400

    def test_an_index_that_differs_otherwise_is_one_line(self):
        collection = ActivityEvent._get_collection()
        collection.drop_index("timestamp")
        collection.create_index([("timestamp", 1)], name="timestamp")
        try:
            with pytest.raises(CommandError, match="the index timestamp has another"):
                seed(count=1)
        finally:
            collection.drop_index("timestamp")

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            *(("count", value) for value in (0, -1, 100_000_001)),
            *(("days", value) for value in (0, 91)),
            *(("users", value) for value in (0, 1_000_001)),
        ],
    )
    def test_refuses_what_is_out_of_range(self, option, value):
        with pytest.raises(CommandError, match=f"--{option} {value}: must be from 1 to"):
            seed(**{option: value})

    def test_refuses_a_day_that_is_none(self):
        with pytest.raises(CommandError, match="--until"):
            call_command("seed_activity", "--until", "2026-02-30")


class TestEventsLoad:
    def test_leaves_alone_what_another_stores_meanwhile(self, monkeypatch):
        events = [{"_id": number} for number in range(3)]
        collection = type(ActivityEvent._get_collection())
        insert_many = collection.insert_many

        def overtaken(self, *args: Any, **kwargs: Any) -> Any:
            self.insert_one({"_id": 1, "by": "another"})
            return insert_many(self, *args, **kwargs)

        monkeypatch.setattr(collection, "insert_many", overtaken)

        assert services.events_load(events=events) == 2
        assert [event.get("by") for event in stored()] == [None, "another", None]

    def test_raises_whatever_is_not_a_duplicate(self, monkeypatch):
        monkeypatch.setattr(services, "_DUPLICATE", 0)
        collection = type(ActivityEvent._get_collection())
        insert_many = collection.insert_many
        twice = [{"_id": 1}, {"_id": 1}]
        monkeypatch.setattr(
            collection, "insert_many", lambda self, _, **how: insert_many(self, twice, **how)
        )

        with pytest.raises(BulkWriteError):
            services.events_load(events=[{"_id": 1}])
