"""What the site keeps of the statements that it sends: shapes and counts, and no values."""

import pytest

from config.observability import capped_list, query_stats
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _from_nothing(settings, monkeypatch) -> None:
    settings.SERVES_REQUESTS = True
    monkeypatch.setattr(query_stats, "_counts", {})


def rows(endpoint: str | None = None) -> list[dict]:
    capped_list.flush()
    return [row for row in query_stats.STATEMENTS.rows() if endpoint in (None, row["endpoint"])]


class TestRan:
    def test_keeps_the_shape_of_a_statement_by_its_endpoint_and_none_of_its_values(self, api):
        api.get("/api/v1/notes?userId=private-name")

        [page] = [row for row in rows("notes") if "ORDER BY" in row["statement"]]
        assert 'WHERE "notes"."user_id" = %s' in page["statement"]
        assert page["calls"] == 1
        assert page["total_ms"] > 0
        assert "private-name" not in str(rows())

    def test_of_a_write_too(self, api):
        note_id = make_note()
        api.delete(f"/api/v1/notes/{note_id}")

        assert any(row["statement"].startswith("DELETE") for row in rows("note"))

    def test_counts_what_comes_within_half_a_minute_and_hands_it_over_after_that(self, monkeypatch):
        for _ in range(4):
            query_stats.count("x", "SELECT 1 LIMIT 20", 0.5)
        assert [row["calls"] for row in rows("x")] == [1]

        monkeypatch.setattr(query_stats, "_EVERY_SECONDS", 0.0)
        query_stats.count("x", "SELECT 1 LIMIT 50", 0.5)

        assert [(row["calls"], row["total_ms"]) for row in rows("x")] == [(4, 2_000), (1, 500)]
        assert len({row["fingerprint"] for row in rows("x")}) == 1

    def test_counts_so_many_shapes_at_the_most(self, monkeypatch):
        monkeypatch.setattr(query_stats, "_SHAPES_MAX", 10)

        for number in range(25):
            query_stats.count(f"x{number}", "SELECT 1", 0.1)

        assert len(query_stats._counts) <= 10

    def test_keeps_nothing_of_a_command_or_of_what_is_no_text(self, settings, api):
        query_stats.count("x", object(), 0.1)
        settings.SERVES_REQUESTS = False
        api.get("/api/v1/notes")

        assert rows() == []
