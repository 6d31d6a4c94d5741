"""Compares the events that the spool has acknowledged with those that MongoDB has stored."""

import contextlib
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from activity import ledger, spool
from activity.documents import ActivityEvent


@dataclass(frozen=True)
class Account:
    """
    Events since a minute, in counts.

    waiting: on disk, not shipped yet; dropped: the spool was full; set_aside: could not be read, or
    were refused by MongoDB; lost and doubled: should be 0; elsewhere: stored, but acknowledged by
    another machine's spool, or made up by seed_activity. damaged_files: how many there are now, and
    damaged_events how many acknowledged events may be in them.
    """

    acknowledged: int
    stored: int
    waiting: int
    dropped: int
    set_aside: int
    lost: int
    doubled: int
    elsewhere: int
    damaged_files: int
    damaged_events: int


@dataclass(frozen=True)
class _Side:
    """What the disk says of each segment, in events since the minute."""

    acknowledged: Counter[str]
    waiting: Counter[str]
    dropped: Counter[str]
    set_aside: Counter[str]

    def due(self, name: str) -> int:
        """Return how many of a segment's events MongoDB should have."""
        missing = self.waiting[name] + self.dropped[name] + self.set_aside[name]
        return self.acknowledged[name] - missing


def activity_reconcile(*, since: datetime, folder: Path) -> Account:
    """
    Compare what this machine's spool has acknowledged, since that minute, with what is stored.

    It may run while events are recorded and shipped: the disk is read before and after MongoDB.
    Events missing from the first reading are lost, surplus events in the second are doubled.
    Raises PyMongoError where MongoDB does not answer.
    """
    minute = int(since.timestamp()) // 60
    before = _disk(folder, minute)
    stored = _stored(minute)
    after = _disk(folder, minute)
    damaged_files, damaged_events = spool.damaged(folder)
    lost = sum(max(0, before.due(name) - stored[name]) for name in before.acknowledged)
    known = {*before.acknowledged, *after.acknowledged}
    doubled = sum(max(0, stored[name] - after.acknowledged[name]) for name in known)
    return Account(
        acknowledged=sum(before.acknowledged.values()),
        stored=sum(stored[name] for name in known),
        waiting=sum(after.waiting.values()),
        dropped=sum(after.dropped.values()),
        set_aside=sum(after.set_aside.values()),
        lost=lost,
        doubled=doubled,
        elsewhere=sum(number for name, number in stored.items() if name not in known),
        damaged_files=damaged_files,
        damaged_events=damaged_events,
    )


def _disk(folder: Path, minute: int) -> _Side:
    side = _Side(Counter(), Counter(), Counter(), Counter())
    for path in spool.segments(folder):
        with contextlib.suppress(spool.Unreadable), spool.opened(path, adopt=False) as segment:
            if segment is None:
                continue
            census = segment.census()
            recent = {n for n, moment in enumerate(census.seconds) if moment // 60 >= minute}
            side.acknowledged[segment.name] = len(recent)
            side.waiting[segment.name] = len(recent.intersection(census.waiting))
            missing = len(recent.intersection(census.missing)) + census.refused
            side.set_aside[segment.name] = min(missing, len(recent))
    # Last: a segment that was deleted meanwhile is in the ledger since before that.
    for name, entry in ledger.entries(folder).items():
        # When the events that are not stored were acknowledged is unknown, except that it was in the segment's lifetime.
        recent_events = side.acknowledged[name] = entry.since(minute)
        side.waiting[name] = 0
        side.dropped[name] = min(entry.dropped, recent_events)
        side.set_aside[name] = min(entry.set_aside, recent_events)
    return side


def _stored(minute: int) -> Counter[str]:
    """Return how many events of each segment MongoDB has; the id of an event contains its segment."""
    first = datetime.fromtimestamp(minute * 60).astimezone()
    segment = {"$substrBytes": [{"$toString": "$_id"}, 8, 10]}
    rows = ActivityEvent.objects(timestamp__gte=first).aggregate(
        [{"$group": {"_id": segment, "events": {"$sum": 1}}}]
    )
    return Counter({row["_id"]: row["events"] for row in rows})
