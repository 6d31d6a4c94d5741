"""Migrations that run while the code before them serves: expand first, contract in a later version."""

from pathlib import Path

import pytest
from django.apps import apps
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django_migration_linter import MigrationLinter

from cachelayer import outbox, trust
from cachelayer.models import OutboxRow
from config.stack import ROOT

pytestmark = pytest.mark.django_db(transaction=True)

OURS = {app.label for app in apps.get_app_configs() if Path(app.path).parent == ROOT}
# What the code before it could not run with, and why it is there nevertheless.
FOR_A_STOPPED_SITE = {
    "0003_email_key": "from before there were several instances: it exchanges a unique constraint"
}


def lint(app: str, name: str) -> MigrationLinter:
    linter = MigrationLinter(no_cache=True, quiet=["ok", "ignore", "warning", "error"])
    linter.lint_migration(MigrationLoader(connection).get_migration(app, name))
    return linter


def migrations() -> list[tuple[str, str]]:
    return sorted(key for key in MigrationLoader(None).disk_migrations if key[0] in OURS)


class TestEachMigration:
    @pytest.mark.parametrize(("app", "name"), migrations())
    def test_suits_the_code_before_it(self, app, name):
        linter = lint(app, name)

        assert linter.nb_total == 1
        assert linter.has_errors == (name in FOR_A_STOPPED_SITE), f"{app} {name}: docs/scale.md"


# As in the version before cachelayer 0003, which added is_intent.
INSERT = """
    INSERT INTO cachelayer_outbox (tags, due_at)
    VALUES (%s, clock_timestamp() + make_interval(secs => %s)) RETURNING id
"""
TAKE = """
    DELETE FROM cachelayer_outbox WHERE id IN (
        SELECT id FROM cachelayer_outbox WHERE due_at <= clock_timestamp() OR %s
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    ) RETURNING tags
"""


class TestTheExample:
    """cachelayer 0003_intents: the statements of the old code on the new schema, beside the new code."""

    @pytest.fixture(autouse=True)
    def _trusted(self):
        assert trust.lease.wait(30)  # without a lease nothing counts as delivered

    def test_what_the_old_code_inserts_the_new_code_delivers(self):
        with connection.cursor() as cursor:
            cursor.execute(INSERT, [["note:1"], 0])

        assert OutboxRow.objects.get().is_intent is False
        assert outbox.deliver() == 1

    def test_an_intent_that_the_old_code_takes_too_early_is_inserted_anew(self):
        row_id = outbox.add_intent(["profile:abc"])
        with connection.cursor() as cursor:
            cursor.execute(TAKE, [True, 500])
            assert cursor.fetchall() == [(["profile:abc"],)]

        outbox.release(row_id, ["profile:abc"])

        row = OutboxRow.objects.get()
        assert (row.tags, row.is_intent) == (["profile:abc"], False)
        assert outbox.deliver() == 1
