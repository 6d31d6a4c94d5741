"""What the commands seed_notes, seed_profiles and seed_activity share: options, batches, progress, messages."""

import contextlib
import sys
import time
from abc import ABC, abstractmethod
from argparse import ArgumentTypeError
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Final, NamedTuple

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from django.db import connection
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import Progress

INTERRUPTED: Final = 130  # exit status, as a shell reports SIGINT
# What ends there begins within DAYS_MAX before it: not before 1970. An ObjectId has 32 bits for the seconds.
FIRST_DAY: Final = date(1973, 1, 1)
LAST_DAY: Final = date(2105, 12, 31)
DAYS_MAX: Final = 1_096
_WRITERS: Final = 2


def day(text: str) -> date:
    """Return the day of --until. Raises ArgumentTypeError that names the bounds."""
    with contextlib.suppress(ValueError):
        until = date.fromisoformat(text)
        if FIRST_DAY <= until <= LAST_DAY:
            return until
    raise ArgumentTypeError(f"{text!r} is no day from {FIRST_DAY} to {LAST_DAY}")


class Number(NamedTuple):
    """An option whose value is a whole number from 1 to most."""

    default: int
    most: int
    help: str


class SeedCommand(BaseCommand, ABC):
    """
    Generates rows and stores those that are missing, so that an interrupted run can be repeated.

    A subclass names its rows, the numbers that it takes (count among them), and how to read,
    generate and store them.
    """

    rows: ClassVar[str]
    numbers: ClassVar[Mapping[str, Number]]
    can_reset: ClassVar[bool] = True

    @abstractmethod
    def exist(self) -> bool:
        """Return whether there is at least one row."""

    def prepare(self) -> None:
        """Create what storing the rows needs."""

    @abstractmethod
    def batches(self, *, seed: int, until: date, **numbers: int) -> Iterable[Any]:
        """Return the rows in batches, the same for the same arguments."""

    @abstractmethod
    def store(self, batch: Any) -> int:
        """Store the missing rows of a batch, in a thread; return their number."""

    def finish(self) -> None:
        """Do what must follow the last batch."""

    def delete_all(self) -> int:
        """Delete all rows; return their number. For can_reset alone, so it is not abstract."""
        raise NotImplementedError

    def add_arguments(self, parser: CommandParser) -> None:
        for name, number in self.numbers.items():
            parser.add_argument(f"--{name}", type=int, default=number.default, help=number.help)
        parser.add_argument(
            "--seed",
            type=int,
            default=1,
            help=f"seed of the random numbers: another seed gives other {self.rows}",
        )
        parser.add_argument(
            "--until",
            type=day,
            help="end before this day, YYYY-MM-DD in UTC (default: today)",
        )
        parser.add_argument(
            "--if-empty", action="store_true", help=f"do nothing if there are {self.rows} already"
        )
        if self.can_reset:
            parser.add_argument(
                "--reset", action="store_true", help=f"delete all {self.rows} first"
            )
            parser.add_argument(
                "--no-input", action="store_true", help="do not ask for confirmation of --reset"
            )

    def handle(self, *args: Any, seed: int, until: date | None = None, **options: Any) -> None:
        numbers = {name: options[name] for name in self.numbers}
        for name, value in numbers.items():
            if not 1 <= value <= self.numbers[name].most:
                raise CommandError(
                    f"--{name} {value}: must be from 1 to {self.numbers[name].most}."
                )
        end = until or datetime.now(UTC).date()
        new = 0
        try:
            # Within the deadline of requests, so that a store that is away is not awaited for as long as a batch may take.
            self.exist()
            if options.get("reset"):
                self._reset(ask=not options["no_input"])
            if options["if_empty"] and self.exist():
                self.stdout.write(f"There are {self.rows} already; nothing was added.")
                return
            self.prepare()
            started = time.monotonic()
            for added in self._store_all(
                self.batches(seed=seed, until=end, **numbers), numbers["count"]
            ):
                new += added
            self.finish()
        except KeyboardInterrupt:
            self.stderr.write(
                f"Interrupted: at least {new} new {self.rows} were stored. Run it again to continue."
            )
            sys.exit(INTERRUPTED)
        except (DatabaseError, PyMongoError) as exc:
            database = "PostgreSQL" if isinstance(exc, DatabaseError) else "MongoDB"
            raise CommandError(
                f"{database} failed ({str(exc).splitlines()[0]}): at least {new} of "
                f"{numbers['count']} {self.rows} were stored. Run it again to continue."
            ) from exc
        seconds = time.monotonic() - started
        self.stdout.write(
            f"{numbers['count']} {self.rows} until {end} are stored, {new} of them new: "
            f"{seconds:.1f} s, {new / max(seconds, 1e-9):.0f} a second."
        )

    def _store_all(self, batches: Iterable[Any], count: int) -> Iterator[int]:
        """
        Store the batches; yield the number of new rows in each.

        This thread generates rows while two others store them.
        """
        terminal = self.stdout.isatty()
        with (
            Progress(console=Console(file=sys.stderr), disable=not terminal) as progress,
            ThreadPoolExecutor(_WRITERS) as pool,
        ):
            task = progress.add_task(self.rows, total=count)
            storing: deque[Future[int]] = deque()
            for batch in batches:
                storing.append(pool.submit(self._store, batch))
                if len(storing) > _WRITERS:
                    yield storing.popleft().result()
                    progress.advance(task, len(batch))
            for last in storing:
                yield last.result()

    def _store(self, batch: Any) -> int:
        try:
            return self.store(batch)
        finally:
            connection.close()  # the thread's own connection; nothing else closes it

    def _reset(self, *, ask: bool) -> None:
        if ask:
            if not (sys.stdin and sys.stdin.isatty()):
                raise CommandError(
                    f"Nothing was deleted: there is no terminal on which to ask whether --reset may "
                    f"delete all {self.rows}. --no-input does not ask."
                )
            try:
                answer = input(f"Delete all {self.rows}, including those of real users? Type yes: ")
            except EOFError:  # Ctrl-D
                answer = "no"
            if answer.strip() != "yes":
                raise CommandError("Nothing was deleted.")
        self.stdout.write(f"{self.delete_all()} {self.rows} deleted.")
