from django.db import migrations

# What a trigger calls. Tags that this transaction has put into the outbox already, as the service
# does whose write the trigger sees, are not put there twice, and wake nobody: their writer
# delivers them. It runs with its owner's rights, so that whoever may edit a table may invalidate.
_CREATE = """
CREATE FUNCTION cachelayer_invalidate(written text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF cardinality(written) = 0 OR EXISTS (
        SELECT FROM cachelayer_outbox
        WHERE transaction_id = pg_current_xact_id()::text::bigint AND tags @> written
    ) THEN
        RETURN;
    END IF;
    INSERT INTO cachelayer_outbox (tags) VALUES (written);
    NOTIFY cachelayer_outbox;
END
$$;
ALTER TABLE cachelayer_outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
"""


class Migration(migrations.Migration):
    dependencies = [("cachelayer", "0001_outbox")]

    operations = [
        migrations.RunSQL(_CREATE, "DROP FUNCTION cachelayer_invalidate(text[])"),
    ]
