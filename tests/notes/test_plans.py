"""The plans of the list, the cursor list and the search, at 20 000 rows of real skew."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from notes import selectors
from notes.models import Note
from notes.paging import CursorQuery, PageQuery, Position, Sort

ROWS = 20_000


@pytest.fixture(scope="module")
def plentiful(django_db_setup, django_db_blocker):
    """Twenty thousand notes, an eighth of them abc's, with statistics; gone after the module."""
    with django_db_blocker.unblock():
        start = datetime(2024, 1, 1, tzinfo=UTC)
        Note.objects.bulk_create(
            (
                Note(
                    user_id="abc" if n % 8 == 0 else f"user-{n % 500}",
                    title=f"{'rare' if n % 400 == 0 else 'common'} title {n}",
                    content="x" * 300,
                    created_at=start + timedelta(minutes=n),
                    updated_at=start,
                    version=1,
                )
                for n in range(ROWS)
            ),
            batch_size=5_000,
        )
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE notes")
    yield
    with django_db_blocker.unblock():
        Note.objects.all().delete()


def nodes(rows) -> list[dict]:
    """The nodes of the plan that PostgreSQL runs, with the rows that they really returned."""
    [plan] = json.loads(rows.explain(format="json", analyze=True))
    found, waiting = [], [plan["Plan"]]
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting += node.get("Plans", [])
    return found


def index_names(rows) -> set[str]:
    return {node["Index Name"] for node in nodes(rows) if "Index Name" in node}


def scanned(rows) -> int:
    """Rows of the table that the scans touched: returned, or read and filtered out."""
    return sum(
        node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        for node in nodes(rows)
        if node["Node Type"].endswith("Scan") and node["Node Type"] != "Bitmap Index Scan"
    )


@pytest.mark.django_db
@pytest.mark.usefixtures("plentiful")
class TestPlans:
    @pytest.mark.parametrize(
        ("query", "index"),
        [
            (PageQuery(), "idx_notes_created_at"),
            (PageQuery(user_id="user-7"), "idx_notes_user_created"),
            (PageQuery(search="rare"), "idx_notes_title_search"),
            (PageQuery(search="rare -common", user_id="abc"), "idx_notes_title_search"),
        ],
        ids=["all", "user", "search", "search of a user"],
    )
    def test_a_page_is_served_by_its_index(self, query, index):
        rows = selectors.page_rows(query)

        assert index in index_names(rows)
        assert not [node for node in nodes(rows) if node["Node Type"] == "Seq Scan"]

    def test_a_heavy_user_s_page_touches_few_rows_by_whichever_index(self):
        """
        PostgreSQL may walk idx_notes_created_at and leave the others' notes out.

        With every eighth note the user's own, and the table in order of time, that reads eight
        rows for one, all side by side, and is cheaper than the composite index.
        """
        rows = selectors.page_rows(PageQuery(user_id="abc"))

        assert index_names(rows) <= {"idx_notes_created_at", "idx_notes_user_created"}
        assert scanned(rows) <= 8 * 25

    @pytest.mark.parametrize(
        ("user_id", "index"),
        [(None, "idx_notes_created_at"), ("user-7", "idx_notes_user_created")],
    )
    @pytest.mark.parametrize("side", ["after", "before"])
    @pytest.mark.parametrize("depth", [100, ROWS // 2, ROWS - 100])
    def test_a_cursor_page_costs_the_same_at_any_depth(self, user_id, index, side, depth):
        neighbour = Note.objects.order_by("-created_at")[depth]
        at = Position(value=neighbour.created_at.isoformat(), note_id=str(neighbour.id), side=side)
        rows = selectors.cursor_rows(CursorQuery(user_id=user_id, position=at))

        assert index_names(rows) == {index}
        assert scanned(rows) <= 25  # 21 returned, the neighbour itself, and no more

    def test_the_search_counts_by_its_index_too(self):
        matching = selectors._matching(PageQuery(search="rare"))

        assert index_names(matching.order_by()) == {"idx_notes_title_search"}

    def test_the_count_of_a_user_reads_an_index(self):
        matching = selectors._matching(PageQuery(user_id="user-7"))

        assert index_names(matching.order_by().values("pk")) & {
            "idx_notes_user_id",
            "idx_notes_user_created",
        }

    def test_a_sort_without_an_index_is_known_to_scan(self):
        """Documented in docs/data.md; a new index would have to change this line on purpose."""
        rows = selectors.page_rows(PageQuery(sort=Sort(field="title", descending=False)))

        assert [node for node in nodes(rows) if node["Node Type"] == "Seq Scan"]
