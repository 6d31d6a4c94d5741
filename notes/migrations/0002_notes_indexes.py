import django.contrib.postgres.indexes
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

import notes.models


class Migration(migrations.Migration):
    """
    The four indexes, made and dropped without locking the table.

    `manage.py migrate notes 0001` drops exactly these, `manage.py migrate notes` makes them again.
    """

    atomic = False  # CREATE INDEX CONCURRENTLY runs outside of transactions
    dependencies = [("notes", "0001_notes")]

    operations = [
        AddIndexConcurrently("note", models.Index(fields=["user_id"], name="idx_notes_user_id")),
        AddIndexConcurrently(
            "note", models.Index(fields=["-created_at"], name="idx_notes_created_at")
        ),
        AddIndexConcurrently(
            "note",
            django.contrib.postgres.indexes.GinIndex(
                notes.models.TitleVector("title"), name="idx_notes_title_search"
            ),
        ),
        AddIndexConcurrently(
            "note",
            models.Index(fields=["user_id", "-created_at"], name="idx_notes_user_created"),
        ),
    ]
