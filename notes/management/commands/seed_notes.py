"""manage.py seed_notes: generate notes, the same on every machine."""

import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from django.db import connection
from rich.console import Console
from rich.progress import Progress

from notes import seeding, selectors, services

INTERRUPTED = 130  # exit status, as a shell has it for SIGINT
_WRITERS = 2


class Command(BaseCommand):
    help = (
        "Generate notes and store them. Run again, for example after an interruption, it adds only the "
        "missing ones."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=100_000, help="number of notes")
        parser.add_argument(
            "--users", type=int, default=1000, help="number of users, one of them abc"
        )
        parser.add_argument(
            "--seed",
            type=int,
            default=1,
            help="seed of the random numbers: another seed gives other notes",
        )
        parser.add_argument(
            "--until",
            type=date.fromisoformat,
            help="the day before which they end, in UTC (default: today)",
        )
        parser.add_argument("--reset", action="store_true", help="delete all notes first")
        parser.add_argument(
            "--if-empty", action="store_true", help="do nothing if there are notes already"
        )
        parser.add_argument(
            "--no-input", action="store_true", help="do not ask for confirmation of --reset"
        )

    def handle(
        self,
        *args: Any,
        count: int,
        users: int,
        seed: int,
        until: date | None = None,
        **options: Any,
    ) -> None:
        _refuse("--count", count, 100_000_000)
        _refuse("--users", users, 1_000_000)
        end = until or datetime.now(UTC).date()
        stored = 0
        try:
            if options["reset"]:
                self._reset(ask=not options["no_input"])
            if options["if_empty"] and selectors.notes_exist():
                self.stdout.write("There are notes already; nothing was added.")
                return
            started = time.monotonic()
            for new in self._load(count, users, seed, end):
                stored += new
            services.notes_loaded()
        except KeyboardInterrupt:
            there = selectors.note_count()
            self.stderr.write(
                f"Interrupted: {there} notes are stored so far. Run it again to continue."
            )
            sys.exit(INTERRUPTED)
        except DatabaseError as exc:
            reason = str(exc).splitlines()[0]
            raise CommandError(
                f"PostgreSQL failed ({reason}): at least {stored} of {count} notes were stored. "
                "Run it again to continue."
            ) from exc
        seconds = time.monotonic() - started
        self.stdout.write(
            f"{count} notes are stored, {stored} of them new: {seconds:.1f} s, "
            f"{stored / max(seconds, 1e-9):.0f} a second."
        )

    def _load(self, count: int, users: int, seed: int, until: date) -> Iterator[int]:
        """
        Store the notes in batches, each completely or not at all; yield the number of new ones in each.

        This thread generates notes while two others store them.
        """
        terminal = self.stdout.isatty()
        with (
            Progress(console=Console(file=sys.stderr), disable=not terminal) as progress,
            ThreadPoolExecutor(_WRITERS) as pool,
        ):
            task = progress.add_task("notes", total=count)
            storing: deque[Future[int]] = deque()
            for rows in seeding.batches(count=count, users=users, seed=seed, until=until):
                storing.append(pool.submit(_store, rows))
                if len(storing) > _WRITERS:
                    yield storing.popleft().result()
                    progress.advance(task, seeding.BATCH_ROWS)
            for last in storing:
                yield last.result()

    def _reset(self, *, ask: bool) -> None:
        if ask and sys.stdin.isatty():
            answer = input("Delete all notes, including those of real users? Type yes: ")
            if answer.strip() != "yes":
                raise CommandError("Nothing was deleted.")
        self.stdout.write(f"{services.notes_delete_all()} notes deleted.")


def _store(rows: list[seeding.Row]) -> int:
    try:
        return services.note_load(rows=rows)
    finally:
        connection.close()  # the thread's own connection; nothing else closes it


def _refuse(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise CommandError(f"{name} {value}: must be from 1 to {most}.")
