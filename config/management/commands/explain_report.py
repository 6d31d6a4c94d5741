"""manage.py explain_report: plans and times of the site's own queries, with and without each index."""

import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from pymongo.errors import PyMongoError

from config import output_file
from config.explain import build_report, render_html, render_markdown, render_text
from config.explain.build_report import ReportOptions, UnknownQuery
from config.explain.report import Report
from config.explain.samples import NoSampleData
from config.explain.sandbox import DdlNotAllowed
from config.management.progress import show_progress
from config.output_file import Unwritable

FORMATS: Final = ("text", "md", "json", "html")
INTERRUPTED: Final = 130  # exit status, as a shell reports SIGINT
_NARROWEST: Final = 100  # columns; narrower than that the tables become unreadable


class Command(BaseCommand):
    help = "Measure the site's own queries, and what each index saves."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--query",
            action="append",
            default=[],
            metavar="NAME",
            help="only this query; repeatable",
        )
        parser.add_argument("--format", choices=FORMATS, default="text")
        parser.add_argument(
            "--out", type=Path, help="write to this file instead of standard output"
        )
        parser.add_argument(
            "--read",
            type=Path,
            metavar="JSON",
            help="do not measure: write this earlier report again",
        )
        parser.add_argument(
            "--runs", type=int, default=5, help="how often each statement is measured (1 to 100)"
        )
        parser.add_argument(
            "--drop-indexes",
            action="store_true",
            help="also measure without each index, in transactions that are rolled back; "
            "needs ALLOW_EXPLAIN_DDL=true",
        )

    def handle(self, *args: Any, runs: int, out: Path | None, **options: Any) -> None:
        if not 1 <= runs <= 100:
            raise CommandError(f"--runs {runs}: must be from 1 to 100.")
        requested = ReportOptions(
            queries=options["query"],
            runs=runs,
            with_trials=options["drop_indexes"],
            command=_command(runs, options),
        )
        try:
            if out is not None:
                output_file.refuse_unwritable(out)
            earlier = options["read"]
            report = self._take(requested) if earlier is None else _read(earlier)
            written = _written(report, options["format"], is_file=out is not None)
            if out is None:
                self.stdout.write(written)
                return
            output_file.write(out, written)
        except Unwritable as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"{out} written.")

    def _take(self, requested: ReportOptions) -> Report:
        try:
            return build_report.build(requested, on_progress=partial(show_progress, self.stderr))
        except KeyboardInterrupt:
            self.stderr.write("Interrupted: everything dropped or inserted was rolled back.")
            sys.exit(INTERRUPTED)
        except (UnknownQuery, NoSampleData, DdlNotAllowed) as exc:
            raise CommandError(str(exc)) from exc
        except DatabaseError as exc:
            raise CommandError(f"PostgreSQL: {str(exc).splitlines()[0]}") from exc
        except PyMongoError as exc:
            raise CommandError(f"MongoDB: {str(exc).splitlines()[0]}") from exc


def _read(earlier: Path) -> Report:
    try:
        return msgspec.json.decode(earlier.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise CommandError(f"{earlier}: {exc}") from exc


def _command(runs: int, options: dict[str, Any]) -> str:
    words = ["manage.py", "explain_report", "--runs", str(runs)]
    for name in options["query"]:
        words += ["--query", name]
    if options["drop_indexes"]:
        words.append("--drop-indexes")
    return shlex.join(words)


def _written(report: Report, form: str, *, is_file: bool) -> str:
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
    if form == "html":
        return render_html.render(report)
    if form == "md":
        return render_markdown.render(report)
    width = max(_NARROWEST, shutil.get_terminal_size((120, 24)).columns)
    return render_text.render(report, width=width, colour=not is_file and sys.stdout.isatty())
