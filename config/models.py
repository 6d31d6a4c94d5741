"""Models of the site's own admin pages; none has a table."""

from django.db import models


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
