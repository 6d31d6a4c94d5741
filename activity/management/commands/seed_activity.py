"""manage.py seed_activity: made-up events, the same on every machine."""

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
        "Store made-up events. Run again with the same numbers, also after an interruption, it adds "
        "only what is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=1_000_000, help="how many there shall be")
        parser.add_argument("--days", type=int, default=30, help="over how many days")
        parser.add_argument(
            "--users", type=int, default=1000, help="of how many users, abc among them"
        )
        parser.add_argument("--seed", type=int, default=1, help="another number, other events")
        parser.add_argument(
            "--until", type=_day, help="the day before which they end, in UTC (default: today)"
        )
        parser.add_argument("--reset", action="store_true", help="delete all events first")
        parser.add_argument("--if-empty", action="store_true", help="only where there is no event")
        parser.add_argument("--no-input", action="store_true", help="--reset without asking")

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
            self.stderr.write(f"Interrupted: there are {there} events now; run it again to go on.")
            sys.exit(INTERRUPTED)
        except PyMongoError as exc:
            reason = str(exc).splitlines()[0]
            raise CommandError(
                f"MongoDB failed ({reason}): at least {stored} of {count} events were stored; "
                "run it again to go on."
            ) from exc
        seconds = time.monotonic() - started
        self.stdout.write(
            f"{count} events until {end} are there, {stored} of them new: {seconds:.1f} s, "
            f"{stored / max(seconds, 1e-9):.0f} a second."
        )

    def _load(self, plan: seeding.Plan) -> Iterator[int]:
        """
        Store batch by batch; yield how many of each are new.

        This thread makes the events up, two others have MongoDB store them side by side.
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
            answer = input("Delete all events, also those that were not made up? Type yes: ")
            if answer.strip() != "yes":
                raise CommandError("Nothing was deleted.")
        self.stdout.write(f"{services.events_delete_all()} events deleted.")


def _day(text: str) -> date:
    """Return the day that YYYY-MM-DD names. Raises ValueError, which argparse reports."""
    return date.fromisoformat(text)


def _refuse(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise CommandError(f"{name} {value}: must be from 1 to {most}.")
