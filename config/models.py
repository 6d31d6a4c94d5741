"""Models of the site's own admin pages; none has a table."""

from django.db import models


class Store(models.Model):
    """One of the three servers (config.observability.database_metrics); a model for its permission."""

    class Meta:
        managed = False
        default_permissions = ("view",)
        verbose_name = "store"
        verbose_name_plural = "stores"

    def __str__(self) -> str:
        return "a store"


class SlowStatement(models.Model):
    """A slow statement, stored in Redis (config.observability.slow_queries); a model for its permissions."""

    class Meta:
        managed = False
        default_permissions = ("view",)
        permissions = [("explain_slowstatement", "Can explain a slow statement")]
        verbose_name = "slow query"
        verbose_name_plural = "slow queries"

    def __str__(self) -> str:
        return "a slow query"
