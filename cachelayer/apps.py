from django.apps import AppConfig


class CachelayerConfig(AppConfig):
    name = "cachelayer"
    default_auto_field = "django.db.models.BigAutoField"  # as in its migrations

    def ready(self) -> None:
        from cachelayer import checks  # noqa: F401, PLC0415  # registered by being imported
