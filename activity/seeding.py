"""
Generated events, a pure function of a few numbers: the same on every machine, in every run.

Skewed as real use is: user abc does a quarter of everything, the others follow Zipf's law, and so do
the notes that are read; working hours are busy, weekends are quiet; most events are reads; half
of the users join, and some of those leave, within the window.
"""

import bisect
import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from bson import ObjectId

from activity.actions import RESOURCE_OF

BATCH_EVENTS: Final = 2_000
HEAVY_USER: Final = "abc"
_HEAVY_EVERY: Final = 4
_NOTES: Final = 20_000
_HOUR_WEIGHTS: Final = (
    *(1, 1, 1, 1, 1, 1, 2, 5, 9, 12, 12, 11),
    *(8, 10, 12, 12, 11, 9, 6, 5, 5, 4, 3, 2),
)
_WEEKEND_WEIGHT: Final = 0.35  # of a working day
_ACTIONS: Final = {  # the status of the response, and how many of 1000 events
    "note_viewed": (200, 520),
    "notes_listed": (200, 210),
    "note_created": (201, 90),
    "note_updated": (200, 80),
    "profile_viewed": (200, 55),
    "note_deleted": (204, 20),
    "preferences_updated": (200, 12),
    "profile_updated": (200, 6),
    "profile_created": (201, 4),
    "profile_deleted": (204, 2),
    "cache_cleared": (200, 1),
}
_NETWORKS: Final = ("192.0.2", "198.51.100", "203.0.113")  # for documents: nobody's (RFC 5737)
_AGENTS: Final = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15",
    "curl/8.8.0",
    "python-httpx/0.27.0",
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Parameters of the events; days end at until (00:00 UTC)."""

    count: int
    users: int
    days: int
    until: date
    seed: int


def batches(plan: Plan) -> Iterator[list[dict[str, Any]]]:
    """
    Yield the events in lists of BATCH_EVENTS, the last one shorter, oldest first.

    Events lie in the collection in order of time, as those of a real site do. Batches do not depend
    on each other.
    """
    source = _Source(plan)
    for first in range(0, plan.count, BATCH_EVENTS):
        yield source.batch(first, min(BATCH_EVENTS, plan.count - first))


def note_id(*, seed: int, index: int) -> str:
    """Return the id of a seeded note: by the rule of the notes' own seeding with this number."""
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=16).digest()
    return str(UUID(bytes=digest, version=4))


class _Source:
    """Users, notes, days and actions with their weights, from which all batches draw."""

    def __init__(self, plan: Plan) -> None:
        width = len(str(plan.users))
        others = [f"user-{number:0{width}}" for number in range(1, plan.users)]
        self.users = others or [HEAVY_USER]
        self.user_weights = _zipf(len(self.users))
        self.stays = _stays(len(self.users), seed=plan.seed)
        self.notes = [note_id(seed=plan.seed, index=index) for index in range(_NOTES)]
        self.note_weights = _zipf(_NOTES)
        self.count = plan.count
        self.clock = _Clock(plan)
        self.name = f"{plan.seed}:{plan.count}:{plan.users}:{plan.days}:{plan.until.isoformat()}"
        addresses = random.Random(f"{plan.seed}:addresses")  # noqa: S311  # generated data
        self.clients = {
            user: (
                f"{addresses.choice(_NETWORKS)}.{addresses.randrange(1, 255)}",
                addresses.choice(_AGENTS),
            )
            for user in (*self.users, HEAVY_USER)
        }

    def batch(self, first: int, many: int) -> list[dict[str, Any]]:
        """Return this many events from the first on; drawing for all at once is cheaper."""
        chance = random.Random(f"{self.name}:{first}")  # noqa: S311  # generated data
        weights = [weight for _, weight in _ACTIONS.values()]
        drawn = zip(
            chance.choices(range(len(self.users)), cum_weights=self.user_weights, k=many),
            chance.choices(list(_ACTIONS), weights=weights, k=many),
            chance.choices(self.notes, cum_weights=self.note_weights, k=many),
            strict=True,
        )
        events = []
        for index, (number, action, note) in enumerate(drawn, first):
            share = (index + chance.random()) / self.count
            user = HEAVY_USER if index % _HEAVY_EVERY == 0 else self._present(number, share)
            events.append(self._event(chance, user, action, note, self.clock.at(share)))
        return events

    def _present(self, number: int, share: float) -> str:
        """Return the user, or another who was present where this one has not joined yet or has left."""
        came, went = self.stays[number]
        return self.users[number if came <= share < went else number // 2]

    def _event(
        self, chance: random.Random, user: str, action: str, note: str, timestamp: datetime
    ) -> dict[str, Any]:
        resource, (status, _) = RESOURCE_OF[action], _ACTIONS[action]
        resource_id: str | None = None
        if resource == "profile":
            resource_id = user
        elif resource == "note" and action != "notes_listed":
            resource_id = note
        address, agent = self.clients[user]
        return {
            "_id": _object_id(timestamp, chance),
            "user_id": user,
            "action": action,
            "resource": resource,
            "resource_id": resource_id,
            "details": {"status": status},
            "timestamp": timestamp,
            "ip_address": address,
            "user_agent": agent,
            "request_id": f"{chance.getrandbits(128):032x}",
        }


class _Clock:
    """Maps shares of all events to times, denser in busy hours."""

    def __init__(self, plan: Plan) -> None:
        midnight = datetime(plan.until.year, plan.until.month, plan.until.day, tzinfo=UTC)
        self.start = midnight - timedelta(days=plan.days)
        days = (self.start + timedelta(days=day) for day in range(plan.days))
        self.ends = list(
            itertools.accumulate(
                hour * (_WEEKEND_WEIGHT if day.weekday() > 4 else 1)
                for day in days
                for hour in _HOUR_WEIGHTS
            )
        )

    def at(self, share: float) -> datetime:
        """Return when that share (0 to less than 1) of all events has happened."""
        position = share * self.ends[-1]
        hour = min(bisect.bisect_right(self.ends, position), len(self.ends) - 1)
        begin = self.ends[hour - 1] if hour else 0
        part = min((position - begin) / (self.ends[hour] - begin), 0.999_999)
        # MongoDB keeps milliseconds; a finer time would not read back as it was written.
        return self.start + timedelta(milliseconds=int((hour + part) * 3_600_000))


def _stays(users: int, *, seed: int) -> list[tuple[float, float]]:
    """Return when each user joined and left, in shares of all events; the first half always stays."""
    chance = random.Random(f"{seed}:stays")  # noqa: S311  # generated data
    stays = [(0.0, 1.0)] * (users - users // 2)
    for _ in range(users // 2):
        came = chance.random()
        stays.append((came, came + chance.expovariate(2)))
    return stays


def _object_id(timestamp: datetime, chance: random.Random) -> ObjectId:
    """Return an id as MongoDB makes them: the seconds, then a value that is unique within the second."""
    seconds = int(timestamp.timestamp())
    return ObjectId(seconds.to_bytes(4, "big") + chance.getrandbits(64).to_bytes(8, "big"))


def _zipf(count: int) -> Sequence[float]:
    """Return the cumulative weights 1, 1/2, 1/3, ..."""
    return list(itertools.accumulate(1 / rank for rank in range(1, count + 1)))
