"""What the site itself shows in the admin; nothing of it has a table."""

from django.db import models


class SlowStatement(models.Model):
    """A statement that was slow: kept in Redis (config.observability.slow_queries); here for its permissions."""

    class Meta:
        managed = False
        default_permissions = ("view",)
        permissions = [("explain_slowstatement", "Can explain a slow statement")]
        verbose_name = "slow query"
        verbose_name_plural = "slow queries"

    def __str__(self) -> str:
        return "a slow query"
