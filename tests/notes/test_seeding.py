"""Made-up notes: reproducible, skewed, valid."""

import itertools
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from notes import seeding
from notes.limits import CONTENT_MAX_CHARACTERS, TITLE_MAX_CHARACTERS
from tests.builders import SEEDED_UNTIL


def rows(
    count: int, *, users: int = 100, seed: int = 1, until: date = SEEDED_UNTIL
) -> list[seeding.Row]:
    batches = seeding.batches(count=count, users=users, seed=seed, until=until)
    return list(itertools.chain.from_iterable(batches))


class TestBatches:
    def test_are_the_same_in_every_run(self):
        assert rows(500) == rows(500)

    def test_are_known_by_their_first_row(self):
        """Another row here means that everybody's seeded notes changed."""
        first = rows(1)[0]

        assert str(first.id) == str(seeding.note_id(seed=1, index=0))
        assert first.user_id == "abc"
        assert first.id.version == 4

    def test_another_seed_gives_other_notes(self):
        assert not {row.id for row in rows(100)} & {row.id for row in rows(100, seed=2)}

    def test_another_day_moves_all_times_and_changes_nothing_else(self):
        later = rows(500, until=SEEDED_UNTIL + timedelta(days=3))

        moved = timedelta(days=3)
        for before, after in zip(rows(500), later, strict=True):
            assert (
                before._replace(
                    created_at=before.created_at + moved, updated_at=before.updated_at + moved
                )
                == after
            )

    def test_some_are_of_the_last_day(self):
        last = max(row.created_at for row in rows(10_000))

        assert datetime(2025, 12, 31, tzinfo=UTC) <= last < datetime(2026, 1, 1, tzinfo=UTC)

    def test_fewer_are_the_beginning_of_more(self):
        assert rows(10_050)[:300] == rows(300)

    @pytest.mark.parametrize("count", [1, 9_999, 10_000, 10_001, 25_000])
    def test_are_as_many_as_asked(self, count):
        made = rows(count)

        assert len(made) == count
        assert len({row.id for row in made}) == count

    @pytest.mark.parametrize("count", [8, 100, 777, 10_000])
    def test_an_eighth_at_least_is_abc_s(self, count):
        assert Counter(row.user_id for row in rows(count))["abc"] >= count / 8

    def test_the_other_users_follow_zipf(self):
        owners = Counter(row.user_id for row in rows(20_000))

        assert owners["user-001"] > 3 * owners["user-010"] > 0

    @pytest.mark.parametrize("users", [1, 2, 1000])
    def test_any_number_of_users_is_possible(self, users):
        assert len({row.user_id for row in rows(1000, users=users)}) <= users

    def test_are_valid_notes_within_their_times(self):
        for row in rows(10_000):
            assert 1 <= len(row.title) <= TITLE_MAX_CHARACTERS
            assert row.title == row.title.strip()
            assert len(row.content) <= CONTENT_MAX_CHARACTERS
            assert datetime(2024, 1, 1, tzinfo=UTC) <= row.created_at <= row.updated_at
            assert row.updated_at <= datetime(2026, 1, 1, tzinfo=UTC)
            assert row.version >= 1
            assert (row.version > 1) or row.updated_at == row.created_at

    def test_some_words_are_common_and_some_rare(self):
        words = Counter(word for row in rows(10_000) for word in row.title.lower().split())

        assert words.most_common(1)[0][1] > 50 * words.most_common()[-1][1]
