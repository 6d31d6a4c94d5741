"""The plans of the profiles in both stores, at 5 000 profiles, and which indexes serve no read."""

import pytest
from django.db import connection
from mongoengine.connection import get_db

from cachelayer.models import OutboxRow
from config.explain import catalogue
from config.explain.assertions import assert_plan
from profiles import seeding
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from profiles.mongodb import MongoProfiles
from profiles.postgres import PostgresProfiles
from tests.builders import SEEDED_UNTIL
from tests.indexes import of_collection, of_table, used_by

COUNT = 5_000

# Each index that no query of the service uses, and why it is there all the same.
SERVES_NO_QUERY = {
    "idx_profiles_preferences": "the mirror's promise that preferences can be queried by containment; "
    "no endpoint asks so yet, and every write of a profile pays for it",
}


@pytest.fixture(scope="module", autouse=True)
def _no_profiles(_mongodb_indexes, django_db_setup, django_db_blocker):
    """In the place of the fixture of that name: filled once for all tests here, which only read."""
    with django_db_blocker.unblock():
        _empty()
        profiles = [
            profile
            for batch in seeding.batches(count=COUNT, seed=1, until=SEEDED_UNTIL)
            for profile in batch
        ]
        PostgresProfiles().load(profiles)
        MongoProfiles().load(profiles)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE user_profiles")
    yield
    with django_db_blocker.unblock():
        _empty()


def _empty() -> None:
    UserProfile._get_collection().delete_many({})
    ProfileRow.objects.all().delete()
    OutboxRow.objects.all().delete()  # emptying the tables fired the triggers


@pytest.mark.django_db
class TestPlans:
    def test_a_profile_is_one_row_by_an_index_of_its_user(self):
        """
        By either index: Django makes a second one of a text key, for LIKE, which = uses as well.
        """
        like = _like_index()

        checked = assert_plan(lambda: PostgresProfiles().get("abc"))

        checked.uses_one_of("user_profiles_pkey", like).rows_examined_at_most(1)

    def test_a_profile_is_one_document_by_the_index_of_its_user(self):
        cursor = get_db()["user_profiles"].find({"user_id": "abc"})

        assert_plan(cursor).uses_only("user_id_unique").rows_examined_at_most(1)

    def test_an_address_is_looked_up_by_the_index_of_its_key(self):
        cursor = get_db()["user_profiles"].find({"email_key": "abc@example.org"})
        rows = ProfileRow.objects.filter(email_key="abc@example.org")

        assert_plan(cursor).uses_only("email_key_unique").rows_examined_at_most(1)
        assert_plan(rows).uses_only("user_profiles_email_key_unique").rows_examined_at_most(1)

    def test_a_page_walks_the_key(self):
        checked = assert_plan(lambda: PostgresProfiles().page(after="user-2", limit=100))

        checked.uses_only("user_profiles_pkey").no_sort().rows_examined_at_most(100)

    def test_a_preference_is_found_by_the_index_of_the_preferences(self):
        """What the index is able to; see SERVES_NO_QUERY."""
        rows = ProfileRow.objects.filter(preferences__contains={"language": "no such"})

        assert_plan(rows).uses_only("idx_profiles_preferences").rows_examined_at_most(0)


@pytest.mark.django_db
class TestIndexes:
    def test_each_serves_a_query_or_a_constraint_or_is_known_to_serve_neither(self):
        used = set(used_by(catalogue.profile_queries()))

        plain = of_table("user_profiles", unique=False)
        plain |= of_collection(get_db()["user_profiles"], unique=False)

        assert plain - used - {_like_index()} == set(SERVES_NO_QUERY)

    def test_the_table_has_no_other_index_than_the_documents_tell_of(self):
        declared = {index.name for index in ProfileRow._meta.indexes}
        declared |= {constraint.name for constraint in ProfileRow._meta.constraints}

        assert of_table("user_profiles") == {*declared, "user_profiles_pkey", _like_index()}


def _like_index() -> str:
    [name] = [name for name in of_table("user_profiles") if name.endswith("_like")]
    return name
