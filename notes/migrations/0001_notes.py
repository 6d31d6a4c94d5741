import uuid

import django.core.validators
import django.db.models.functions.datetime
from django.db import migrations, models

import notes.models


class Migration(migrations.Migration):
    initial = True
    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="Note",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=notes.models.RandomUUID(),
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "user_id",
                    models.CharField(
                        max_length=128,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[A-Za-z0-9._@:-]{1,128}$",
                                "1 to 128 characters of A-Z a-z 0-9 . _ @ : -",
                            )
                        ],
                    ),
                ),
                ("title", models.CharField(max_length=200)),
                ("content", models.TextField(blank=True, db_default="")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("version", models.PositiveIntegerField(db_default=1)),
            ],
            options={
                "db_table": "notes",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(user_id__regex="^[A-Za-z0-9._@:-]{1,128}$"),
                        name="notes_user_id_format",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(title__length__gte=1), name="notes_title_not_empty"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(content__length__lte=100000),
                        name="notes_content_length",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(version__gte=1), name="notes_version_from_1"
                    ),
                ],
            },
        ),
    ]
