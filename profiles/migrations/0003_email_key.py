import unicodedata

from django.db import migrations, models

_BATCH = 1_000
# An edit in psql that gives an address no key gets one as near to profiles.emails.email_key as SQL
# comes: the same for ASCII, and for what lower() of the database's locale knows. Whoever copies
# profiles from MongoDB knows which key there is to be.
_CREATE = """
CREATE FUNCTION profiles_email_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('trilith.copies_profile', true) = 'on' THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' THEN
        NEW.email_key := coalesce(NEW.email_key, normalize(lower(normalize(NEW.email, NFD)), NFD));
    ELSIF NEW.email <> OLD.email AND NEW.email_key IS NOT DISTINCT FROM OLD.email_key THEN
        NEW.email_key := normalize(lower(normalize(NEW.email, NFD)), NFD);
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER profiles_email_keyed BEFORE INSERT OR UPDATE OF email ON user_profiles
    FOR EACH ROW EXECUTE FUNCTION profiles_email_key();
"""

_DROP = """
DROP TRIGGER profiles_email_keyed ON user_profiles;
DROP FUNCTION profiles_email_key();
"""


def fill(apps, schema_editor):
    """
    Give each profile its key; of several with one address, the oldest.

    The others keep their address and no key, and are named: whoever operates the site has one of
    them take another address.
    """
    rows = apps.get_model("profiles", "ProfileRow").objects.order_by("created_at", "user_id")
    holders, batch = {}, []
    with schema_editor.connection.cursor() as cursor:
        # What is answered stays the same, so nothing is to be invalidated.
        cursor.execute("SET LOCAL trilith.copies_profile = 'on'")
        for user_id, email in rows.values_list("user_id", "email").iterator(chunk_size=_BATCH):
            key = unicodedata.normalize("NFD", unicodedata.normalize("NFD", email).casefold())
            holder = holders.setdefault(key, user_id)
            if holder == user_id:
                batch.append((user_id, key))
            else:
                print(
                    f"\nuser_profiles: {user_id} has the e-mail address of {holder}, compared "
                    "without case. Both are kept; give one of them another address."
                )
        for start in range(0, len(batch), _BATCH):
            part = batch[start : start + _BATCH]
            cursor.execute(
                "UPDATE user_profiles SET email_key = keyed.email_key"
                " FROM unnest(%s::text[], %s::text[]) AS keyed (user_id, email_key)"
                " WHERE user_profiles.user_id = keyed.user_id",
                [[user_id for user_id, _ in part], [key for _, key in part]],
            )


class Migration(migrations.Migration):
    """E-mail addresses are unique by their Unicode caseless match, no longer by lower()."""

    dependencies = [
        ("profiles", "0002_profiles_name"),
    ]

    operations = [
        migrations.AddField("profilerow", "email_key", models.TextField(null=True)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RemoveConstraint("profilerow", "user_profiles_email_unique"),
        migrations.AddConstraint(
            "profilerow",
            models.UniqueConstraint(fields=["email_key"], name="user_profiles_email_key_unique"),
        ),
        migrations.RunSQL(_CREATE, _DROP),
    ]
