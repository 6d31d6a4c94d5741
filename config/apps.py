"""The site's own application: it opens MongoDB once in each process, lazily."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        # They register: checks with Django, schema with OpenAPI, observing with the timings.
        from config import checks, mongodb, observing, schema  # noqa: F401, PLC0415

        mongodb.connect()  # mongoengine registers itself with the apps that are ready by now
