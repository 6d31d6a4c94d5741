"""manage.py activity_reconcile: compare acknowledged with stored events."""

import sys
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from pymongo.errors import PyMongoError

from activity import reconciliation, selectors, services
from activity.time_window import YEARS, parse_moment

_TIMEOUT_SECONDS = 300


class Command(BaseCommand):
    help = (
        "Compare the events that this machine's spool has acknowledged with those that MongoDB has "
        "stored. Exit status 1 if any is lost or stored twice. Safe to run while the site is serving."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            type=_moment,
            help="compare events from this time on, such as 2026-01-31T12:00:00Z (default: 24 hours ago)",
        )

    def handle(self, *args: Any, since: datetime | None, **options: Any) -> None:
        start = since or datetime.now(UTC) - timedelta(hours=24)
        folder = settings.ACTIVITY_SPOOL_DIR
        try:
            selectors.events_exist()  # is MongoDB there? Within the deadline of requests
            with pymongo.timeout(_TIMEOUT_SECONDS):
                account = reconciliation.activity_reconcile(
                    since=start, folder=services.own_spool().folder
                )
        except PyMongoError as exc:
            raise CommandError(f"MongoDB: {str(exc).splitlines()[0]}") from exc
        except OSError as exc:
            raise CommandError(f"the spool in {folder}: {exc}") from exc
        self.stdout.write(
            f"{account.acknowledged} acknowledged, {account.stored} stored, "
            f"{account.waiting} waiting, {account.dropped} dropped, {account.lost} lost, "
            f"{account.doubled} doubled ({account.elsewhere} stored from elsewhere)"
        )
        if account.set_aside or account.damaged_files:
            self.stdout.write(
                f"{account.set_aside} set aside: they could not be read, or MongoDB refused them; "
                f"{account.damaged_events} acknowledged events may be in "
                f"{account.damaged_files} damaged files in {folder}"
            )
        if account.lost or account.doubled:
            sys.exit(1)


def _moment(text: str) -> datetime:
    """Return the time, in UTC where it names no zone. Raises ArgumentTypeError."""
    moment = parse_moment(text, is_typed=True)
    if moment is None or moment.second.year not in YEARS:
        raise ArgumentTypeError(f"{text!r} is no time in the years {YEARS[0]} to {YEARS[-1]}")
    return moment.second
