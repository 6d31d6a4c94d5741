from django.db import migrations

# A statement of notes.services inserts its own outbox row (cachelayer/write.py), and says so by the setting;
# then the function, which would only find that row, is not called.
_NOT_ANNOUNCED = """
    WHEN (current_setting('cachelayer.announced', true) IS DISTINCT FROM statement_timestamp()::text)
"""
_TRIGGERS = """
CREATE OR REPLACE TRIGGER notes_inserted AFTER INSERT ON notes REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT {condition} EXECUTE FUNCTION notes_invalidate();
CREATE OR REPLACE TRIGGER notes_updated AFTER UPDATE ON notes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT {condition} EXECUTE FUNCTION notes_invalidate();
CREATE OR REPLACE TRIGGER notes_deleted AFTER DELETE ON notes REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT {condition} EXECUTE FUNCTION notes_invalidate();
"""


class Migration(migrations.Migration):
    """A write that inserts its own outbox row does not pay for the trigger."""

    dependencies = [("config", "0003_slow_statement")]

    operations = [
        migrations.RunSQL(_TRIGGERS.format(condition=_NOT_ANNOUNCED), _TRIGGERS.format(condition=""))
    ]
