"""The method: both stores do the same in turns, round by round, so that noise affects both."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from loadtests.experiments.document_or_relational.comparison import AddedField, Pair
from loadtests.experiments.document_or_relational.documents import documents, user_id
from loadtests.experiments.document_or_relational.in_mongodb import InMongoDB
from loadtests.experiments.document_or_relational.in_postgres import InPostgres
from loadtests.experiments.document_or_relational.stores import (
    Durability,
    FilterPlan,
    SizeOnDisk,
    Store,
)
from loadtests.generators.http_load import Call, closed_loop
from loadtests.lab.lab import Lab
from loadtests.testbed.site import Site


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int
    sizes: tuple[int, ...]  # bytes of a document, ascending
    documents: int  # for filters and the added field
    http_requests: int  # of each arm


QUICK = Scale(11, (1_000, 30_000, 300_000), 3_000, 300)
FULL = Scale(21, (1_000, 3_000, 10_000, 30_000, 100_000, 300_000), 20_000, 1_000)
READ, UPDATE, INSERT = "read", "nested update", "insert"  # what it costs the store
UPDATE_ON_DISK, INSERT_ON_DISK = "nested update on disk", "insert on disk"
SMALL_BYTES, LARGE_BYTES = 1_000, 300_000
_NOTES_QUICK, _NOTES_FULL = 4_000, 20_000
_HTTP_CONNECTIONS = 10  # ab -c 10
_HTTP_ROUND_SECONDS = 0.15
_HTTP_ROUNDS_LEAST = 15
# By size of document, up to: the factor of the rounds, and the repeats in each. With many short rounds
# small documents can be compared even if the machine stalls in some.
_TURNS = ((10_000, 3, 8), (100_000, 1, 8), (1_000_000, 1, 4))
_BYTES_AT_ONE_SIZE = 6_000_000


class StoreComparison:
    """The two stores, and how they are measured against each other."""

    def __init__(self, mongo: InMongoDB, postgres: InPostgres, scale: Scale, seed: int) -> None:
        self.mongo, self.postgres = mongo, postgres
        self.scale, self._seed = scale, seed
        self._rng = random.Random(seed)  # noqa: S311  # which document is next

    def measure(
        self, name: str, act: Callable[[Store], object], *, repeats: int, times: int = 1
    ) -> Pair:
        """Measure an action in `times` as many rounds of `repeats` each; the stores take turns at being first."""
        rounds = times * self.scale.rounds
        stores: tuple[Store, Store] = (self.mongo, self.postgres)
        times_ms: dict[str, list[float]] = {store.name: [] for store in stores}
        logged: dict[str, int] = {store.name: 0 for store in stores}
        for store in stores:  # plans, caches and the first touch of a page
            _repeat(act, store, repeats)
        for number in range(rounds):
            for store in stores if number % 2 else stores[::-1]:
                before = store.written_bytes()
                times_ms[store.name].append(_repeat(act, store, repeats))
                logged[store.name] += store.written_bytes() - before
        done = rounds * repeats
        return Pair(
            name,
            tuple(times_ms[self.mongo.name]),
            tuple(times_ms[self.postgres.name]),
            logged[self.mongo.name] / done,
            logged[self.postgres.name] / done,
        )

    def at_size(self, size: int) -> dict[str, Pair]:
        """
        Measure reading and writing documents of one size.

        The nested update and the insert twice: what they cost the store, and with the wait for
        the disk, which is the machine's.
        """
        count = max(20, min(500, _BYTES_AT_ONE_SIZE // size))
        sample = list(documents(count, size, seed=self._seed))
        for store in (self.mongo, self.postgres):
            store.fill(sample)
        keys = [user_id(number) for number in range(count)]
        new = iter(range(1_000_000))

        def insert(store: Store) -> None:
            store.insert({**sample[0], "user_id": f"new-{next(new):06}"})

        def update(store: Store) -> None:
            store.update_nested(self._rng.choice(keys), self._rng.randrange(10**6))

        in_memory: dict[str, Callable[[Store], object]] = {
            READ: lambda store: store.read(self._rng.choice(keys)),
            UPDATE: update,
            "replace": lambda store: store.replace(self._rng.choice(keys), sample[-1]),
            INSERT: insert,
        }
        on_disk = {UPDATE_ON_DISK: update, INSERT_ON_DISK: insert}
        return self._each(in_memory, size, wait=False) | self._each(on_disk, size, wait=True)

    def _each(
        self, kinds: Mapping[str, Callable[[Store], object]], size: int, *, wait: bool
    ) -> dict[str, Pair]:
        times, repeats = next(
            (times, repeats) for largest, times, repeats in _TURNS if size <= largest
        )
        for store in self._stores:
            store.wait_for_disk(wait)
        try:
            return {
                kind: self.measure(f"{kind}, {size / 1000:g} KB", act, repeats=repeats, times=times)
                for kind, act in kinds.items()
            }
        finally:
            for store in self._stores:
                store.wait_for_disk(True)

    def syncs_for_a_write(self, writes: int = 20) -> tuple[float, float]:
        """Return the log syncs of each store per nested update."""

        def write(store: Store) -> None:
            store.update_nested(user_id(0), self._rng.randrange(10**6))

        syncs = []
        for store in self._stores:
            before = store.syncs()
            _repeat(write, store, writes)
            syncs.append((store.syncs() - before) / writes)
        return syncs[0], syncs[1]

    def fill(self) -> tuple[SizeOnDisk, SizeOnDisk]:
        """Fill both with small documents; return what they take on disk."""
        sample = list(documents(self.scale.documents, 1_000, seed=self._seed))
        self.mongo.fill(sample)
        self.postgres.fill(sample)
        return self.mongo.size(), self.postgres.size()

    def filter(self) -> tuple[Pair, Pair, list[FilterPlan]]:
        """Measure a filter on the nested key, without and with its index; explain every kind."""
        first = {
            self.mongo.name: self.mongo.index_kinds[0],
            self.postgres.name: self.postgres.index_kinds[0],
        }
        value = 7

        def act(store: Store) -> object:
            return store.filter_nested(value, first[store.name])

        without = self.measure("filter without index", act, repeats=1)
        explained = [store.explain_nested(value, first[store.name]) for store in self._stores]
        for store in self._stores:
            store.index_nested(first[store.name])
        with_index = self.measure("filter with index", act, repeats=4)
        explained += [store.explain_nested(value, first[store.name]) for store in self._stores]
        for store in self._stores:
            store.unindex_nested(first[store.name])
            for kind in store.index_kinds[1:]:
                store.index_nested(kind)
                explained.append(store.explain_nested(value, kind))
                store.unindex_nested(kind)
        return without, with_index, explained

    def add_field(self) -> AddedField:
        """Show a field by a default, then write it into every document, then add it as a column."""
        by_default = tuple(store.count_with_default("timezone") for store in self._stores)
        before = [store.size() for store in self._stores]
        times_ms: list[list[float]] = [[], []]
        logged = [0, 0]
        rounds = 3
        for number in range(rounds):

            def add(store: Store, name: str = f"added_{number}") -> int:
                return store.add_field(name)

            for which, store in enumerate(self._stores):
                written = store.written_bytes()
                times_ms[which].append(_repeat(add, store, 1))
                logged[which] += store.written_bytes() - written
        after = [store.size() for store in self._stores]
        written = self.postgres.written_bytes()
        column_ms = _repeat(lambda _: self.postgres.add_column(), self.postgres, 1)
        column_bytes = self.postgres.written_bytes() - written
        return AddedField(
            documents=self.scale.documents,
            pair=Pair(
                "field added to all",
                tuple(times_ms[0]),
                tuple(times_ms[1]),
                logged[0] / rounds / self.scale.documents,
                logged[1] / rounds / self.scale.documents,
            ),
            mongo_grew=after[0].data - before[0].data,
            postgres_grew=after[1].data - before[1].data,
            column_ms=column_ms,
            column_bytes=column_bytes,
            column_rows=self.postgres.count_column(),
            by_default=(by_default[0], by_default[1]),
        )

    def join(self) -> tuple[Pair, Pair]:
        """Measure two joins of the service's profiles and notes. Raises ValueError if they differ."""
        self.mongo.copy_notes(self.postgres.notes())
        counted = [store.count_notes() for store in self._stores]
        summarized = [store.summarize_notes() for store in self._stores]
        if counted[0] != counted[1] or summarized[0] != summarized[1]:
            raise ValueError("the two stores do not join to the same")
        return (
            self.measure("notes of each profile", lambda store: store.count_notes(), repeats=1),
            self.measure(
                "notes by language of the dark", lambda store: store.summarize_notes(), repeats=1
            ),
        )

    def store_other_shape(self) -> tuple[bool, bool]:
        """Store a document with a word in place of an object; return whether the filter finds the same as before."""
        stored = []
        for store in self._stores:
            kind = store.index_kinds[0]
            before = store.filter_nested(7, kind)
            store.insert({"user_id": "another", "preferences": {"editor": "vim"}})
            stored.append(store.filter_nested(7, kind) == before and bool(store.read("another")))
        return stored[0], stored[1]

    def accepts_dangling_note(self) -> tuple[bool, bool]:
        """Return whether each store accepts a note without a profile."""
        return self.mongo.accepts_dangling_note(), self.postgres.accepts_dangling_note()

    @property
    def _stores(self) -> tuple[Store, Store]:
        return self.mongo, self.postgres


@dataclass(frozen=True, kw_only=True)
class Observations:
    """All that a run measured; pairs are MongoDB's figure and PostgreSQL's."""

    durability: tuple[Durability, Durability]
    syncs: tuple[float, float]  # of the log, for one write
    http: Pair
    by_size: Mapping[int, Mapping[str, Pair]]
    sizes_on_disk: tuple[SizeOnDisk, SizeOnDisk]
    filters: tuple[Pair, Pair]  # without and with an index
    filtered: Sequence[FilterPlan]
    added: AddedField
    joins: tuple[Pair, Pair]
    other_shape: tuple[bool, bool]
    dangling_note: tuple[bool, bool]

    @property
    def all_pairs(self) -> list[Pair]:
        """Everything that both stores did in turns."""
        operations = [pair for kinds in self.by_size.values() for pair in kinds.values()]
        return [*operations, *self.filters, self.added.pair, *self.joins, self.http]


def run(lab: Lab) -> Observations:
    """Measure both stores in turns; leave nothing of it behind. Raises StackError."""
    with lab.site("both", notes=_NOTES_QUICK if lab.quick else _NOTES_FULL) as site:
        urls = site.stack.operator_urls()
        with (
            closing(InMongoDB(urls["MONGODB_URI"])) as mongo,
            closing(InPostgres(urls["DATABASE_URL"])) as postgres,
        ):
            comparison = StoreComparison(mongo, postgres, QUICK if lab.quick else FULL, lab.seed)
            try:
                return _measure(lab, site, comparison)
            finally:
                mongo.drop()
                postgres.drop()


def _measure(lab: Lab, site: Site, comparison: StoreComparison) -> Observations:
    durability = (comparison.mongo.durability(), comparison.postgres.durability())
    for name, value in (setting for store in durability for setting in store.settings):
        lab.progress(f"{name}: {value}")
    lab.progress("reading a profile over HTTP, 10 at a time, from either store")
    http = _over_http(site, requests=comparison.scale.http_requests)
    by_size = {}
    for size in comparison.scale.sizes:
        lab.progress(f"reading, inserting, updating and replacing documents of {size / 1000:g} KB")
        by_size[size] = comparison.at_size(size)
    syncs = comparison.syncs_for_a_write()
    lab.progress(f"{comparison.scale.documents} documents: a filter, a new field, joins")
    sizes_on_disk = comparison.fill()
    without, with_index, filtered = comparison.filter()
    return Observations(
        durability=durability,
        syncs=syncs,
        http=http,
        by_size=by_size,
        sizes_on_disk=sizes_on_disk,
        filters=(without, with_index),
        filtered=filtered,
        added=comparison.add_field(),
        joins=comparison.join(),
        other_shape=comparison.store_other_shape(),
        dangling_note=comparison.accepts_dangling_note(),
    )


def _over_http(site: Site, *, requests: int) -> Pair:
    """Read one profile from either store in turns, ten at a time, with at least that many requests."""
    calls = [Call(arm, f"/api/v1/profiles/{arm}/abc") for arm in ("mongo", "postgres")]
    for call in calls:
        closed_loop(site.url, call, connections=_HTTP_CONNECTIONS, seconds=_HTTP_ROUND_SECONDS)
    medians: list[list[float]] = [[], []]
    sent = [0, 0]
    while min(sent) < requests or len(medians[1]) < _HTTP_ROUNDS_LEAST:
        for which, call in enumerate(calls):
            samples = closed_loop(
                site.url, call, connections=_HTTP_CONNECTIONS, seconds=_HTTP_ROUND_SECONDS
            )
            odd = [sample.status for sample in samples if sample.status != 200]
            if odd:
                raise ValueError(f"{call.path}: {len(odd)} of {len(samples)} answers were {odd[0]}")
            medians[which].append(statistics.median(sample.latency_ms for sample in samples))
            sent[which] += len(samples)
    return Pair("read over HTTP", tuple(medians[0]), tuple(medians[1]))


def _repeat(act: Callable[[Store], object], store: Store, times: int) -> float:
    """Repeat an action; return the median in milliseconds, which a stall of the machine hardly affects."""
    times_ms = []
    for _ in range(times):
        began = time.perf_counter()
        act(store)
        times_ms.append((time.perf_counter() - began) * 1000)
    return statistics.median(times_ms)
