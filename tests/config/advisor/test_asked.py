"""What is read in a statement: which keys an index would need, and what its placeholders are."""

import pytest

from config.advisor.query_analysis import Key, NotUnderstood, asked, written_table

PAGE = 'SELECT "notes"."id", "notes"."created_at" FROM "notes" WHERE '


def texts(keys: tuple[Key, ...]) -> list[str]:
    return [f"{key.sql} DESC" if key.descending else key.sql for key in keys]


class TestNeeds:
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
    def test_are_what_must_hold_and_the_order(self, statement, equal, sort, bounded):
        [need] = asked(statement).needs

        assert (texts(need.equal), texts(need.sort), texts(need.bounded)) == (equal, sort, bounded)

    def test_of_a_search_are_the_words_with_the_configuration_in_its_place(self):
        [need] = asked(
            "SELECT count(*) FROM notes WHERE to_tsvector(%s::regconfig, title) @@ "
            "websearch_to_tsquery(%s::regconfig, %s)"
        ).needs

        assert texts(need.contained) == ["TO_TSVECTOR(CAST('english' AS REGCONFIG), \"title\")"]

    def test_of_a_join_and_of_what_is_nested_are_told_by_table(self):
        needs = asked(
            "SELECT n.id FROM notes n JOIN user_profiles p ON p.user_id = n.user_id "
            "WHERE p.version > %s AND n.title = (SELECT t.title FROM notes t WHERE t.version = %s)"
        ).needs

        found = {(need.table, *texts(need.equal), *texts(need.bounded)) for need in needs}
        assert found == {
            ("notes", '"title"', '"user_id"'),
            ("user_profiles", '"user_id"', '"version"'),
            ("notes", '"version"'),
        }


class TestRoles:
    def test_say_what_each_placeholder_stands_for_in_the_order_of_the_text(self):
        found = asked(
            "SELECT id FROM notes WHERE to_tsvector(%s::regconfig, title) @@ "
            "websearch_to_tsquery(%s::regconfig, %s) AND user_id LIKE %s AND id = ANY(%s) "
            "AND created_at > %s LIMIT %s OFFSET %s"
        ).roles

        assert [(role.kind, role.column) for role in found] == [
            ("configuration", ""),
            ("configuration", ""),
            ("word", "title"),
            ("pattern", "user_id"),
            ("array", "id"),
            ("value", "created_at"),
            ("limit", ""),
            ("offset", ""),
        ]

    def test_of_what_is_nested_are_of_the_inner_table(self):
        [role] = asked(
            "SELECT title FROM notes WHERE user_id = "
            "(SELECT user_id FROM user_profiles WHERE email = %s)"
        ).roles

        assert (role.table, role.column) == ("user_profiles", "email")


class TestRefusals:
    @pytest.mark.parametrize(
        ("statement", "why"),
        [
            ("UPDATE notes SET title = %s", "no SELECT"),
            ("SELECT 1; DELETE FROM notes", "no SELECT"),
            ("WITH gone AS (DELETE FROM notes RETURNING id) SELECT id FROM gone", "no SELECT"),
            ("SELECT id INTO copy FROM notes", "no SELECT"),
            ("SELECT (", "Required keyword"),
            ("SELECT id FROM notes WHERE %s", "what value \\$1 had cannot be told"),
            ("SELECT id FROM notes WHERE id = %s" + " " * 2_000, "too long"),
        ],
    )
    def test_of_all_but_one_select_that_writes_nothing(self, statement, why):
        with pytest.raises(NotUnderstood, match=why):
            asked(statement)


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
    def test_is_told_of_inserts_and_updates(self, statement, table):
        assert written_table(statement) == table
