"""manage.py seed_profiles: generate profiles, the same on every machine."""

from collections.abc import Iterable
from datetime import date

from config.management.seeding import Number, SeedCommand
from profiles import seeding, selectors, services
from profiles.records import ProfileRecord


class Command(SeedCommand):
    help = (
        "Generate profiles and store them in both stores. Run again, for example after an "
        "interruption, it adds only the missing ones."
    )
    rows = "profiles"
    numbers = {"count": Number(1000, 1_000_000, "number of profiles")}
    can_reset = False

    def exist(self) -> bool:
        return selectors.profiles_exist()

    def batches(self, *, seed: int, until: date, **numbers: int) -> Iterable[list[ProfileRecord]]:
        return seeding.batches(seed=seed, until=until, **numbers)

    def store(self, batch: list[ProfileRecord]) -> int:
        return services.profiles_load(profiles=batch)
