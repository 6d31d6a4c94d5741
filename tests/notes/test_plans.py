"""The plans of the list, the cursor list, the search and the counts, at 20 000 rows of real skew."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from config.explain import catalogue
from config.explain.assertions import assert_plan
from notes import selectors
from notes.models import Note
from notes.paging import CursorQuery, PageQuery, Position, Sort
from tests.indexes import of_table, used_by, vacuum

ROWS = 20_000


@pytest.fixture(scope="module")
def plentiful(django_db_setup, django_db_blocker):
    """Twenty thousand notes, an eighth of them abc's, with statistics; gone after the module."""
    with django_db_blocker.unblock():
        start = datetime(2024, 1, 1, tzinfo=UTC)
        Note.objects.bulk_create(
            (
                Note(
                    user_id="abc" if n % 8 == 0 else f"user-{n % 50}",
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
        vacuum("notes")
    yield
    with django_db_blocker.unblock():
        Note.objects.all().delete()


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
        assert_plan(selectors.page_rows(query)).uses(index).no_seq_scan().rows_examined_at_most(60)

    def test_a_heavy_user_s_page_touches_few_rows_by_whichever_index(self):
        """
        PostgreSQL may walk idx_notes_created_at and leave the others' notes out.

        With every eighth note the user's own, and the table in order of time, that reads eight
        rows for a user, all side by side, and is cheaper than the composite index.
        """
        checked = assert_plan(selectors.page_rows(PageQuery(user_id="abc")))

        checked.uses_one_of("idx_notes_created_at", "idx_notes_user_created")
        checked.rows_examined_at_most(8 * 25)

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

        # 21 returned, the neighbour itself, and no more
        assert_plan(rows).uses_only(index).no_seq_scan().rows_examined_at_most(25)

    def test_the_search_counts_by_its_index_too(self):
        _, count = statements(PageQuery(search="rare"))

        assert_plan(count).uses_only("idx_notes_title_search").rows_examined_at_most(60)

    @pytest.mark.parametrize("user_id", ["user-7", "abc"])
    def test_the_count_of_a_user_reads_the_narrow_index_alone(self, user_id):
        """The composite index would do as well, and is several times as large."""
        _, count = statements(PageQuery(user_id=user_id))

        assert_plan(count).uses_only("idx_notes_user_id").reads_the_index_alone()

    def test_the_count_over_all_reads_an_index_as_long_as_the_table(self):
        _, count = statements(PageQuery())

        assert_plan(count).uses_only("idx_notes_user_id").reads_the_index_alone()

    def test_one_note_is_read_by_its_key(self):
        note_id = Note.objects.values_list("pk", flat=True)[0]

        checked = assert_plan(lambda: selectors.load_notes([note_id]))

        checked.uses_only("notes_pkey").rows_examined_at_most(1)

    @pytest.mark.parametrize("field", ["title", "updated_at"])
    def test_a_sort_without_an_index_is_known_to_scan(self, field):
        """Documented in docs/data.md; a new index would have to change this line on purpose."""
        rows = selectors.page_rows(PageQuery(sort=Sort(field=field, descending=False)))

        assert_plan(rows).scans_whole_table()


@pytest.mark.django_db
@pytest.mark.usefixtures("plentiful")
class TestIndexes:
    def test_each_serves_a_query_of_the_service(self):
        assert unused() == set()

    def test_one_that_serves_none_is_found_out(self):
        """Though it is the smallest, and so the index by which all notes would be counted."""
        with connection.cursor() as cursor:
            cursor.execute("CREATE INDEX idx_notes_version ON notes (version)")

        assert unused() == {"idx_notes_version"}


def unused() -> set[str]:
    # Any index can count all notes, so that the smallest does so is no reason to have it.
    queries = [query for query in catalogue.notes_queries() if query.name != "count-all"]
    return of_table("notes") - set(used_by(queries))


def statements(query: PageQuery):
    """What a page sends: its rows, and how many there are of them in all."""
    return catalogue.capture_selects(lambda: selectors.load_list(query))
