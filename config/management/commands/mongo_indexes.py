"""manage.py mongo_indexes: create, compare or drop the indexes that the documents declare."""

from typing import Any

import mongoengine as me
from django.core.management.base import BaseCommand, CommandError, CommandParser
from pymongo.errors import PyMongoError

from activity.documents import ActivityEvent
from profiles.documents import UserProfile
from profiles.mongodb import fill_email_keys

DOCUMENTS: tuple[type[me.Document], ...] = (UserProfile, ActivityEvent)
# Of earlier versions: --ensure drops them once their replacements exist.
RETIRED = {"user_profiles": {"email_unique"}}


class Command(BaseCommand):
    help = "Create, compare or drop the indexes of the MongoDB collections."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--ensure", action="store_true", help="create missing indexes")
        what.add_argument(
            "--diff", action="store_true", help="list differences; exit status 1 if there are any"
        )
        what.add_argument("--drop", action="store_true", help="drop all indexes but _id")

    def handle(self, *args: Any, ensure: bool, drop: bool, **options: Any) -> None:
        try:
            if ensure:
                self._ensure()
            elif drop:
                self._drop()
            else:
                self._diff()
        except PyMongoError as exc:
            raise CommandError(f"MongoDB: {str(exc).splitlines()[0]}") from exc

    def _ensure(self) -> None:
        for document in DOCUMENTS:
            document.ensure_indexes()
            for name in sorted(_present(document) & RETIRED.get(_collection(document), set())):
                me.get_db()[_collection(document)].drop_index(name)
            self.stdout.write(f"{_collection(document)}: {', '.join(sorted(_declared(document)))}")
        # The change stream then knows whose profile it was that somebody deleted.
        me.get_db().command(
            "collMod", _collection(UserProfile), changeStreamPreAndPostImages={"enabled": True}
        )
        for user_id in fill_email_keys():
            self.stderr.write(
                f"user_profiles: {user_id} has the e-mail address of another profile, "
                "ignoring case. Neither was changed; give one of them another address."
            )

    def _drop(self) -> None:
        for document in DOCUMENTS:
            me.get_db()[_collection(document)].drop_indexes()
            self.stdout.write(f"{_collection(document)}: every index but _id_ dropped")

    def _diff(self) -> None:
        differences = 0
        for document in DOCUMENTS:
            declared, present = _declared(document), _present(document)
            for name in sorted(declared - present):
                self.stdout.write(f"{_collection(document)}: missing {name}")
            for name in sorted(present - declared):
                self.stdout.write(f"{_collection(document)}: not declared {name}")
            differences += len(declared ^ present)
        if differences:
            raise CommandError(f"{differences} indexes differ; --ensure creates the missing ones")
        self.stdout.write("The indexes are as declared.")


def _collection(document: type[me.Document]) -> str:
    return str(document._meta["collection"])


def _declared(document: type[me.Document]) -> set[str]:
    return {index["name"] for index in document._meta["indexes"]}


def _present(document: type[me.Document]) -> set[str]:
    return set(me.get_db()[_collection(document)].index_information()) - {"_id_"}
