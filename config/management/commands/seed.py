"""manage.py seed: one made-up data set over all stores, with the same users in each."""

from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser


class Size(NamedTuple):
    """How much of everything."""

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
        "Store made-up notes, profiles and events of the same users. Run again, also after an "
        "interruption, it adds only what is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        told = "; ".join(
            f"{name}: {one.notes} notes, {one.users} profiles, {one.events} events"
            for name, one in SIZES.items()
        )
        parser.add_argument("--size", choices=SIZES, default="medium", help=told)
        parser.add_argument("--seed", type=int, default=1, help="another number, other data")
        parser.add_argument(
            "--until",
            type=date.fromisoformat,
            help="the day before which they end, in UTC (default: today)",
        )
        parser.add_argument(
            "--if-empty", action="store_true", help="each of the three only where there is none"
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
        wanted = SIZES[size]
        given: dict[str, Any] = {
            "seed": seed,
            "until": until or datetime.now(UTC).date(),  # one day, also past midnight
            "if_empty": if_empty,
            "stdout": self.stdout,
        }
        call_command("seed_notes", count=wanted.notes, users=wanted.users, **given)
        call_command("seed_profiles", count=wanted.users, **given)
        call_command(
            "seed_activity", count=wanted.events, users=wanted.users, days=wanted.days, **given
        )
