"""manage.py seed_notes: generate notes, the same on every machine."""

from collections.abc import Iterable
from datetime import date

from config.management.seeding import Number, SeedCommand
from notes import seeding, selectors, services


class Command(SeedCommand):
    help = (
        "Generate notes and store them. Run again, for example after an interruption, it adds only the "
        "missing ones."
    )
    rows = "notes"
    numbers = {
        "count": Number(100_000, 100_000_000, "number of notes"),
        "users": Number(1000, 1_000_000, "number of users, one of them abc"),
    }

    def exist(self) -> bool:
        return selectors.notes_exist()

    def batches(self, *, seed: int, until: date, **numbers: int) -> Iterable[list[seeding.Row]]:
        return seeding.batches(seed=seed, until=until, **numbers)

    def store(self, batch: list[seeding.Row]) -> int:
        return services.notes_load(rows=batch)

    def finish(self) -> None:
        services.notes_vacuum()

    def delete_all(self) -> int:
        return services.notes_delete_all()
