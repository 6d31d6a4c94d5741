"""Is what was acknowledged stored? The spool's ledger against MongoDB."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from activity import ledger, spool
from activity.documents import ActivityEvent


@dataclass(frozen=True)
class Account:
    """
    Events since a minute, in counts.

    waiting: on disk, not shipped yet; dropped: the spool was full; lost and doubled: should be 0;
    elsewhere: stored, but acknowledged by another machine's spool, or made up by seed_activity.
    """

    acknowledged: int
    stored: int
    waiting: int
    dropped: int
    lost: int
    doubled: int
    elsewhere: int


@dataclass(frozen=True)
class _Side:
    """What the disk says of each segment: acknowledged since the minute, waiting, dropped."""

    acknowledged: Counter[str]
    waiting: Counter[str]
    dropped: Counter[str]


def activity_reconcile(*, since: datetime, folder: Path) -> Account:
    """
    Compare what this machine's spool has acknowledged, since that minute, with what is stored.

    It may run while events are recorded and shipped: the disk is read before and after MongoDB.
    What is missing by the first reading is lost, what is too much by the second is doubled.
    Raises PyMongoError where MongoDB does not answer.
    """
    minute = int(since.timestamp()) // 60
    before = _disk(folder, minute)
    stored = _stored(minute)
    after = _disk(folder, minute)
    lost = sum(
        max(0, number - before.waiting[name] - before.dropped[name] - stored[name])
        for name, number in before.acknowledged.items()
    )
    known = {*before.acknowledged, *after.acknowledged}
    doubled = sum(max(0, stored[name] - after.acknowledged[name]) for name in known)
    return Account(
        acknowledged=sum(before.acknowledged.values()),
        stored=sum(stored[name] for name in known),
        waiting=sum(after.waiting.values()),
        dropped=sum(after.dropped.values()),
        lost=lost,
        doubled=doubled,
        elsewhere=sum(number for name, number in stored.items() if name not in known),
    )


def _disk(folder: Path, minute: int) -> _Side:
    side = _Side(Counter(), Counter(), Counter())
    for path in spool.segments(folder):
        with spool.opened(path, adopt=False) as segment:
            if segment is None:
                continue
            shipped_to = segment.shipped_to()
            for document, end in segment.records():
                if spool.seconds_of(document) // 60 >= minute:
                    side.acknowledged[segment.name] += 1
                    side.waiting[segment.name] += end > shipped_to
    # Last: a segment that was deleted meanwhile is in the ledger since before that.
    for name, entry in ledger.entries(folder).items():
        side.acknowledged[name] = entry.since(minute)
        side.waiting[name] = 0
        side.dropped[name] = entry.dropped
    return side


def _stored(minute: int) -> Counter[str]:
    """Return how many events of each segment MongoDB has; an id tells its segment."""
    collection: Any = ActivityEvent._get_collection()
    first = datetime.fromtimestamp(minute * 60).astimezone()
    segment = {"$substrBytes": [{"$toString": "$_id"}, 8, 10]}
    found = collection.aggregate(
        [
            {"$match": {"timestamp": {"$gte": first}}},
            {"$group": {"_id": segment, "events": {"$sum": 1}}},
        ]
    )
    return Counter({one["_id"]: one["events"] for one in found})
