"""What Django knows of events: a name, and the permission to view them. There is no table."""

from django.db import models


class NoRows(models.Manager):
    """Finds nothing, and asks nobody."""

    def get_queryset(self) -> models.QuerySet:
        return super().get_queryset().none()


class Event(models.Model):
    """An event, for the admin and its permissions. Events are kept by activity.documents."""

    objects = NoRows()

    class Meta:
        managed = False
        base_manager_name = "objects"  # dumpdata --all, too, finds nothing
        default_permissions = ("view",)
        verbose_name = "event"
        verbose_name_plural = "activity"

    def __str__(self) -> str:
        return "event"
