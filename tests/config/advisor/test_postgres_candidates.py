"""Which indexes an access pattern needs, and whether an existing one already serves."""

import pytest
from django.db import DatabaseError, connection, transaction

from config.advisor import postgres_candidates
from config.advisor.postgres_candidates import Candidate
from config.advisor.query_analysis import analyze

LIST = "SELECT id FROM notes WHERE user_id = %s ORDER BY created_at DESC, id DESC LIMIT 21"


def candidates(statement: str, **options) -> list[Candidate]:
    [pattern] = analyze(statement).patterns
    return list(postgres_candidates.candidates_for(pattern, **options))


class TestCandidatesFor:
    @pytest.mark.parametrize(
        ("statement", "texts"),
        [
            (
                LIST,
                {
                    "notes (user_id, created_at DESC, id DESC)",
                    "notes (user_id, created_at DESC)",
                    "notes (user_id)",
                },
            ),
            (
                "SELECT id FROM notes WHERE version > %s AND user_id = %s ORDER BY created_at",
                {
                    "notes (user_id, created_at, version)",
                    "notes (user_id, created_at)",
                    "notes (user_id, version)",
                    "notes (user_id)",
                },
            ),
            ("SELECT id FROM notes WHERE created_at > %s", {"notes (created_at)"}),
            ("SELECT id FROM notes", set()),
            (
                "SELECT id FROM notes WHERE a=%s AND b=%s AND c=%s AND d=%s AND e=%s",
                {"notes (a, b, c, d)"},
            ),
        ],
    )
    def test_puts_equality_first_then_the_sort_then_a_range(self, statement, texts):
        assert {candidate.text for candidate in candidates(statement)} == texts

    def test_of_members_is_a_gin_index_if_the_column_is_json(self):
        statement = "SELECT user_id FROM user_profiles WHERE preferences @> %s"

        assert candidates(statement) == []
        [candidate] = candidates(statement, json_columns=["preferences"])
        assert candidate.text == "user_profiles gin (preferences jsonb_path_ops)"


class TestName:
    def test_says_table_and_columns_and_is_as_long_as_django_allows(self):
        names = [candidate.name for candidate in candidates(LIST)]

        assert "idx_notes_user_id_created_at" in names
        assert all(len(name) <= 30 for name in names)
        assert len(set(names)) == len({candidate.text for candidate in candidates(LIST)})


@pytest.mark.django_db
class TestFindServingIndex:
    @pytest.fixture(autouse=True)
    def _allowed(self, settings):
        settings.ALLOW_EXPLAIN_DDL = True

    @pytest.mark.parametrize(
        ("statement", "serving"),
        [
            (LIST, {"idx_notes_user_created", "idx_notes_user_id", None}),
            ("SELECT id FROM notes ORDER BY created_at ASC", {"idx_notes_created_at"}),  # backwards
            ("SELECT id FROM notes WHERE id = %s ORDER BY title", {"notes_pkey"}),
            (
                "SELECT id FROM notes WHERE created_at = %s ORDER BY id",
                {"idx_notes_created_at", None},
            ),
            (
                "SELECT id FROM notes WHERE to_tsvector('english'::regconfig, title) @@ to_tsquery(%s)",
                {"idx_notes_title_search"},
            ),
            ("SELECT id FROM notes WHERE to_tsvector('german'::regconfig, title) @@ %s", {None}),
        ],
    )
    def test_is_what_postgresql_itself_says_of_both(self, statement, serving):
        there = postgres_candidates.existing_indexes("notes")
        names = {
            postgres_candidates.find_serving_index(
                candidate, postgres_candidates.build_on_empty_copy(candidate), there
            )
            for candidate in candidates(statement)
        }

        assert names == serving

    def test_a_partial_index_does_not_serve_for_a_full_one(self):
        with connection.cursor() as cursor:
            cursor.execute("CREATE INDEX part ON notes (title) WHERE version > 1")
        [candidate] = candidates("SELECT id FROM notes WHERE title = %s")

        there = postgres_candidates.existing_indexes("notes")

        assert (
            postgres_candidates.find_serving_index(
                candidate, postgres_candidates.build_on_empty_copy(candidate), there
            )
            is None
        )

    def test_what_cannot_be_built_is_postgresql_s_own_error(self):
        [candidate] = candidates("SELECT id FROM notes WHERE date_trunc('day', created_at) = %s")

        with pytest.raises(DatabaseError, match="IMMUTABLE"), transaction.atomic():
            postgres_candidates.build_on_empty_copy(candidate)
