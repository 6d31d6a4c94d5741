"""MongoDB against PostgreSQL: what is judged of made-up figures, and what a run leaves behind."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pymongo
import pytest

from loadtests.experiments.document_or_relational import EXPERIMENT, charts, method
from loadtests.experiments.document_or_relational.comparison import AddedField, Pair, crossover
from loadtests.experiments.document_or_relational.documents import DEEP, documents
from loadtests.experiments.document_or_relational.expectations import beyond
from loadtests.experiments.document_or_relational.in_mongodb import InMongoDB
from loadtests.experiments.document_or_relational.in_postgres import InPostgres
from loadtests.experiments.document_or_relational.method import Observations, Scale, StoreComparison
from loadtests.experiments.document_or_relational.stores import (
    SCRATCH,
    SCRATCH_NOTES,
    Durability,
    FilterPlan,
    SizeOnDisk,
)
from loadtests.lab.experiment import Outcome
from loadtests.lab.lab import Lab
from loadtests.lab.results import check
from loadtests.stats import Ratio
from loadtests.testbed.site import Site

SCALE = Scale(rounds=1, sizes=(1_000,), documents=200, http_requests=1)


def pair(ratio: float, *, name: str = "made up", logged: tuple[float, float] = (1, 1)) -> Pair:
    """Both stores over five rounds; ratio is PostgreSQL's time to MongoDB's."""
    mongo = (1.0, 1.1, 0.9, 1.0, 1.05)
    return Pair(name, mongo, tuple(ratio * value for value in mongo), *logged)


def unclear(name: str = "made up") -> Pair:
    return Pair(name, (1.0, 2.0, 1.0, 2.0), (2.0, 1.0, 2.0, 1.0))


def at_size(size: int, ratio: float, logged: tuple[float, float]) -> dict[str, Pair]:
    kinds = (method.READ, method.UPDATE, method.INSERT)
    on_disk = (method.UPDATE_ON_DISK, method.INSERT_ON_DISK)
    return {kind: pair(ratio, name=f"{kind}, {size}", logged=logged) for kind in (*kinds, *on_disk)}


MEASURED = Observations(
    durability=(Durability((("j", "true"),), True), Durability((("fsync", "on"),), True)),
    syncs=(1.0, 1.0),
    http=pair(1.2, name="http"),
    by_size={1_000: at_size(1_000, 0.3, (640, 900)), 300_000: at_size(300_000, 9, (660, 222_000))},
    sizes_on_disk=(SizeOnDisk(1, 1), SizeOnDisk(2, 2)),
    filters=(pair(0.8, name="without"), pair(0.3, name="with")),
    filtered=(
        FilterPlan("none", 2, 200, 0),
        FilterPlan("none", 2, 200, 0),
        FilterPlan("dotted path", 2, 2, 4096),
        FilterPlan("GIN jsonb_path_ops", 2, 2, 8192),
    ),
    added=AddedField(
        200, pair(1.1, name="added", logged=(256, 1748)), 1, 9, 2.0, 900, 200, (200, 200)
    ),
    joins=(pair(0.4, name="one join"), pair(0.2, name="another")),
    other_shape=(True, True),
    dangling_note=(True, False),
)


def outcome(key: str, **changes: object) -> bool | None:
    rows = EXPERIMENT.expectations.judge(replace(MEASURED, **changes))
    outcome = next(row.outcome for row in rows if row.expectation.key == key)
    return {Outcome.CONFIRMED: True, Outcome.REFUTED: False, Outcome.INCONCLUSIVE: None}[outcome]


class TestVerdicts:
    def test_come_out_as_declared_for_what_was_seen(self):
        rows = EXPERIMENT.findings(MEASURED).rows

        assert [row.expectation.key for row in rows if not row.is_as_declared(quick=False)] == []

    def test_name_evidence_that_is_there(self):
        check(EXPERIMENT, EXPERIMENT.findings(MEASURED), steady=())

    @pytest.mark.parametrize(
        ("ratio", "expected"),
        [
            (Ratio(2, 1.6, 2.5), True),
            (Ratio(1.2, 0.9, 1.6), None),
            (Ratio(1.3, 1.1, 1.4), None),
            (Ratio(0.5, 0.4, 0.9), False),
        ],
    )
    def test_claim_a_gain_where_the_whole_interval_has_it(self, ratio, expected):
        assert beyond(ratio, above=1.5) is expected

    def test_can_go_the_other_way(self):
        small = MEASURED.by_size[1_000] | {method.UPDATE: pair(2.0), method.INSERT: unclear()}
        by_size = {**MEASURED.by_size, 1_000: small}
        alike = FilterPlan("GIN jsonb_path_ops", 2, 200, 8192)

        assert outcome("nested-update", by_size=by_size) is True
        assert outcome("write-latency", by_size=by_size) is None
        assert outcome("joins", joins=(pair(2.0), pair(3.0))) is False
        assert outcome("joins", joins=(pair(0.2), pair(3.0))) is None
        assert outcome("same-durability", syncs=(1.0, 0.1)) is False
        assert outcome("query-flexibility", filtered=(*MEASURED.filtered, alike)) is False
        assert outcome("relationships", dangling_note=(True, True)) is False
        assert outcome("flexible", other_shape=(True, False)) is False
        assert outcome("read-latency", http=pair(5.0)) is False

    def test_of_bytes_compare_sizes(self):
        grown = at_size(300_000, 9, (6_400, 222_000))
        added = replace(MEASURED.added, column_bytes=10**9)

        assert outcome("nested-update-bytes", by_size={**MEASURED.by_size, 300_000: grown}) is False
        assert outcome("schema-column", added=added) is False
        assert outcome("schema-by-default", added=replace(added, by_default=(200, 0))) is False
        assert outcome("schema-written", added=replace(added, pair=pair(1))) is False


class TestCrossover:
    @pytest.mark.parametrize(
        ("ratios", "expected"),
        [
            ((0.5, 0.8, 0.9), None),
            ((2.0, 3.0, 4.0), 1.0),
            ((0.5, 2.0, 4.0), 10**0.5),
            ((1.2, 0.5, 2.0), 10**1.5),
        ],
    )
    def test_is_where_the_ratio_last_passes_one(self, ratios, expected):
        size = crossover((1, 10, 100), ratios)

        assert size == (None if expected is None else pytest.approx(expected))

    def test_is_in_the_title_and_in_the_advice(self):
        at = charts.crossover_kb(MEASURED)

        assert f"from {at:.0f} KB on" in charts.present(MEASURED).charts[0].title
        assert f"beyond {at:.0f} KB" in charts.present(MEASURED).remarks[0]
        assert charts.present(MEASURED).quantities["nested_update_crossover_kb"] == at


class TestDocuments:
    @pytest.mark.parametrize("size", [1_000, 30_000])
    def test_are_the_same_each_time_and_as_large_as_they_should_be(self, size):
        first, second = (list(documents(20, size, seed=1)) for _ in range(2))

        assert first == second
        for document in first:
            assert size * 0.9 < len(json.dumps(document)) < size * 1.4
        deep = first[7]
        for key in DEEP:
            deep = deep[key]
        assert deep == 7


@pytest.fixture
def comparison(stack) -> Iterator[StoreComparison]:
    urls = stack.operator_urls()
    mongo, postgres = InMongoDB(urls["MONGODB_URI"]), InPostgres(urls["DATABASE_URL"])
    try:
        yield StoreComparison(mongo, postgres, SCALE, seed=1)
    finally:
        for store in (mongo, postgres):
            store.drop()
            store.close()


class TestBothStores:
    def test_hold_and_find_the_same(self, comparison):
        comparison.fill()
        without, with_index, filtered = comparison.filter()
        added = comparison.add_field()

        assert all(store.durability().holds for store in (comparison.mongo, comparison.postgres))
        assert [(plan.index, plan.matched, plan.examined) for plan in filtered] == [
            *((("none", 2, 200),) * 2),
            *((kind, 2, 2) for kind in ("dotted path", "GIN jsonb_path_ops", "expression")),
        ]
        assert added.by_default == (200, 200)
        assert added.column_rows == 200
        assert comparison.store_other_shape() == (True, True)
        assert len(without.mongo_ms) == len(with_index.postgres_ms) == SCALE.rounds

    def test_change_the_value_that_is_deep_inside(self, comparison):
        assert set(comparison.at_size(1_000)) >= {method.UPDATE, method.UPDATE_ON_DISK}
        for store in (comparison.mongo, comparison.postgres):
            store.update_nested("user-000003", 4711)
            changed = store.read("user-000003")
            assert changed["preferences"]["editor"]["fonts"] == {
                "code": {"size": 4711},
                "text": {"size": 12},
            }

    def test_wait_for_the_disk_when_they_are_told_to(self, comparison):
        comparison.at_size(1_000)

        assert min(comparison.syncs_for_a_write(5)) >= 0.9


class TestRun:
    def test_leaves_nothing_behind_when_it_fails(self, stack, monkeypatch):
        class Served(Lab):
            @contextmanager
            def site(self, arm: str, **options: object) -> Iterator[Site]:
                yield Site("http://127.0.0.1:1", stack, 0)

        def fail(lab: Lab, site: Site, comparison: StoreComparison) -> Observations:
            comparison.fill()
            raise KeyboardInterrupt

        monkeypatch.setattr(method, "_measure", fail)

        with pytest.raises(KeyboardInterrupt):
            EXPERIMENT.run(Served(quick=True))

        urls = stack.operator_urls()
        with (
            psycopg.connect(urls["DATABASE_URL"]) as postgres,
            pymongo.MongoClient(urls["MONGODB_URI"]) as mongo,
        ):
            assert postgres.execute("SELECT to_regclass(%s)", [SCRATCH]).fetchone() == (None,)
            left = set(mongo.get_default_database().list_collection_names())
            assert not left & {SCRATCH, SCRATCH_NOTES}
