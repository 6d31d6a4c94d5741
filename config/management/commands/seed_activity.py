"""manage.py seed_activity: generate events, the same on every machine."""

from collections.abc import Iterable
from datetime import date
from typing import Any, Final

import pymongo
from django.conf import settings
from django.core.management.base import CommandError

from activity import seeding, selectors, services
from activity.documents import ActivityEvent
from config.management.seeding import DAYS_MAX, Number, SeedCommand
from config.mongodb import indexes

_INDEXES_SECONDS: Final = 60


class Command(SeedCommand):
    help = (
        "Generate events and store them. Run again with the same arguments, for example after an "
        "interruption, it adds only the missing ones."
    )
    rows = "events"
    numbers = {
        "count": Number(1_000_000, 100_000_000, "number of events"),
        "days": Number(
            30,
            min(settings.ACTIVITY_RETENTION_DAYS, DAYS_MAX),
            "number of days over which they spread",
        ),
        "users": Number(1000, 1_000_000, "number of users, one of them abc"),
    }

    def exist(self) -> bool:
        return selectors.events_exist()

    def prepare(self) -> None:
        try:
            with pymongo.timeout(_INDEXES_SECONDS):
                indexes.ensure(ActivityEvent)
        except indexes.IndexDiffers as exc:
            raise CommandError(str(exc)) from exc

    def batches(self, *, seed: int, until: date, **numbers: int) -> Iterable[list[dict[str, Any]]]:
        return seeding.batches(seeding.Plan(seed=seed, until=until, **numbers))

    def store(self, batch: list[dict[str, Any]]) -> int:
        return services.events_load(events=batch)

    def delete_all(self) -> int:
        return services.events_delete_all()
