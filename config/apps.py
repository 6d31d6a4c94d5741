"""The site's own application: registers checks, schema and hooks, and opens the MongoDB client."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        # They register: checks with Django, preferences with OpenAPI, slow queries with tracing.
        from config import checks  # noqa: F401, PLC0415
        from config.mongodb import client as mongodb_client  # noqa: PLC0415
        from config.observability import slow_queries  # noqa: F401, PLC0415
        from profiles.api import schema  # noqa: F401, PLC0415

        mongodb_client.connect()  # mongoengine registers itself with the apps that are ready by now
