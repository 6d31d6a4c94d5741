"""Whatever edits books invalidates them."""

from django.db import migrations

_CREATE = """
CREATE FUNCTION books_invalidate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    written text[];
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        written := ARRAY['namespace:books'];
    ELSE
        SELECT array_agg('book:' || isbn) INTO written FROM changed;
    END IF;
    PERFORM cachelayer_invalidate(coalesce(written, '{}'));
    RETURN NULL;
END
$$;
CREATE TRIGGER books_inserted AFTER INSERT ON books_book REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION books_invalidate();
CREATE TRIGGER books_updated_from AFTER UPDATE ON books_book REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION books_invalidate();
CREATE TRIGGER books_updated_to AFTER UPDATE ON books_book REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION books_invalidate();
CREATE TRIGGER books_deleted AFTER DELETE ON books_book REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION books_invalidate();
CREATE TRIGGER books_truncated AFTER TRUNCATE ON books_book
    FOR EACH STATEMENT EXECUTE FUNCTION books_invalidate();
"""


class Migration(migrations.Migration):
    dependencies = [("books", "0001_books"), ("cachelayer", "0002_invalidate_function")]

    operations = [migrations.RunSQL(_CREATE, "DROP FUNCTION books_invalidate() CASCADE")]
