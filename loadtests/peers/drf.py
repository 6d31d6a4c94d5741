"""
Django with DRF's ModelViewSet over the table of notes, as one would write it who knows both well.

JSON only, no middleware, no authentication, a pool of connections. With REDIS_URL
set, django-cacheops caches rows, pages and counts, and invalidates them at each write.
DATABASE_URL is one of the stack's. The triggers of the table are the site's own, so they do not fire here.
"""

import os
from typing import Any
from uuid import uuid4

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from psycopg.conninfo import conninfo_to_dict

_IS_CACHED = "REDIS_URL" in os.environ
_database = conninfo_to_dict(os.environ["DATABASE_URL"])
settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    TIME_ZONE="UTC",
    USE_TZ=True,
    INSTALLED_APPS=["loadtests.peers", "rest_framework", *(["cacheops"] if _IS_CACHED else [])],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": _database["dbname"],
            "USER": _database["user"],
            "PASSWORD": _database["password"],
            "HOST": _database["host"],
            "PORT": _database["port"],
            "OPTIONS": {
                "options": "-c session_replication_role=replica",
                "pool": {"min_size": 8, "max_size": 8},
            },
        }
    },
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "UNAUTHENTICATED_USER": None,
        "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
        "PAGE_SIZE": 20,
    },
    CACHEOPS_REDIS=os.environ.get("REDIS_URL"),
    CACHEOPS={"peers.*": {"ops": {"get", "fetch", "count"}, "timeout": 300}},
)
django.setup()

# Django's classes can only be imported once it is set up.
from django.db import models  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from rest_framework import routers, serializers, viewsets  # noqa: E402


class Note(models.Model):
    """A note, in the site's table."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    user_id = models.CharField(max_length=128)
    title = models.CharField(max_length=200)
    content = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    version = models.PositiveIntegerField(default=1)

    objects: models.Manager["Note"] = models.Manager()

    class Meta:
        app_label = "peers"
        managed = False
        db_table = "notes"
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.title


class NoteSerializer(serializers.ModelSerializer):
    """All fields; a client sets title and content."""

    class Meta:
        model = Note
        fields = ["id", "user_id", "title", "content", "created_at", "updated_at", "version"]
        read_only_fields = ["user_id", "version"]


class NoteViewSet(viewsets.ModelViewSet):
    """The endpoints of notes, with a filter by user."""

    queryset = Note.objects.all()
    serializer_class = NoteSerializer

    def get_queryset(self) -> Any:
        """Return the notes of the user that ?userId= names, or all."""
        user_id = self.request.GET.get("userId")
        return self.queryset.filter(user_id=user_id) if user_id else self.queryset.all()

    def perform_create(self, serializer: Any) -> None:
        """Save a note of the user that the request names."""
        serializer.save(user_id=self.request.headers.get("X-User-Id", "demo"))

    def perform_update(self, serializer: Any) -> None:
        """Save the note as its next version."""
        serializer.save(version=serializer.instance.version + 1)


router = routers.SimpleRouter(trailing_slash=False)
router.register("notes", NoteViewSet)
urlpatterns = [
    path("api/v1/", include(router.urls)),
    path("health/ready", lambda request: HttpResponse()),
]
application = get_wsgi_application()
