from django.db import migrations

# As for notes: what an edit past the service has written is invalidated by the transaction that
# wrote it. Whoever copies profiles from MongoDB has invalidated already, and says so.
_CREATE = """
CREATE FUNCTION profiles_invalidate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    most CONSTANT integer := 1000;
    written text[];
BEGIN
    IF current_setting('trilith.copies_profile', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        SELECT array_agg('profile:' || user_id) INTO written FROM (SELECT user_id FROM old_rows LIMIT most + 1) AS rows;
    ELSIF TG_OP = 'INSERT' THEN
        SELECT array_agg('profile:' || user_id) INTO written FROM (SELECT user_id FROM new_rows LIMIT most + 1) AS rows;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT array_agg(DISTINCT 'profile:' || user_id) INTO written FROM (
            (SELECT user_id FROM old_rows LIMIT most + 1) UNION ALL (SELECT user_id FROM new_rows LIMIT most + 1)
        ) AS rows;
    END IF;
    IF TG_OP = 'TRUNCATE' OR cardinality(written) > most THEN
        written := ARRAY['namespace:user:profile'];
    END IF;
    PERFORM cachelayer_invalidate(coalesce(written, '{}'));
    RETURN NULL;
END
$$;

CREATE TRIGGER profiles_inserted AFTER INSERT ON user_profiles REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION profiles_invalidate();
CREATE TRIGGER profiles_updated AFTER UPDATE ON user_profiles REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION profiles_invalidate();
CREATE TRIGGER profiles_deleted AFTER DELETE ON user_profiles REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION profiles_invalidate();
CREATE TRIGGER profiles_truncated AFTER TRUNCATE ON user_profiles
    FOR EACH STATEMENT EXECUTE FUNCTION profiles_invalidate();
"""

_DROP = """
DROP TRIGGER profiles_inserted ON user_profiles;
DROP TRIGGER profiles_updated ON user_profiles;
DROP TRIGGER profiles_deleted ON user_profiles;
DROP TRIGGER profiles_truncated ON user_profiles;
DROP FUNCTION profiles_invalidate();
"""


class Migration(migrations.Migration):
    """An edit of a profile in psql invalidates as the service does."""

    dependencies = [
        ("config", "0001_notes_triggers"),
        ("profiles", "0001_profiles"),
    ]

    operations = [migrations.RunSQL(_CREATE, _DROP)]
