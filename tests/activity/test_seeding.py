"""Made-up events: the same each time, and of the skew that is promised."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from activity import seeding
from activity.actions import ACTIONS, RESOURCES
from activity.seeding import Plan
from notes import seeding as notes_seeding

UNTIL = date(2026, 1, 31)


def events(count: int, **changes: Any) -> list[dict[str, Any]]:
    numbers = {"users": 100, "days": 28, "until": UNTIL, "seed": 1} | changes
    return [event for batch in seeding.batches(Plan(count=count, **numbers)) for event in batch]


class TestBatches:
    def test_are_the_same_each_time(self):
        assert events(5_000) == events(5_000)

    def test_are_as_many_as_asked_with_an_id_each(self):
        made = events(4_321)

        assert len({event["_id"] for event in made}) == 4_321

    @pytest.mark.parametrize(
        "changes", [{"seed": 2}, {"users": 99}, {"days": 27}, {"until": date(2026, 1, 30)}], ids=str
    )
    def test_are_others_for_another_number(self, changes):
        assert not {event["_id"] for event in events(2_000)} & {
            event["_id"] for event in events(2_000, **changes)
        }

    def test_are_what_the_collection_holds(self):
        for event in events(5_000):
            assert event["action"] in ACTIONS
            assert event["resource"] in RESOURCES
            assert event["details"]["status"] in (200, 201, 204)
            assert event["_id"].generation_time == event["timestamp"].replace(microsecond=0)
            assert event["timestamp"].microsecond % 1000 == 0

    def test_every_action_happens(self):
        assert {event["action"] for event in events(20_000)} == ACTIONS

    def test_lie_within_the_days_before_until_in_order_of_time(self):
        times = [event["timestamp"] for event in events(5_000)]

        assert times == sorted(times)
        end = datetime(2026, 1, 31, tzinfo=UTC)
        assert end - timedelta(days=28) <= times[0] < end - timedelta(days=27)
        assert end - timedelta(days=1) <= times[-1] < end

    def test_the_first_user_is_heaviest_and_the_others_follow_zipf(self):
        users = Counter(event["user_id"] for event in events(20_000))

        assert users.most_common(1)[0][0] == "abc"
        assert users["abc"] >= 20_000 // 4
        assert users["user-001"] > 3 * users["user-020"] > 0

    @pytest.mark.parametrize("users", [1, 2, 3, 1000])
    def test_any_number_of_users_is_possible(self, users):
        assert len({event["user_id"] for event in events(2_000, users=users)}) <= users

    def test_some_users_come_later(self):
        made = events(20_000)
        early = {event["user_id"] for event in made[:10_000]}
        late = {event["user_id"] for event in made[10_000:]}

        assert len(late - early) > 5

    def test_work_has_its_hours_and_weekends_are_quiet(self):
        times = [event["timestamp"] for event in events(20_000)]
        hours = Counter(time.hour for time in times)
        weekend = sum(time.weekday() > 4 for time in times)

        assert hours[10] > 5 * hours[3] > 0
        assert 0.08 < weekend / len(times) < 0.2


class TestNoteId:
    def test_is_that_of_the_seeded_notes(self):
        for index in (0, 1, 19_999):
            assert seeding.note_id(seed=3, index=index) == str(
                notes_seeding.note_id(seed=3, index=index)
            )
