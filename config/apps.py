"""The site's own application: it opens MongoDB once in each process, lazily."""

from django.apps import AppConfig
from django.conf import settings


class SiteConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        import mongoengine  # noqa: PLC0415  # registers itself with the apps that are ready by now

        from config import schema  # noqa: F401, PLC0415  # registers the OpenAPI extension

        mongoengine.connect(
            host=settings.MONGODB_URI,
            connect=False,  # no socket and no thread before the server has forked
            uuidRepresentation="standard",
            tz_aware=True,
            appname="trilith",
            timeoutMS=settings.MONGODB_TIMEOUT_MS,
            serverSelectionTimeoutMS=settings.MONGODB_TIMEOUT_MS,
            connectTimeoutMS=settings.MONGODB_TIMEOUT_MS,
            maxPoolSize=settings.MONGODB_POOL_MAX,
        )
