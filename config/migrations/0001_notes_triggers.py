from django.db import migrations

# Statement-level: one call however many rows, with the rows before and after at hand. The tags
# are those of notes.cache_keys.tags_of_note (a test holds the two together). A statement over more
# rows than that clears the namespaces: a long list of tags would cost more than the cold start.
_CREATE = """
CREATE FUNCTION notes_invalidate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    everything CONSTANT text[] := ARRAY['namespace:notes', 'namespace:notes:list'];
    most CONSTANT integer := 500;
    written text[];
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        written := everything;
    ELSIF TG_OP = 'INSERT' THEN
        SELECT CASE WHEN count(*) > most THEN everything ELSE notes_tags(array_agg(id), array_agg(user_id)) END
        INTO written FROM (SELECT id, user_id FROM new_rows LIMIT most + 1) AS rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT CASE WHEN count(*) > most THEN everything ELSE notes_tags(array_agg(id), array_agg(user_id)) END
        INTO written FROM (SELECT id, user_id FROM old_rows LIMIT most + 1) AS rows;
    ELSE
        SELECT CASE WHEN count(*) > 2 * most THEN everything ELSE notes_tags(array_agg(id), array_agg(user_id)) END
        INTO written FROM (
            (SELECT id, user_id FROM old_rows LIMIT most + 1)
            UNION ALL (SELECT id, user_id FROM new_rows LIMIT most + 1)
        ) AS rows;
    END IF;
    PERFORM cachelayer_invalidate(written);
    RETURN NULL;
END
$$;

CREATE FUNCTION notes_tags(ids uuid[], users text[]) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_agg(DISTINCT tag), '{}') FROM (
        SELECT 'note:' || id FROM unnest(ids) AS id
        UNION ALL SELECT 'notes:user:' || name FROM unnest(users) AS name
        UNION ALL SELECT 'notes:all' WHERE cardinality(ids) > 0
    ) AS tags (tag)
$$;

CREATE TRIGGER notes_inserted AFTER INSERT ON notes REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION notes_invalidate();
CREATE TRIGGER notes_updated AFTER UPDATE ON notes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION notes_invalidate();
CREATE TRIGGER notes_deleted AFTER DELETE ON notes REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION notes_invalidate();
CREATE TRIGGER notes_truncated AFTER TRUNCATE ON notes
    FOR EACH STATEMENT EXECUTE FUNCTION notes_invalidate();
"""

_DROP = """
DROP TRIGGER notes_inserted ON notes;
DROP TRIGGER notes_updated ON notes;
DROP TRIGGER notes_deleted ON notes;
DROP TRIGGER notes_truncated ON notes;
DROP FUNCTION notes_invalidate();
DROP FUNCTION notes_tags(uuid[], text[]);
"""


class Migration(migrations.Migration):
    """
    An edit in psql, QuerySet.update or bulk_update invalidates as a service does.

    It wires notes to the cache, and stands here so that `migrate notes 0001` still drops the
    indexes and nothing else; `migrate config zero` takes the triggers away.
    """

    initial = True
    dependencies = [
        ("notes", "0001_notes"),
        ("cachelayer", "0002_invalidate_function"),
    ]

    operations = [migrations.RunSQL(_CREATE, _DROP)]
