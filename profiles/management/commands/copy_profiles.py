"""manage.py copy_profiles: copy all profiles to the other store."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import Progress

from profiles import backends, services


class Command(BaseCommand):
    help = "Copy every profile from the store of PROFILE_BACKEND to the other one. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        terminal = self.stdout.isatty()
        copied = refused = 0
        try:
            with Progress(console=Console(file=sys.stderr), disable=not terminal) as progress:
                task = progress.add_task("profiles", total=backends.primary().count())
                for compared in services.profiles_copy():
                    copied += compared.profiles - compared.refused
                    refused += compared.refused
                    progress.advance(task, compared.profiles)
        except KeyboardInterrupt:
            self.stderr.write(
                f"Interrupted after {copied} profiles. Run it again: it starts over, safely."
            )
            sys.exit(130)
        except (DatabaseError, PyMongoError) as exc:
            raise CommandError(
                f"{str(exc).splitlines()[0]}, after {copied} profiles. Run it again."
            ) from exc
        self.stdout.write(
            f"{copied} profiles copied from {settings.PROFILE_BACKEND} to the other store."
        )
        if refused:
            self.stderr.write(
                f"{refused} were not copied, since the other store cannot hold what they contain; "
                "the log names them."
            )
