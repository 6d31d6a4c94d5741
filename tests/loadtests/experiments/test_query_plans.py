"""Plans in figures, indexes that come back whatever happens, and verdicts on made-up plans."""

import dataclasses
import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from config.explain.plan import Node, Plan
from config.explain.variants import QUERY, IndexVariant, PageAtDepth, explain_runs
from config.stack import Stack
from config.stack.process import StackError
from loadtests.experiments.query_plans import EXPERIMENT, method, scratch
from loadtests.experiments.query_plans.method import Observations, PageAtSize, Round
from loadtests.experiments.query_plans.queries import (
    CURSOR,
    DEEP,
    FIRST,
    Notes,
    access_path,
)
from loadtests.experiments.query_plans.variants import (
    EQUAL,
    ORDERED,
    IndexBenefit,
    IndexUsage,
    Selectivity,
    Variants,
    index_benefits,
    index_usage,
    usual_user,
    variants,
)
from loadtests.generators.http_load import Sample
from loadtests.lab import results
from loadtests.lab.experiment import Outcome

ROWS = 3_000
TABLE = """
    CREATE TABLE notes (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id varchar(128), title varchar(200),
        content text, created_at timestamptz, updated_at timestamptz, version int)"""
FILL = """
    INSERT INTO notes (user_id, title, content, created_at, updated_at, version)
    SELECT CASE WHEN n %% 7 = 0 THEN 'abc' ELSE 'user-' || n %% 50 END, 'title', repeat('x', 200),
           now() - n * interval '1 min', now() - n * interval '1 min', 1 + (n %% 5 = 0)::int * (n %% 7)
      FROM generate_series(1, %s) AS n"""
INDEXES = (
    "CREATE INDEX idx_notes_user_id ON notes (user_id)",
    "CREATE INDEX idx_notes_created_at ON notes (created_at DESC)",
    "CREATE INDEX idx_notes_title_search ON notes USING gin (to_tsvector('english', title))",
    "CREATE INDEX idx_notes_user_created ON notes (user_id, created_at DESC)",
)


@pytest.fixture(scope="module")
def url(stack: Stack) -> Iterator[str]:
    """A database of its own with a table of notes and its indexes."""
    operator = stack.operator_urls()["DATABASE_URL"]
    name = f"query_plans_{secrets.token_hex(4)}"
    with psycopg.connect(operator, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        own = operator.rsplit("/", 1)[0] + f"/{name}"
        with psycopg.connect(own, autocommit=True) as notes:
            notes.execute(TABLE)
            notes.execute(FILL, [ROWS])
            for statement in INDEXES:
                notes.execute(statement)
            notes.execute("VACUUM (ANALYZE) notes")
        yield own
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        connection.execute(drop.format(sql.Identifier(name)))


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connected:
        yield connected


def indexes(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes ORDER BY 1"
        ).fetchall()


class TestExplain:
    def test_counts_the_rows_that_a_plan_examined_and_names_its_access_path(self, connection):
        plan, again = explain_runs(Notes(connection).count_of_user("abc"), runs=2)

        assert plan.rows_returned == again.rows_returned == 1
        assert plan.rows_examined == ROWS // 7
        assert access_path(plan).endswith("Scan by idx_notes_user_id")


class TestWithoutIndexes:
    def test_there_is_none_of_them_within_and_each_again_after_it(self, url, connection):
        before = indexes(url)

        with scratch.without_indexes(url):
            [plan] = explain_runs(Notes(connection).by_offset(0), runs=1)
            within = indexes(url)

        assert access_path(plan) == "Seq Scan"
        assert plan.rows_examined == ROWS
        assert [name for name, _ in within if name.startswith("idx_")] == []
        assert indexes(url) == before

    @pytest.mark.parametrize("stops", [ValueError, KeyboardInterrupt])
    def test_they_come_back_after_an_exception(self, url, stops):
        before = indexes(url)

        with pytest.raises(stops), scratch.without_indexes(url):
            raise stops

        assert indexes(url) == before

    def test_nothing_is_dropped_where_one_is_missing(self, url, connection):
        definition = dict(indexes(url))["idx_notes_user_id"]
        connection.execute("DROP INDEX idx_notes_user_id")
        before = indexes(url)

        try:
            with (
                pytest.raises(StackError, match="idx_notes_user_id: missing"),
                scratch.without_indexes(url),
            ):
                pytest.fail("it went on")
            assert indexes(url) == before
        finally:
            connection.execute(definition)


class TestScratch:
    @pytest.mark.parametrize("stops", [ValueError, KeyboardInterrupt])
    def test_the_copy_is_dropped_after_an_exception(self, url, connection, stops):
        with pytest.raises(stops), scratch.table(url) as own:
            scratch.grow(own, 10)
            raise stops

        schema = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [scratch.NAME])
        assert schema.fetchone() is None

    def test_grows_beyond_the_notes(self, url):
        with scratch.table(url) as own:
            scratch.grow(own, 10)
            scratch.grow(own, 2 * ROWS + 1)

            count = sql.SQL("SELECT count(*), count(DISTINCT id) FROM {}")
            assert (
                own.connection.execute(count.format(scratch.TABLE)).fetchone()
                == (2 * ROWS + 1,) * 2
            )


class TestSweeps:
    def test_an_offset_scans_what_it_skips_and_a_cursor_does_not(self, connection):
        page = Notes(connection).last_page()

        with connection.transaction(force_rollback=True):
            # In so small a table the planner would rather read all of a user's notes and sort them.
            connection.execute("SET LOCAL enable_bitmapscan = off")
            connection.execute("SET LOCAL enable_sort = off")
            connection.execute("DROP INDEX idx_notes_created_at")
            pages = method.by_depth(Notes(connection), page, runs=1)
            deepest = method.deepest_by_composite(Notes(connection), page)

        assert [at.by_offset[0].rows_examined for at in pages] == [at.depth + 20 for at in pages]
        assert max(at.by_cursor[0].rows_examined for at in pages) <= 22
        assert deepest == page

    def test_a_larger_table_is_scanned_whole_without_an_index(self, url):
        with scratch.table(url) as own:
            pages = list(method.by_size(own, (1_000, 4_000), 10, runs=1))

        assert [at.bare[0].rows_examined for at in pages] == [1_000, 4_000]
        assert [at.page for at in pages] == [7, 10]
        assert all(at.indexed[0].indexes for at in pages)


class TestVariants:
    def test_each_is_tried_and_gone_again(self, url):
        with scratch.table(url) as own:
            tried = variants(own, ROWS, runs=1)
            benefits = list(index_benefits(own, usual_user(own, ROWS), runs=1))
            usage = list(index_usage(own, 5, runs=2))
            left = own.connection.execute(
                "SELECT 1 FROM pg_indexes WHERE schemaname = %s", [scratch.NAME]
            )
            assert left.fetchall() == []

        assert tried.composite[0].rows_examined <= tried.separate[0].rows_examined
        assert [(column, index.name) for column, index in tried.kinds] == [
            ("user_id", "btree"),
            ("user_id", "hash"),
            ("id", "btree"),
            ("id", "hash"),
        ]
        assert [bool(index.plans[ORDERED][0].indexes) for _, index in tried.kinds] == [
            True,
            False,
            True,
            False,
        ]
        assert [index.name for index in tried.partial] == ["none", "whole", "partial"]
        assert tried.selective[0].share == 1
        assert {benefit.name for benefit in benefits} == set(scratch.SEED_INDEXES)
        assert all(index.agrees for index in usage)


def plan(ms: float, kind: str = "Index Scan", scanned: int = 20, index: str = "i") -> Plan:
    root = Node(kind=kind, table="notes", index=None if kind == "Seq Scan" else index, rows=20)
    return Plan(
        store="postgres",
        statement="",
        root=root,
        rows_returned=20,
        rows_examined=scanned,
        rows_fetched=scanned,
        execution_ms=ms,
    )


def a_round(*, deep: Plan, first: Plan, latency_ms: float, cpu_ms: float) -> Round:
    return Round(
        plans={FIRST: [first], DEEP: [deep], CURSOR: [plan(0.03)]},
        samples=[Sample("list", 0.1 * number, latency_ms, 200) for number in range(10)],
        cpu_ms=cpu_ms,
    )


@pytest.fixture
def observations() -> Observations:
    """What a full run is expected to see."""
    whole = [plan(30 + number, "Seq Scan", 100_000) for number in range(3)]
    bitmap = [plan(15 + number, "Bitmap Heap Scan", 14_286) for number in range(3)]
    kinds = [
        (
            column,
            IndexVariant(
                name=kind,
                size_bytes=4096,
                built_ms=9,
                plans={
                    EQUAL: [plan(0.1)],
                    ORDERED: [plan(0.1) if kind == "btree" else whole[0]],
                },
            ),
        )
        for column in ("user_id", "id")
        for kind in ("btree", "hash")
    ]
    return Observations(
        notes=100_000,
        page=500,
        rounds={
            "without": [
                a_round(deep=deep, first=plan(20, "Seq Scan"), latency_ms=60, cpu_ms=50)
                for deep in whole
            ],
            "with": [
                a_round(deep=deep, first=plan(0.02), latency_ms=25, cpu_ms=20) for deep in bitmap
            ],
        },
        depths=[
            PageAtDepth(depth=0, by_offset=[plan(0.02)], by_cursor=[plan(0.03, scanned=22)]),
            PageAtDepth(depth=9980, by_offset=bitmap, by_cursor=[plan(0.03, scanned=22)]),
        ],
        deepest=236,
        variants=Variants(
            rows=100_000,
            separate=[plan(1, scanned=900)],
            composite=[plan(0.1)],
            kinds=kinds,
            edited_share=0.2,
            partial=[
                IndexVariant(name="none", plans={QUERY: [whole[0]]}),
                IndexVariant(name="whole", size_bytes=1000, plans={QUERY: [plan(0.1)]}),
                IndexVariant(name="partial", size_bytes=210, plans={QUERY: [plan(0.1)]}),
            ],
            selective=[
                Selectivity(
                    condition="version >= 1", share=1, planned=[whole[0]], full_scan=[whole[0]]
                ),
                Selectivity(
                    condition="version >= 6",
                    share=0.01,
                    planned=[plan(0.1)],
                    full_scan=[whole[0]],
                ),
            ],
        ),
        benefits=[
            IndexBenefit(name="small", query="", size_bytes=2**20, without_ms=1, with_ms=0.9),
            IndexBenefit(name="large", query="", size_bytes=2**22, without_ms=1, with_ms=0.5),
            IndexBenefit(name="apt", query="", size_bytes=2**21, without_ms=30, with_ms=0.1),
        ],
        usage=[IndexUsage(query=FIRST, runs=3, planned=frozenset({"a"}), scans={"a": 3, "b": 0})],
        sizes=[
            PageAtSize(rows=100_000, page=500, bare=whole, indexed=bitmap),
            PageAtSize(
                rows=1_000_000,
                page=500,
                bare=[plan(250, "Seq Scan", 1_000_000)],
                indexed=[plan(10, index=scratch.COMPOSITE)],
            ),
        ],
    )


def outcome(observations: Observations, key: str) -> Outcome:
    return next(
        row.outcome
        for row in EXPERIMENT.expectations.judge(observations)
        if row.expectation.key == key
    )


def with_rounds(observations: Observations, arm: str, **changes: object) -> Observations:
    rounds = [dataclasses.replace(turn, **changes) for turn in observations.rounds[arm]]
    return dataclasses.replace(observations, rounds=observations.rounds | {arm: rounds})


class TestFindings:
    def test_what_is_expected_comes_out_as_declared_and_is_whole(self, observations):
        findings = EXPERIMENT.findings(observations)

        results.check(EXPERIMENT, findings, [])
        assert [row.expectation for row in findings.rows] == list(EXPERIMENT.expectations)
        assert all(row.is_as_declared(quick=False) for row in findings.rows)
        assert len(findings.charts) == 3

    def test_a_second_is_reached_in_proportion_to_the_largest_table(self, observations):
        assert observations.rows_at_one_second() == 4_000_000
        assert (
            EXPERIMENT.findings(observations).quantities["notes_at_one_second_without_index"]
            == 4_000_000
        )

    def test_slow_answers_confirm_seconds(self, observations):
        slow = [Sample("list", 0, 1500.0, 200)] * 10

        assert (
            outcome(with_rounds(observations, "without", samples=slow), "seconds")
            is Outcome.CONFIRMED
        )

    def test_too_few_answers_tell_nothing_of_seconds(self, observations):
        failed = [Sample("list", 0, 10.0, 503)] * 9 + [Sample("list", 0, 9.0, 200)]

        other = with_rounds(observations, "without", samples=failed)
        assert outcome(other, "seconds") is Outcome.INCONCLUSIVE

    @pytest.mark.parametrize(
        ("cpu_ms", "expected"),
        [(20.0, Outcome.REFUTED), (24.0, Outcome.INCONCLUSIVE), (50.0, Outcome.CONFIRMED)],
    )
    def test_cpu_use_is_judged_by_its_interval(self, observations, cpu_ms, expected):
        assert outcome(with_rounds(observations, "without", cpu_ms=cpu_ms), "high-cpu") is expected

    @pytest.mark.parametrize(
        ("key", "deep", "expected"),
        [
            ("index-scan", plan(15, "Index Scan", 10_000), Outcome.CONFIRMED),
            ("rows-scanned", plan(15, "Index Scan", 30), Outcome.CONFIRMED),
            ("much-faster", plan(0.1), Outcome.CONFIRMED),
            ("much-faster", plan(40.0), Outcome.REFUTED),
        ],
    )
    def test_another_plan_comes_to_another_verdict(self, observations, key, deep, expected):
        plans = observations.rounds["with"][0].plans | {DEEP: [deep]}

        assert outcome(with_rounds(observations, "with", plans=plans), key) is expected

    def test_an_index_scan_without_the_indexes_refutes_the_whole_scan(self, observations):
        plans = observations.rounds["without"][0].plans | {DEEP: [plan(1.0)]}

        assert outcome(with_rounds(observations, "without", plans=plans), "sequential-scan") is (
            Outcome.REFUTED
        )

    def test_uses_of_another_index_than_planned_refute_the_statistics(self, observations):
        other = [IndexUsage(query=FIRST, runs=3, planned=frozenset({"a"}), scans={"a": 3, "b": 1})]

        assert (
            outcome(dataclasses.replace(observations, usage=other), "index-usage")
            is Outcome.REFUTED
        )

    def test_a_cursor_that_scans_more_deeper_down_is_refuted(self, observations):
        deeper = PageAtDepth(depth=1, by_offset=[plan(1.0)], by_cursor=[plan(1.0, scanned=500)])

        other = dataclasses.replace(observations, depths=[*observations.depths, deeper])
        assert outcome(other, "cursor") is Outcome.REFUTED
