"""manage.py index_advisor: which indexes the statements that really ran would gain from."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from pymongo.errors import PyMongoError

from cachelayer.client import CacheDown
from config.advisor import migration, mongodb, mongodb_profiler, postgres, text_report
from config.advisor.advice import Advice
from config.advisor.postgres_candidates import Candidate
from config.explain.sandbox import TrialsRefused

INTERRUPTED: Final = 130  # exit status, as a shell has it for SIGINT
_OWN_FOLDER: Final = Path()


class Command(BaseCommand):
    help = "Propose indexes for what really ran, each proved by making it; needs ALLOW_EXPLAIN_DDL=true."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--store", choices=("postgres", "mongodb"), help="default: both")
        parser.add_argument(
            "--limit", type=int, default=30, help="statements of each store, those that took most"
        )
        parser.add_argument("--runs", type=int, default=3, help="of each statement (1 to 100)")
        parser.add_argument(
            "--profile-seconds",
            type=float,
            metavar="SECONDS",
            help="let MongoDB's profiler keep every command for so long first",
        )
        parser.add_argument("--json", action="store_true", help="for programs")
        parser.add_argument(
            "--write",
            type=Path,
            nargs="?",
            const=_OWN_FOLDER,
            metavar="FOLDER",
            help="write the migrations: into those of the apps, or into FOLDER",
        )

    def handle(self, *args: Any, store: str | None, **options: Any) -> None:
        for name, most in (("limit", 1_000), ("runs", 100)):
            if not 1 <= options[name] <= most:
                raise CommandError(f"--{name} {options[name]}: must be from 1 to {most}.")
        advice, candidates = self._advise(store, options)
        if options["json"]:
            self.stdout.write(json.dumps(msgspec.to_builtins(advice), indent=1))
        else:
            self.stdout.write("\n".join(line for one in advice for line in text_report.lines(one)))
        if options["write"] is not None:
            self._write(candidates, options["write"])

    def _advise(
        self, store: str | None, options: dict[str, Any]
    ) -> tuple[list[Advice], list[Candidate]]:
        advice: list[Advice] = []
        candidates: list[Candidate] = []
        limits: dict[str, Any] = {"limit": options["limit"], "runs": options["runs"]}
        try:
            if store in (None, "postgres"):
                found, candidates = postgres.advise(**limits, tell=self._tell)
                advice.append(found)
            if store in (None, "mongodb"):
                self._profile(options["profile_seconds"])
                advice.append(mongodb.advise(**limits, tell=self._tell))
        except KeyboardInterrupt:
            self.stderr.write("Interrupted: whatever was made or dropped was taken back.")
            sys.exit(INTERRUPTED)
        except TrialsRefused as exc:
            raise CommandError(str(exc)) from exc
        except CacheDown as exc:
            raise CommandError("Redis, which keeps what ran, does not answer.") from exc
        except DatabaseError as exc:
            raise CommandError(f"PostgreSQL: {str(exc).splitlines()[0]}") from exc
        except PyMongoError as exc:
            raise CommandError(f"MongoDB: {str(exc).splitlines()[0]}") from exc
        return advice, candidates

    def _profile(self, seconds: float | None) -> None:
        if seconds is None:
            return
        self._tell(f"profiling MongoDB for {seconds:g} s")
        with mongodb_profiler.at_level(mongodb_profiler.EVERYTHING):
            mongodb_profiler.wait(seconds)

    def _write(self, candidates: Sequence[Candidate], folder: Path) -> None:
        try:
            written = migration.write(candidates, None if folder == _OWN_FOLDER else folder)
        except OSError as exc:
            raise CommandError(f"{exc.filename}: {exc.strerror}") from exc
        for path in written:
            self.stderr.write(f"{path} written; put the lines above into the model's Meta.indexes.")
        if not written:
            self.stderr.write("No migration written: there is no index to make in PostgreSQL.")

    def _tell(self, what: str) -> None:
        if self.stderr.isatty():
            self.stderr.write(what)
