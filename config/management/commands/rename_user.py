"""manage.py rename_user: change a user id in the profile and in its events."""

import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from pymongo.errors import PyMongoError

from config import users
from config.web.user_ids import USER_ID_RULE
from profiles.limits import NEW_USER_ID_PATTERN
from profiles.stores import Taken


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
            events = users.user_rename(old=old, new=new)
        except (users.CannotRename, Taken) as exc:
            raise CommandError(str(exc)) from exc
        except (PyMongoError, DatabaseError) as exc:
            raise CommandError(f"nothing was renamed: {str(exc).splitlines()[0]}") from exc
        self.stdout.write(f"Renamed {old} to {new}: the profile and {events} events.")
