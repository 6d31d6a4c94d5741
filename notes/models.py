"""The notes table, its constraints, and each index with the query that it serves."""

import uuid

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Length, Now

from config.web.user_ids import USER_ID_PATTERN, USER_ID_RULE
from notes.limits import CONTENT_MAX_CHARACTERS, TITLE_MAX_CHARACTERS

models.CharField.register_lookup(Length)  # title__length, content__length in the constraints below
models.TextField.register_lookup(Length)


class TitleVector(models.Func):
    """
    to_tsvector('english', title), spelled exactly as in idx_notes_title_search.

    Django's SearchVector wraps its columns in COALESCE, and an index is used only for the very
    expression that it was made on.
    """

    function = "to_tsvector"
    template = "%(function)s('english'::regconfig, %(expressions)s)"
    output_field = SearchVectorField()
    arity = 1


class RandomUUID(models.Func):
    """gen_random_uuid(), so that an INSERT in psql needs no id."""

    template = "gen_random_uuid()"
    output_field = models.UUIDField()
    arity = 0


class Note(models.Model):
    """A note of a user. Only notes.services writes notes."""

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False
    )
    user_id = models.CharField(
        max_length=128,
        validators=[RegexValidator(USER_ID_PATTERN, USER_ID_RULE)],
    )
    title = models.CharField(max_length=TITLE_MAX_CHARACTERS)
    content = models.TextField(blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    version = models.PositiveIntegerField(db_default=1)

    class Meta:
        db_table = "notes"
        constraints = [
            models.CheckConstraint(
                name="notes_user_id_format", condition=models.Q(user_id__regex=USER_ID_PATTERN)
            ),
            models.CheckConstraint(
                name="notes_title_not_empty", condition=models.Q(title__length__gte=1)
            ),
            models.CheckConstraint(
                name="notes_content_length",
                condition=models.Q(content__length__lte=CONTENT_MAX_CHARACTERS),
            ),
            models.CheckConstraint(name="notes_version_from_1", condition=models.Q(version__gte=1)),
        ]
        indexes = [
            # How many notes a user has: the count of a page of one user's list.
            models.Index(fields=["user_id"], name="idx_notes_user_id"),
            # The list over all users, newest first, by page and by cursor.
            models.Index(fields=["-created_at"], name="idx_notes_created_at"),
            # ?q=: words in the title.
            GinIndex(TitleVector("title"), name="idx_notes_title_search"),
            # One user's list, newest first, by page and by cursor.
            models.Index(fields=["user_id", "-created_at"], name="idx_notes_user_created"),
        ]

    def __str__(self) -> str:
        return self.title
