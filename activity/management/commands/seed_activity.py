"""manage.py seed_activity: generate events, the same on every machine."""

import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import Progress

from activity import seeding, selectors, services

INTERRUPTED = 130  # exit status, as a shell has it for SIGINT
_WRITERS = 2


class Command(BaseCommand):
    help = (
        "Generate events and store them. Run again with the same arguments, for example after an "
        "interruption, it adds only the missing ones."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=1_000_000, help="number of events")
        parser.add_argument(
            "--days", type=int, default=30, help="number of days over which they spread"
        )
        parser.add_argument(
            "--users", type=int, default=1000, help="number of users, one of them abc"
        )
        parser.add_argument(
            "--seed",
            type=int,
            default=1,
            help="seed of the random numbers: another seed gives other events",
        )
        parser.add_argument(
            "--until", type=_day, help="end before this day, YYYY-MM-DD in UTC (default: today)"
        )
        parser.add_argument("--reset", action="store_true", help="delete all events first")
        parser.add_argument(
            "--if-empty", action="store_true", help="do nothing if there are events already"
        )
        parser.add_argument(
            "--no-input", action="store_true", help="do not ask for confirmation of --reset"
        )

    def handle(
        self,
        *args: Any,
        count: int,
        days: int,
        users: int,
        seed: int,
        until: date | None = None,
        **options: Any,
    ) -> None:
        _refuse("--count", count, 100_000_000)
        _refuse("--days", days, settings.ACTIVITY_RETENTION_DAYS)
        _refuse("--users", users, 1_000_000)
        end = until or datetime.now(UTC).date()
        plan = seeding.Plan(count=count, days=days, users=users, seed=seed, until=end)
        stored = 0
        try:
            if options["reset"]:
                self._reset(ask=not options["no_input"])
            if options["if_empty"] and selectors.events_exist():
                self.stdout.write("There are events already; nothing was added.")
                return
            services.indexes_ensure()
            started = time.monotonic()
            for new in self._load(plan):
                stored += new
        except KeyboardInterrupt:
            there = selectors.event_count()
            self.stderr.write(
                f"Interrupted: {there} events are stored so far. Run it again to continue."
            )
            sys.exit(INTERRUPTED)
        except PyMongoError as exc:
            reason = str(exc).splitlines()[0]
            raise CommandError(
                f"MongoDB failed ({reason}): at least {stored} of {count} events were stored. "
                "Run it again to continue."
            ) from exc
        seconds = time.monotonic() - started
        self.stdout.write(
            f"{count} events until {end} are stored, {stored} of them new: {seconds:.1f} s, "
            f"{stored / max(seconds, 1e-9):.0f} a second."
        )

    def _load(self, plan: seeding.Plan) -> Iterator[int]:
        """
        Store the events in batches; yield the number of new ones in each.

        This thread generates events while two others store them.
        """
        terminal = self.stdout.isatty()
        with (
            Progress(console=Console(file=sys.stderr), disable=not terminal) as progress,
            ThreadPoolExecutor(_WRITERS) as pool,
        ):
            task = progress.add_task("events", total=plan.count)
            storing: deque[Future[int]] = deque()
            for events in seeding.batches(plan):
                storing.append(pool.submit(services.events_load, events=events))
                if len(storing) > _WRITERS:
                    yield storing.popleft().result()
                    progress.advance(task, seeding.BATCH_EVENTS)
            for last in storing:
                yield last.result()

    def _reset(self, *, ask: bool) -> None:
        if ask and sys.stdin.isatty():
            answer = input("Delete all events, including those of real users? Type yes: ")
            if answer.strip() != "yes":
                raise CommandError("Nothing was deleted.")
        self.stdout.write(f"{services.events_delete_all()} events deleted.")


def _day(text: str) -> date:
    """Return the day that YYYY-MM-DD names. Raises ValueError, which argparse reports."""
    return date.fromisoformat(text)


def _refuse(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise CommandError(f"{name} {value}: must be from 1 to {most}.")
