"""manage.py rename_user: one user id for another, over the profile and its events."""

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
        "Give a profile and all its events another user id: all of them or, where anything fails, "
        "none. Notes keep their owner."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("old", help="the user id that there is")
        parser.add_argument("new", help="the user id that it becomes; without a profile or events")

    def handle(self, *args: Any, old: str, new: str, **options: Any) -> None:
        if not re.fullmatch(NEW_USER_ID_PATTERN, new):
            raise CommandError(f"{new}: must be {USER_ID_RULE} and not reserved.")
        try:
            events = users.user_rename(old=old, new=new)
        except (users.CannotRename, Taken) as exc:
            raise CommandError(str(exc)) from exc
        except (PyMongoError, DatabaseError) as exc:
            raise CommandError(f"nothing was renamed: {str(exc).splitlines()[0]}") from exc
        self.stdout.write(f"{old} is {new} now: the profile and {events} events.")
