"""assert_plan: what holds passes, what does not is reported with its plan."""

import pytest
from django.db import connection
from mongoengine.connection import get_db

from activity.documents import ActivityEvent
from cachelayer.models import OutboxRow
from config.explain.assertions import assert_plan
from config.explain.mongo_plans import Aggregate, Find
from notes.models import Note
from tests.builders import make_event, make_notes

NOTES = 3_000


@pytest.fixture(scope="module")
def _notes(django_db_setup, django_db_blocker):
    """Commit the rows once for all tests here, which only read them."""
    with django_db_blocker.unblock():
        make_notes(NOTES // 2)
        make_notes(NOTES // 2, user_id="eve", word="other")
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE notes")
    yield
    with django_db_blocker.unblock():
        Note.objects.all().delete()
        OutboxRow.objects.all().delete()


@pytest.fixture
def notes(_notes, db) -> None:
    """Notes to explain."""


@pytest.fixture
def events() -> None:
    ActivityEvent.ensure_indexes()
    ActivityEvent._get_collection().delete_many({})
    for _ in range(5):
        make_event()


def failure(check) -> str:
    with pytest.raises(AssertionError) as caught:
        check()
    return str(caught.value)


@pytest.mark.usefixtures("notes")
class TestQuerySets:
    def test_what_holds_can_be_chained(self):
        rows = Note.objects.order_by("-created_at")[:10]

        checked = assert_plan(rows).uses("idx_notes_created_at").no_seq_scan().no_sort()

        checked.uses_only("idx_notes_created_at").rows_examined_at_most(10).rows_fetched_at_most(10)
        assert checked.plan.rows_returned == 10

    def test_an_unused_index_is_reported_with_the_statement_and_the_plan(self):
        rows = Note.objects.order_by("-created_at")[:10]

        message = failure(lambda: assert_plan(rows).uses("idx_notes_title_search"))

        assert message.startswith(
            "the plan does not use idx_notes_title_search; it uses idx_notes_cr"
        )
        assert 'ORDER BY "notes"."created_at" DESC' in message
        assert "Index Scan using idx_notes_created_at on notes (10 rows of 3000 expected" in message

    def test_parameters_are_shown_as_sql_that_can_be_run(self):
        rows = Note.objects.filter(user_id="it's")

        message = failure(lambda: assert_plan(rows).rows_examined_at_most(-1))

        assert "'it''s'" in message

    @pytest.mark.parametrize(
        ("check", "message"),
        [
            (lambda plan: plan.no_seq_scan(), "reads the whole table; it uses no index"),
            (lambda plan: plan.no_sort(), "sorts"),
            (lambda plan: plan.uses_one_of("a", "b"), "should use one of a, b; it uses no index"),
            (lambda plan: plan.uses_only("a"), "should use a alone"),
            (lambda plan: plan.rows_examined_at_most(2_999), "examines 3000 rows, more than 2999"),
            (lambda plan: plan.rows_fetched_at_most(2_999), "fetches 3000 rows, more than 2999"),
            (lambda plan: plan.reads_the_index_alone(), "fetches 3000 rows"),
        ],
    )
    def test_each_check_fails_on_a_full_scan_and_says_why(self, check, message):
        plan = assert_plan(Note.objects.order_by("title"))

        assert message in failure(lambda: check(plan))
        assert "Seq Scan on notes (3000 rows of 3000 expected" in failure(lambda: check(plan))

    def test_an_accepted_scan_fails_once_an_index_serves_it(self):
        assert_plan(Note.objects.order_by("title")).scans_whole_table()

        message = failure(
            lambda: assert_plan(Note.objects.filter(pk=None or "0" * 32)).scans_whole_table()
        )

        assert "does not read the whole table any more" in message

    def test_rows_that_a_filter_leaves_out_count_as_examined(self):
        plan = assert_plan(Note.objects.filter(content="nothing")).plan

        assert (plan.rows_returned, plan.rows_examined) == (0, NOTES)


@pytest.mark.usefixtures("notes")
class TestCalls:
    def test_the_only_select_of_a_call_is_checked(self):
        assert_plan(Note.objects.filter(user_id="nobody").count).uses("idx_notes_user_id")

    @pytest.mark.parametrize(
        ("call", "sent"),
        [
            (lambda: None, "0 were sent"),
            (lambda: [Note.objects.count(), Note.objects.count()], "2"),
        ],
    )
    def test_a_call_with_no_select_or_several_is_refused(self, call, sent):
        assert f"one SELECT was expected, {sent}" in failure(lambda: assert_plan(call))


@pytest.mark.usefixtures("events")
class TestMongoDB:
    def test_a_cursor_is_explained_and_stays_fresh(self):
        cursor = ActivityEvent._get_collection().find({"user_id": "abc"})

        assert_plan(cursor).uses_only("user_id_timestamp").no_seq_scan().rows_examined_at_most(5)

        assert len(list(cursor)) == 5

    def test_a_pipeline_is_explained_with_its_collection(self):
        pipeline = [{"$match": {"user_id": "abc"}}, {"$group": {"_id": "$action"}}]
        collection = ActivityEvent._get_collection()

        checked = assert_plan(pipeline, collection=collection).uses("user_id_timestamp")

        assert checked.plan.rows_returned == 1
        with pytest.raises(TypeError, match="needs its collection"):
            assert_plan(pipeline)

    def test_a_failure_is_reported_with_the_stages(self):
        collection = ActivityEvent._get_collection()
        pipeline = [{"$match": {"ip_address": "192.0.2.1"}}, {"$group": {"_id": "$action"}}]

        message = failure(lambda: assert_plan(pipeline, collection=collection).no_seq_scan())

        assert "reads the whole table" in message
        assert 'activity_logs.aggregate([{"$match": {"ip_address": "192.0.2.1"}}' in message
        assert "COLLSCAN (5 rows" in message

    @pytest.mark.parametrize("verbose", ["sort", "filter"])
    def test_sorts_and_filters_are_recognized(self, verbose):
        cursor = get_db()["activity_logs"].find({"ip_address": "none"})
        plan = assert_plan(cursor.sort("user_agent") if verbose == "sort" else cursor)

        assert plan.plan.sorts is (verbose == "sort")
        assert (plan.plan.rows_returned, plan.plan.rows_examined) == (0, 5)

    def test_the_same_without_any_index_reads_the_whole_collection(self):
        collection = ActivityEvent._get_collection()
        find = Find(lambda: collection.find({"user_id": "abc"}).sort("timestamp", -1))
        pipeline = Aggregate(collection, [{"$match": {"user_id": "abc"}}])

        for statement in (find, pipeline):
            assert_plan(statement).uses_only("user_id_timestamp")
            assert_plan(statement.without_index()).scans_whole_table()
            assert statement.execute() == statement.without_index().execute() == 5
