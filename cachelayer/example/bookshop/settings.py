"""The settings of the example."""

import logging
import os
from pathlib import Path

import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("SECRET_KEY", "of the example alone")
INSTALLED_APPS = ["cachelayer", "books"]
ROOT_URLCONF = "bookshop.urls"
WSGI_APPLICATION = "bookshop.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "bookshop"}}
CACHES = {
    "default": {
        "BACKEND": "cachelayer.django_cache.SharedRedisCache",
        "LOCATION": os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
        "KEY_PREFIX": "bookshop-django",
        "OPTIONS": {
            "CONNECTION_POOL_CLASS": "cachelayer.client.Pool",
            "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "SOCKET_CONNECT_TIMEOUT": 0.1,  # seconds
            "SOCKET_TIMEOUT": 0.1,
        },
    }
}
CACHELAYER = {"NAME": "bookshop", "PREFIX": "bookshop"}
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
