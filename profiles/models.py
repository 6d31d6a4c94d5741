"""The mirror of the profiles in PostgreSQL: the same fields, preferences as jsonb."""

from django.contrib.postgres.indexes import GinIndex
from django.db import models

from profiles.limits import EMAIL_MAX_BYTES
from profiles.preferences import canonical
from profiles.records import Metadata, ProfileRecord, to_milliseconds


class ProfileRow(models.Model):
    """One user's profile. With PROFILE_BACKEND=postgres all of /profiles is served from here."""

    user_id = models.CharField(max_length=128, primary_key=True)  # GET /profiles/{user_id}
    email = models.CharField(max_length=EMAIL_MAX_BYTES)
    # profiles.emails.email_key; null where another profile has had the address since before the rule.
    email_key = models.TextField(null=True)  # noqa: DJ001  # unique but for null
    preferences = models.JSONField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    last_login = models.DateTimeField(null=True)
    version = models.IntegerField(default=1)

    class Meta:
        db_table = "user_profiles"
        verbose_name = "profile"
        constraints = [
            # One profile for each address, compared without case.
            models.UniqueConstraint(fields=["email_key"], name="user_profiles_email_key_unique"),
        ]
        indexes = [
            # Profiles with a preference, such as preferences @> '{"theme": "dark"}'.
            GinIndex(
                fields=["preferences"],
                opclasses=["jsonb_path_ops"],
                name="idx_profiles_preferences",
            ),
        ]

    def __str__(self) -> str:
        return self.user_id


def record(row: ProfileRow) -> ProfileRecord:
    """Return the record of a row."""
    return ProfileRecord(
        user_id=row.user_id,
        email=row.email,
        preferences=canonical(row.preferences),
        metadata=Metadata(
            to_milliseconds(row.created_at),
            to_milliseconds(row.updated_at),
            row.last_login and to_milliseconds(row.last_login),
        ),
        version=row.version,
    )
