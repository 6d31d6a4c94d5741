"""What is read from a statement: the keys for an index, and the kinds of its placeholders."""

import pytest

from config.advisor.query_analysis import IndexKey, UnsupportedStatement, analyze, written_table

PAGE = 'SELECT "notes"."id", "notes"."created_at" FROM "notes" WHERE '


def texts(keys: tuple[IndexKey, ...]) -> list[str]:
    return [f"{key.sql} DESC" if key.descending else key.sql for key in keys]


class TestAccessPatterns:
    @pytest.mark.parametrize(
        ("statement", "equal", "sort", "bounded"),
        [
            (
                PAGE + '"notes"."user_id" = %s ORDER BY 2 DESC, 1 DESC LIMIT 21',
                ['"user_id"'],
                ['"created_at" DESC', '"id" DESC'],
                [],
            ),
            (
                PAGE + '("notes"."created_at" <= %s AND ("notes"."created_at" < %s OR '
                '"notes"."id" < %s)) ORDER BY "notes"."created_at" ASC',
                [],
                ['"created_at"'],
                ['"created_at"'],
            ),
            (PAGE + "id IN (%s, ...) AND version BETWEEN %s AND %s", ['"id"'], [], ['"version"']),
            (PAGE + "id = ANY(%s::uuid[]) AND title IS NULL", ['"id"', '"title"'], [], []),
            (PAGE + "UPPER(title::text) = UPPER(%s)", ['UPPER(CAST("title" AS TEXT))'], [], []),
            (PAGE + "title = %s OR content = %s", [], [], []),
            ("SELECT count(*) FROM notes GROUP BY user_id ORDER BY user_id", [], [], []),
        ],
    )
    def test_hold_the_conditions_and_the_order(self, statement, equal, sort, bounded):
        [pattern] = analyze(statement).patterns

        assert (texts(pattern.equal), texts(pattern.sort), texts(pattern.bounded)) == (
            equal,
            sort,
            bounded,
        )

    def test_of_a_search_hold_the_vector_with_its_configuration(self):
        [pattern] = analyze(
            "SELECT count(*) FROM notes WHERE to_tsvector(%s::regconfig, title) @@ "
            "websearch_to_tsquery(%s::regconfig, %s)"
        ).patterns

        assert texts(pattern.contained) == ["TO_TSVECTOR(CAST('english' AS REGCONFIG), \"title\")"]

    def test_of_joins_and_subqueries_are_separate_by_table(self):
        patterns = analyze(
            "SELECT n.id FROM notes n JOIN user_profiles p ON p.user_id = n.user_id "
            "WHERE p.version > %s AND n.title = (SELECT t.title FROM notes t WHERE t.version = %s)"
        ).patterns

        keys = {
            (pattern.table, *texts(pattern.equal), *texts(pattern.bounded)) for pattern in patterns
        }
        assert keys == {
            ("notes", '"title"', '"user_id"'),
            ("user_profiles", '"user_id"', '"version"'),
            ("notes", '"version"'),
        }


class TestPlaceholders:
    def test_have_a_kind_each_in_the_order_of_the_text(self):
        placeholders = analyze(
            "SELECT id FROM notes WHERE to_tsvector(%s::regconfig, title) @@ "
            "websearch_to_tsquery(%s::regconfig, %s) AND user_id LIKE %s AND id = ANY(%s) "
            "AND created_at > %s LIMIT %s OFFSET %s"
        ).placeholders

        assert [(placeholder.kind, placeholder.column) for placeholder in placeholders] == [
            ("configuration", ""),
            ("configuration", ""),
            ("word", "title"),
            ("pattern", "user_id"),
            ("array", "id"),
            ("value", "created_at"),
            ("limit", ""),
            ("offset", ""),
        ]

    def test_of_a_subquery_belong_to_the_inner_table(self):
        [placeholder] = analyze(
            "SELECT title FROM notes WHERE user_id = "
            "(SELECT user_id FROM user_profiles WHERE email = %s)"
        ).placeholders

        assert (placeholder.table, placeholder.column) == ("user_profiles", "email")


class TestRefusals:
    @pytest.mark.parametrize(
        ("statement", "why"),
        [
            ("UPDATE notes SET title = %s", "not a SELECT"),
            ("SELECT 1; DELETE FROM notes", "not a SELECT"),
            ("WITH gone AS (DELETE FROM notes RETURNING id) SELECT id FROM gone", "not a SELECT"),
            ("SELECT id INTO copy FROM notes", "not a SELECT"),
            ("SELECT (", "Required keyword"),
            ("SELECT id FROM notes WHERE %s", "the purpose of \\$1 is unknown"),
            ("SELECT id FROM notes WHERE id = %s" + " " * 2_000, "too long"),
        ],
    )
    def test_of_everything_but_a_single_read_only_select(self, statement, why):
        with pytest.raises(UnsupportedStatement, match=why):
            analyze(statement)


class TestWrittenTable:
    @pytest.mark.parametrize(
        ("statement", "table"),
        [
            ('INSERT INTO "notes" ("id") VALUES (%s, ...), ...', "notes"),
            ("UPDATE notes SET title = %s WHERE id = %s", "notes"),
            ("SELECT id FROM notes", None),
            ("DELETE FROM notes", None),
            ("INSERT (", None),
        ],
    )
    def test_is_known_for_inserts_and_updates(self, statement, table):
        assert written_table(statement) == table
