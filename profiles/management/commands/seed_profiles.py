"""manage.py seed_profiles: generate profiles, the same on every machine."""

import sys
import time
from datetime import UTC, date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import Progress

from profiles import seeding, selectors, services


class Command(BaseCommand):
    help = (
        "Generate profiles and store them in both stores. Run again, for example after an "
        "interruption, it adds only the missing ones."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=1000, help="number of profiles")
        parser.add_argument(
            "--seed",
            type=int,
            default=1,
            help="seed of the random numbers: another seed gives other profiles",
        )
        parser.add_argument(
            "--until",
            type=date.fromisoformat,
            help="end before this day, YYYY-MM-DD in UTC (default: today)",
        )
        parser.add_argument(
            "--if-empty", action="store_true", help="do nothing if there are profiles already"
        )

    def handle(
        self,
        *args: Any,
        count: int,
        seed: int,
        if_empty: bool,
        until: date | None = None,
        **options: Any,
    ) -> None:
        if not 1 <= count <= 1_000_000:
            raise CommandError(f"--count {count}: must be from 1 to 1000000.")
        end = until or datetime.now(UTC).date()
        started, stored = time.monotonic(), 0
        try:
            if if_empty and selectors.profiles_exist():
                self.stdout.write("There are profiles already; nothing was added.")
                return
            terminal = self.stdout.isatty()
            with Progress(console=Console(file=sys.stderr), disable=not terminal) as progress:
                task = progress.add_task("profiles", total=count)
                for batch in seeding.batches(count=count, seed=seed, until=end):
                    stored += services.profiles_load(profiles=batch)
                    progress.advance(task, len(batch))
        except KeyboardInterrupt:
            self.stderr.write(f"Interrupted after {stored} new profiles. Run it again to continue.")
            sys.exit(130)
        except (DatabaseError, PyMongoError) as exc:
            raise CommandError(
                f"{str(exc).splitlines()[0]}: {stored} of {count} profiles were stored. Run it again to continue."
            ) from exc
        seconds = time.monotonic() - started
        self.stdout.write(f"{count} profiles are stored, {stored} of them new: {seconds:.1f} s.")
