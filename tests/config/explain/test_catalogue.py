"""The catalogue: every endpoint that asks a database is in it, and each entry can be run."""

import pytest
from django.db import connection
from django.test import Client

from config.explain import catalogue

# Reads that ask no database of ours for rows.
ASKS_NO_TABLE = {
    "GET /api/v1/metrics/cache",
    "GET /api/v1/metrics/db",
    "GET /api/v1/admin/cache/explain",
}


@pytest.mark.usefixtures("seeded")
class TestAllQueries:
    def test_every_endpoint_that_reads_is_served_by_one(self):
        schema = Client().get("/api/schema").json()
        reads = {f"GET {path}" for path, calls in schema["paths"].items() if "get" in calls}

        served = {route for query in catalogue.all_queries() for route in query.serves}

        assert served == reads - ASKS_NO_TABLE

    def test_each_has_a_name_of_its_own(self):
        names = [query.name for query in catalogue.all_queries()]

        assert len(set(names)) == len(names)

    def test_what_counts_returns_one_row(self):
        counts = [query for query in catalogue.all_queries() if query.name.startswith("count-")]

        assert len(counts) == 3
        for query in counts:
            assert "count(" in query.statement.sql.lower(), query.name
            assert query.statement.execute() == 1, query.name

    def test_each_can_be_run_and_explained_and_says_the_same_of_its_rows(self):
        for query in catalogue.all_queries():
            plan = query.statement.explain()

            assert plan.rows_returned == query.statement.execute() > 0, query.name
            assert plan.store == query.statement.store

    def test_the_page_by_cursor_is_the_page_by_number(self):
        statements = {query.name: query.statement for query in catalogue.all_queries()}

        for deep, cursor in (("user-deep", "user-cursor"), ("all-deep", "all-cursor")):
            assert rows(statements[deep]) == rows(statements[cursor])
            assert (
                statements[cursor].explain().rows_examined
                < statements[deep].explain().rows_examined
            )


def rows(statement) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(statement.sql, statement.params)
        return cursor.fetchall()
