"""Statements without their values: what remains of them, and which have the same shape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.observability import statements
from config.tracing import Step


class TestComment:
    def test_names_endpoint_and_request(self):
        assert (
            statements.comment("admin:index", "r-1")
            == " /*endpoint='admin:index',request_id='r-1'*/"
        )

    def test_names_the_endpoint_alone_for_all_requests(self):
        assert statements.comment("notes") == " /*endpoint='notes'*/"

    @given(st.text(), st.text())
    def test_cannot_be_ended_from_within_and_holds_no_placeholder(self, endpoint, request_id):
        comment = statements.comment(endpoint, request_id)

        inner = (
            comment.removeprefix(" /*endpoint='").removesuffix("'*/").replace("',request_id='", "")
        )
        assert not set(inner) & set("*%'\"\n;")
        assert comment.isascii()


class TestSqlShape:
    @pytest.mark.parametrize(
        ("sql", "shape"),
        [
            ('SELECT "a1" FROM t WHERE b = %s', 'SELECT "a1" FROM t WHERE b = %s'),
            ("SELECT 1, 2.5, 1e9, -3, t2.c3", "SELECT %s, %s, %s, -%s, t2.c3"),
            ("SELECT 'it''s', E'a\\'b', $$x$$, $q$y$q$", "SELECT %s, %s, %s, %s"),
            ("SELECT 'a\\', b FROM t WHERE c = 'd'", "SELECT %s, b FROM t WHERE c = %s"),
            ("SELECT 'never ended", "SELECT %s"),
            ('SELECT "it\'s 1" FROM t', 'SELECT "it\'s 1" FROM t'),
            ("/* who */ SELECT  a -- why\n FROM t", "SELECT a FROM t"),
            ("SELECT a FROM t WHERE b IN (%s, %s,%s)", "SELECT a FROM t WHERE b IN (%s, ...)"),
            ("INSERT INTO t VALUES (1, 2), (3, 4)", "INSERT INTO t VALUES (%s, ...), ..."),
            ("SELECT a FROM t LIMIT 20 OFFSET 9980", "SELECT a FROM t LIMIT 20 OFFSET 9980"),
            ("SELECT a FROM t ORDER BY 5 DESC, 1 ASC", "SELECT a FROM t ORDER BY 5 DESC, 1 ASC"),
            ("SELECT a, 7 FROM t GROUP BY 1, 2", "SELECT a, %s FROM t GROUP BY 1, 2"),
            ("SELECT a %% 2 FROM t", "SELECT a %% %s FROM t"),
            (
                "to_tsvector('english'::regconfig, 'private')",
                "to_tsvector('english'::regconfig, %s)",
            ),
        ],
    )
    def test_has_placeholders_for_values_alone(self, sql, shape):
        assert statements.sql_shape(sql) == shape

    @given(st.text(alphabet="abcSECRET'\\\"%$ 0123456789-/*", max_size=30))
    def test_never_holds_a_quoted_value(self, secret):
        quoted = "'" + secret.replace("'", "''") + "'"

        shape = statements.sql_shape(f"SELECT a FROM t WHERE b = {quoted} AND c = %s")

        assert shape == "SELECT a FROM t WHERE b = %s AND c = %s"


class TestNumbered:
    def test_numbers_placeholders_in_the_order_of_the_text_one_for_a_list(self):
        shape = "SELECT a %% %s FROM t WHERE b IN (%s, ...) AND c LIKE %s"

        assert statements.numbered(shape) == "SELECT a % $1 FROM t WHERE b IN ($2) AND c LIKE $3"


class TestFingerprint:
    def test_is_one_for_each_page_of_a_list(self):
        first, other = ("SELECT a FROM t LIMIT 20", "SELECT a FROM t LIMIT 50")

        assert statements.fingerprint("postgres", first) == statements.fingerprint(
            "postgres", other
        )

    def test_is_another_for_another_statement_or_store(self):
        fingerprints = {
            statements.fingerprint("postgres", "SELECT a"),
            statements.fingerprint("postgres", "SELECT b"),
            statements.fingerprint("redis", "SELECT a"),
        }

        assert len(fingerprints) == 3


class TestCommandShape:
    @pytest.mark.parametrize(
        ("command", "shape"),
        [
            (
                {"find": "logs", "filter": {"user_id": "ann", "at": {"$gt": 3}}, "limit": 20},
                "find logs {filter: {user_id: ?, at: {$gt: ?}}, limit: ?}",
            ),
            (
                {"aggregate": "logs", "pipeline": [{"$match": {"a": {"$in": [1, 2]}}}]},
                "aggregate logs {pipeline: [{$match: {a: {$in: ?}}}]}",
            ),
            (
                {"update": "p", "updates": [{"q": {"_id": 1}, "u": {"$set": {"diary": "x"}}}]},
                "update p {updates: [{q: {_id: ?}}]}",
            ),
            ({"insert": "p", "documents": [{"diary": "x"}], "lsid": {}}, "insert p"),
            ({"ping": 1, "$db": "admin"}, "ping"),
        ],
    )
    def test_shows_names_of_fields_and_no_values(self, command, shape):
        assert statements.command_shape(command) == shape

    def test_ends_somewhere(self):
        nested: dict = {}
        for _ in range(50):
            nested = {"a": nested}

        assert len(statements.command_shape({"find": "x", "filter": nested})) < 100


class TestStep:
    @pytest.mark.parametrize(
        ("store", "statement", "kind", "text"),
        [
            ("postgres", "/* x */ SELECT 1", "SELECT", "SELECT %s"),
            ("mongodb", {"find": "logs", "filter": {}}, "find", "find logs {filter: {}}"),
            ("redis", "look", "look", "look"),
        ],
    )
    def test_of_each_store_has_a_kind_and_a_description(self, store, statement, kind, text):
        step = Step(store, statement, 0.0, 0.0)

        assert (statements.kind(step), statements.described(step)) == (kind, text)
