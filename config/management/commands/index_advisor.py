"""manage.py index_advisor: which indexes would make the recorded statements faster."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from pymongo.errors import PyMongoError

from cachelayer.client import CacheDown
from config import output_file
from config.advisor import migration, mongodb, mongodb_profiler, postgres, text_report
from config.advisor.advice import Advice
from config.advisor.postgres_candidates import Candidate
from config.explain.sandbox import DdlNotAllowed
from config.management.bounds import check_bounds
from config.management.progress import show_progress
from config.output_file import Unwritable

INTERRUPTED: Final = 130  # exit status, as a shell has it for SIGINT
_BOUNDS: Final = {"limit": (1, 1_000), "runs": (1, 100), "profile_seconds": (0.1, 3_600)}
_INTO_THE_APPS: Final = object()  # no Path, whose "." is a folder like others


class Command(BaseCommand):
    help = "Propose indexes for the recorded statements, each built and measured; needs ALLOW_EXPLAIN_DDL=true."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--store", choices=("postgres", "mongodb"), help="default: both")
        parser.add_argument(
            "--limit",
            type=int,
            default=30,
            help="how many statements of each store, the slowest in total first",
        )
        parser.add_argument(
            "--runs", type=int, default=3, help="how often each statement is measured (1 to 100)"
        )
        parser.add_argument(
            "--profile-seconds",
            type=float,
            metavar="SECONDS",
            help="first have MongoDB's profiler record every command for this long",
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "--write",
            type=_folder,
            nargs="?",
            const=_INTO_THE_APPS,
            metavar="FOLDER",
            help="write migrations into the apps, or into FOLDER",
        )

    def handle(self, *args: Any, store: str | None, **options: Any) -> None:
        check_bounds(options, _BOUNDS)
        if isinstance(options["write"], Path):
            try:
                output_file.refuse_unwritable_folder(options["write"])
            except Unwritable as exc:
                raise CommandError(str(exc)) from exc
        advice, candidates = self._advise(store, options)
        if options["json"]:
            self.stdout.write(json.dumps(msgspec.to_builtins(advice), indent=1))
        else:
            self.stdout.write(
                "\n".join(
                    line for store_advice in advice for line in text_report.lines(store_advice)
                )
            )
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
                store_advice, candidates = postgres.advise(
                    **limits, on_progress=partial(show_progress, self.stderr)
                )
                advice.append(store_advice)
            if store in (None, "mongodb"):
                self._profile(options["profile_seconds"])
                advice.append(
                    mongodb.advise(**limits, on_progress=partial(show_progress, self.stderr))
                )
        except KeyboardInterrupt:
            self.stderr.write("Interrupted: everything created or dropped was undone.")
            sys.exit(INTERRUPTED)
        except DdlNotAllowed as exc:
            raise CommandError(str(exc)) from exc
        except CacheDown as exc:
            raise CommandError(
                "Redis, which holds the site's own count of statements, does not answer."
            ) from exc
        except DatabaseError as exc:
            raise CommandError(f"PostgreSQL: {str(exc).splitlines()[0]}") from exc
        except PyMongoError as exc:
            raise CommandError(f"MongoDB: {str(exc).splitlines()[0]}") from exc
        return advice, candidates

    def _profile(self, seconds: float | None) -> None:
        if seconds is None:
            return
        show_progress(self.stderr, f"profiling MongoDB for {seconds:g} s")
        with mongodb_profiler.at_level(mongodb_profiler.EVERYTHING):
            mongodb_profiler.wait(seconds)

    def _write(self, candidates: Sequence[Candidate], folder: Any) -> None:
        try:
            written = migration.write(candidates, None if folder is _INTO_THE_APPS else folder)
        except OSError as exc:
            raise CommandError(f"{exc.filename}: {exc.strerror}") from exc
        for path in written:
            self.stderr.write(f"{path} written; add the lines above to the model's Meta.indexes.")
        if not written:
            self.stderr.write("No migration written: no index is proposed for PostgreSQL.")


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must be a folder, not an empty text")
    return Path(text)
