"""
Generated profiles, a pure function of a few numbers: the same on every machine, in every run.

Their users are those of the generated notes: abc, and user-0001 and so on.
"""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from profiles.limits import THEMES
from profiles.records import Metadata, ProfileRecord

BATCH: Final = 1_000
_SECONDS: Final = 2 * 365 * 86_400  # the time span in which profiles were created
_LANGUAGES: Final = ("en", "en", "en", "de", "de-CH", "fr", "pt-BR", "ja")
_EDITORS: Final = ("plain", "markdown", "vim")


def user_ids(count: int) -> Iterator[str]:
    """Yield count user ids, abc first."""
    width = len(str(count))
    yield "abc"
    for number in range(1, count):
        yield f"user-{number:0{width}}"


def batches(*, count: int, seed: int, until: date) -> Iterator[list[ProfileRecord]]:
    """Yield count profiles in lists of BATCH, the last one shorter, changed before until (00:00 UTC)."""
    end = datetime(until.year, until.month, until.day, tzinfo=UTC)
    batch: list[ProfileRecord] = []
    for user_id in user_ids(count):
        batch.append(_profile(user_id, end, random.Random(f"{seed}:{user_id}")))  # noqa: S311  # no secret
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _profile(user_id: str, end: datetime, chance: random.Random) -> ProfileRecord:
    age = 1 + int(chance.random() * (_SECONDS - 1))
    created_at = end - timedelta(seconds=age)
    updated_at = created_at + timedelta(seconds=int(chance.random() ** 3 * age))
    preferences: dict[str, Any] = {
        "theme": chance.choices(THEMES, weights=(5, 3, 2))[0],
        "language": chance.choice(_LANGUAGES),
        "notifications": {"email": chance.random() < 0.7, "push": chance.random() < 0.3},
    }
    if chance.random() < 0.3:  # a shape that not all have
        preferences["editor"] = {"name": chance.choice(_EDITORS), "tabs": chance.choice((2, 4, 8))}
    return ProfileRecord(
        user_id=user_id,
        email=f"{user_id}@example.org",
        preferences=preferences,
        metadata=Metadata(created_at, updated_at),
        version=1 + int(chance.expovariate(0.8)),
    )
