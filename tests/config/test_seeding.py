"""What the commands seed, seed_notes, seed_profiles and seed_activity share."""

import pytest
from django.core.management import CommandError, call_command

from activity import seeding as events
from config.management.seeding import DAYS_MAX, FIRST_DAY, LAST_DAY, SeedCommand
from notes import seeding as notes
from profiles import seeding as profiles


class TestDay:
    @pytest.mark.parametrize("command", ["seed", "seed_notes", "seed_profiles", "seed_activity"])
    @pytest.mark.parametrize(
        "text",
        [
            *("0001-01-01", "0001-06-01", "1970-01-15", "1972-12-31", "2106-01-01", "2107-01-01"),
            *("9999-12-31", "2026-02-30", "today", ""),
        ],
    )
    def test_refuses_any_other_before_anything_is_read(self, monkeypatch, command, text):
        monkeypatch.setattr(SeedCommand, "handle", None)

        with pytest.raises(
            CommandError, match=r"--until: .* is no day from 1973-01-01 to 2105-12-31"
        ):
            call_command(command, f"--until={text}")

    @pytest.mark.parametrize("until", [FIRST_DAY, LAST_DAY], ids=str)
    def test_rows_of_every_kind_may_end_there(self, until):
        plan = events.Plan(count=2_000, users=5, days=DAYS_MAX, until=until, seed=1)
        [batch] = events.batches(plan)
        [rows] = notes.batches(count=100, users=5, seed=1, until=until)
        [records] = profiles.batches(count=100, seed=1, until=until)

        times = [event["timestamp"] for event in batch]
        times += [row.created_at for row in rows]
        times += [record.metadata.created_at for record in records]
        assert min(times).year >= 1970
        assert max(times).date() < until
        assert {event["_id"].generation_time.year for event in batch} <= set(range(1970, 2107))
