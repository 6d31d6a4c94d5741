from django.apps import AppConfig


class CachelayerConfig(AppConfig):
    name = "cachelayer"
