"""manage.py rename_user: change a user id in the profile and in its events."""

import re
import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from pymongo.errors import PyMongoError

from config import users
from config.web.user_ids import USER_ID_RULE
from profiles.limits import NEW_USER_ID_PATTERN
from profiles.stores import AlreadyExists


class Command(BaseCommand):
    help = (
        "Change the user id of a profile and of all its events, in one transaction. Notes keep "
        "their owner."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("old", help="the current user id")
        parser.add_argument("new", help="the new user id, which must have no profile and no events")

    def handle(self, *args: Any, old: str, new: str, **options: Any) -> None:
        if not re.fullmatch(NEW_USER_ID_PATTERN, new):
            raise CommandError(f"{new}: must be {USER_ID_RULE} and not reserved.")
        try:
            old.encode()  # no more: an id of an earlier version may break the rule for new ones
        except UnicodeEncodeError as exc:
            raise CommandError(f"{old!a}: is not UTF-8, as every user id is.") from exc
        steps: list[str] = []
        try:
            events = users.user_rename(old=old, new=new, on_step=steps.append)
        except KeyboardInterrupt:
            self.stderr.write(f"Interrupted: {_outcome(steps, old, new)}.")
            sys.exit(130)
        except users.CannotRename as exc:
            raise CommandError(str(exc)) from exc
        except (PyMongoError, DatabaseError, AlreadyExists) as exc:
            outcome = f"{_outcome(steps, old, new)}: {str(exc).splitlines()[0]}"
            if users.RENAMED not in steps:
                raise CommandError(outcome) from exc
            self.stdout.write(outcome)
            return
        self.stdout.write(f"Renamed {old} to {new}: the profile and {events} events.")


def _outcome(steps: Sequence[str], old: str, new: str) -> str:
    if users.RENAMED in steps:
        return (
            f"{old} was renamed to {new}, with all events, but the copy of the profile in the other "
            "store was not: run manage.py copy_profiles"
        )
    if users.COMMITTING in steps:
        return f"it is not known whether {old} was renamed; all was if {new} has a profile now"
    return "nothing was renamed"
