"""manage.py reshape_profiles: documents of older shapes, written back in the present one."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from pymongo.errors import PyMongoError

from profiles import services


class Command(BaseCommand):
    help = (
        "Write profiles of older shapes back in the present one, in MongoDB. Reading needs no "
        "such thing; it is for indexes and queries over a field that moved. Safe to repeat."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        reshaped = 0
        try:
            for number in services.profiles_reshape():
                reshaped += number
        except PyMongoError as exc:
            raise CommandError(f"MongoDB, after {reshaped}: {str(exc).splitlines()[0]}") from exc
        self.stdout.write(f"{reshaped} profiles written back.")
