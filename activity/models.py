"""A model without a table, which gives Django a name for events and a permission to view them."""

from django.db import models


class NoRows(models.Manager):
    """Returns no rows and sends no query."""

    def get_queryset(self) -> models.QuerySet:
        return super().get_queryset().none()


class Event(models.Model):
    """An event, for the admin and its permissions. activity.documents stores them."""

    objects = NoRows()

    class Meta:
        managed = False
        base_manager_name = "objects"  # dumpdata --all, too, finds nothing
        default_permissions = ("view",)
        verbose_name = "event"
        verbose_name_plural = "activity"

    def __str__(self) -> str:
        return "event"
