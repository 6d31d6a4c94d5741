"""The site's own application: it opens MongoDB once in each process, lazily."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        from config import mongodb, schema  # noqa: F401, PLC0415  # schema registers with OpenAPI

        mongodb.connect()  # mongoengine registers itself with the apps that are ready by now
