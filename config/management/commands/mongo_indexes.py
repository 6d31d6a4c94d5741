"""manage.py mongo_indexes: create, compare or drop the indexes that the documents declare."""

from typing import Any

import mongoengine as me
from django.core.management.base import BaseCommand, CommandError, CommandParser
from pymongo.errors import PyMongoError

from activity.documents import ActivityEvent
from config.mongodb import indexes
from profiles.documents import UserProfile
from profiles.mongodb import fill_email_keys

DOCUMENTS: tuple[type[me.Document], ...] = (UserProfile, ActivityEvent)
# Of earlier versions: --ensure drops them once their replacements exist.
RETIRED = {"user_profiles": {"email_unique"}}


class Command(BaseCommand):
    help = "Create, compare or drop the indexes of the MongoDB collections."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument(
            "--ensure",
            action="store_true",
            help="create missing indexes, change expireAfterSeconds",
        )
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
        except indexes.IndexDiffers as exc:
            raise CommandError(str(exc)) from exc
        except PyMongoError as exc:
            raise CommandError(f"MongoDB: {str(exc).splitlines()[0]}") from exc

    def _ensure(self) -> None:
        for document in DOCUMENTS:
            indexes.ensure(document)
            retired = RETIRED.get(_collection(document), set())
            for name in sorted(indexes.present(document).keys() & retired):
                me.get_db()[_collection(document)].drop_index(name)
            self.stdout.write(
                f"{_collection(document)}: {', '.join(sorted(indexes.declared(document)))}"
            )
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
            declared, present = indexes.declared(document), indexes.present(document)
            for name in sorted(declared.keys() - present.keys()):
                self.stdout.write(f"{_collection(document)}: missing {name}")
            for name in sorted(present.keys() - declared.keys()):
                self.stdout.write(f"{_collection(document)}: not declared {name}")
            changed = indexes.differences(document)
            for name, options in changed.items():
                for option in options:
                    self.stdout.write(
                        f"{_collection(document)}: {name} has {option} {present[name].get(option)}, "
                        f"declared is {declared[name].get(option)}"
                    )
            differences += len(declared.keys() ^ present.keys()) + len(changed)
        if differences:
            raise CommandError(
                f"{differences} indexes differ; --ensure creates the missing ones and changes "
                "expireAfterSeconds; others have to be dropped (dropIndexes)"
            )
        self.stdout.write("The indexes are as declared.")


def _collection(document: type[me.Document]) -> str:
    return str(document._meta["collection"])
