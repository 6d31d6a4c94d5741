"""manage.py reshape_profiles: rewrite profile documents of older shapes in the present one."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from pymongo.errors import PyMongoError

from profiles import services


class Command(BaseCommand):
    help = (
        "Rewrite profile documents of older shapes in MongoDB in the present one. The site reads "
        "old shapes as they are; run this before you index or query a field that has moved. Safe "
        "to repeat."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        reshaped = 0
        try:
            for number in services.profiles_reshape():
                reshaped += number
        except PyMongoError as exc:
            raise CommandError(
                f"MongoDB failed after {reshaped} profiles: {str(exc).splitlines()[0]}"
            ) from exc
        self.stdout.write(f"{reshaped} profiles rewritten.")
