"""manage.py seed: generated data in all stores, with the same users in each."""

from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from config.management.seeding import day


class Size(NamedTuple):
    """The number of rows of each kind."""

    notes: int
    users: int
    events: int
    days: int


SIZES: Final = {
    "small": Size(notes=2_000, users=50, events=20_000, days=30),
    "medium": Size(notes=100_000, users=1_000, events=200_000, days=30),
    "large": Size(notes=1_000_000, users=10_000, events=1_000_000, days=60),
}


class Command(BaseCommand):
    help = (
        "Store generated notes, profiles and events of the same users. Running it again, also after "
        "an interruption, adds only what is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        sizes = "; ".join(
            f"{name}: {size.notes} notes, {size.users} profiles, {size.events} events"
            for name, size in SIZES.items()
        )
        parser.add_argument("--size", choices=SIZES, default="medium", help=sizes)
        parser.add_argument(
            "--seed", type=int, default=1, help="random seed of the data (default: 1)"
        )
        parser.add_argument(
            "--until",
            type=day,
            help="the day before which they end, in UTC (default: today)",
        )
        parser.add_argument(
            "--if-empty", action="store_true", help="skip each of the three that has rows already"
        )

    def handle(
        self,
        *args: Any,
        size: str,
        seed: int,
        if_empty: bool,
        until: date | None = None,
        **options: Any,
    ) -> None:
        rows = SIZES[size]
        shared: dict[str, Any] = {
            "seed": seed,
            "until": until or datetime.now(UTC).date(),  # one day, also past midnight
            "if_empty": if_empty,
            "stdout": self.stdout,
        }
        call_command("seed_notes", count=rows.notes, users=rows.users, **shared)
        call_command("seed_profiles", count=rows.users, **shared)
        call_command("seed_activity", count=rows.events, users=rows.users, days=rows.days, **shared)
