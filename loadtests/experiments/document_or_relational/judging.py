"""From what was measured to the rows of the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtests.experiments.document_or_relational import expectations as expected
from loadtests.experiments.document_or_relational.measuring import (
    INSERT,
    INSERT_ON_DISK,
    UPDATE,
    UPDATE_ON_DISK,
)
from loadtests.experiments.document_or_relational.pairs import AddedField, Pair
from loadtests.experiments.document_or_relational.stores import Durability, Filtered, SizeOnDisk
from loadtests.lab.experiment import Series
from loadtests.stats import Ratio


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All that a run measured; pairs are MongoDB's figure and PostgreSQL's."""

    durability: tuple[Durability, Durability]
    syncs: tuple[float, float]  # of the log, for one write
    http: Pair
    by_size: Mapping[int, Mapping[str, Pair]]
    sizes_on_disk: tuple[SizeOnDisk, SizeOnDisk]
    filters: tuple[Pair, Pair]  # without and with an index
    filtered: Sequence[Filtered]
    added: AddedField
    joins: tuple[Pair, Pair]
    another_shape: tuple[bool, bool]
    dangling: tuple[bool, bool]

    @property
    def all_pairs(self) -> list[Pair]:
        """Everything that both stores did in turns."""
        operations = [pair for one in self.by_size.values() for pair in one.values()]
        return [*operations, *self.filters, self.added.pair, *self.joins, self.http]


# Names of the series that are no times.
SYNCS = "syncs of the log for a write, MongoDB and PostgreSQL"
LOGGED_BY_MONGODB = "bytes logged for a nested update, by size, MongoDB"
LOGGED_BY_POSTGRES = "bytes logged for a nested update, by size, PostgreSQL"
READ_BY_A_FILTER = "documents read by a filter, in the order of the table"
BY_DEFAULT = "documents that show a default, MongoDB and PostgreSQL"
COLUMN_BYTES = "bytes logged for a column with a default"
SHAPE_TAKEN = "documents of another shape taken, MongoDB and PostgreSQL"
DANGLING_TAKEN = "notes of nobody taken, MongoDB and PostgreSQL"
Verdict = tuple[bool | None, str, tuple[str, ...]]  # holds, observed, evidence


def beyond(ratio: Ratio, *, above: float, below: float = 1.0) -> bool | None:
    """Return whether the interval lies above, or not (below), or neither can be said."""
    if ratio.low > above:
        return True
    return False if ratio.high < below else None


def verdicts(measured: Measured) -> dict[str, Verdict]:
    """Return for each expectation whether it holds, with the figures that say so."""
    return {
        "same-durability": _durability(measured),
        **_nested(measured),
        "joins": _joins(measured),
        **_characteristics(measured),
        "query-flexibility": _flexibility(measured.filtered),
        **_schema(measured.added),
        "flexible": (
            all(measured.another_shape),
            f"taken by MongoDB: {_yes(measured.another_shape[0])}; "
            f"by jsonb: {_yes(measured.another_shape[1])}",
            (SHAPE_TAKEN,),
        ),
        "relationships": (
            measured.dangling == (True, False),
            f"taken by MongoDB: {_yes(measured.dangling[0])}; "
            f"by PostgreSQL with a foreign key: {_yes(measured.dangling[1])}",
            (DANGLING_TAKEN,),
        ),
    }


def series(measured: Measured) -> list[Series]:
    """Return all raw values."""
    logged = [one[UPDATE_ON_DISK] for _, one in sorted(measured.by_size.items())]
    return [
        *(one for pair in measured.all_pairs for one in pair.series()),
        Series(name=SYNCS, arm="both", unit="syncs", values=measured.syncs),
        Series(
            name=LOGGED_BY_MONGODB,
            arm="mongo",
            unit="bytes",
            values=tuple(one.mongo_bytes for one in logged),
        ),
        Series(
            name=LOGGED_BY_POSTGRES,
            arm="postgres",
            unit="bytes",
            values=tuple(one.postgres_bytes for one in logged),
        ),
        _counts(READ_BY_A_FILTER, "documents", *(one.examined for one in measured.filtered)),
        _counts(BY_DEFAULT, "documents", *measured.added.by_default),
        Series(
            name=COLUMN_BYTES,
            arm="postgres",
            unit="bytes",
            values=(float(measured.added.column_bytes),),
        ),
        _counts(SHAPE_TAKEN, "documents", *measured.another_shape),
        _counts(DANGLING_TAKEN, "notes", *measured.dangling),
    ]


def _counts(name: str, unit: str, *values: int) -> Series:
    return Series(name=name, arm="both", unit=unit, values=tuple(map(float, values)))


def _durability(measured: Measured) -> Verdict:
    holds = all(one.holds for one in measured.durability) and min(measured.syncs) >= 0.9
    told = "; ".join(
        f"{name} = {value}" for one in measured.durability for name, value in one.settings
    )
    syncs = f"syncs for a write: MongoDB {measured.syncs[0]:g}, PostgreSQL {measured.syncs[1]:g}"
    return holds, f"{told}; {syncs}", (SYNCS,)


def _nested(measured: Measured) -> dict[str, Verdict]:
    small, large = (measured.by_size[size] for size in (expected.SMALL_BYTES, expected.LARGE_BYTES))
    logged, more = small[UPDATE_ON_DISK], large[UPDATE_ON_DISK]
    grew = (more.mongo_bytes / logged.mongo_bytes, more.postgres_bytes / logged.postgres_bytes)
    told = (
        f"MongoDB {logged.mongo_bytes:.0f} and {more.mongo_bytes:.0f} bytes, "
        f"PostgreSQL {logged.postgres_bytes:.0f} and {more.postgres_bytes:.0f}"
    )
    return {
        "nested-update": _both_ways(small[UPDATE], logged, above=1),
        "nested-update-large": _both_ways(large[UPDATE], more, above=expected.FACTOR),
        "nested-update-bytes": (
            grew[0] < expected.LOG_GROWTH_MONGO and grew[1] > expected.LOG_GROWTH_POSTGRES,
            told,
            (LOGGED_BY_MONGODB, LOGGED_BY_POSTGRES),
        ),
        "write-latency": _both_ways(small[INSERT], small[INSERT_ON_DISK], above=1),
    }


def _both_ways(work: Pair, on_disk: Pair, *, above: float) -> Verdict:
    """Judge what it costs the store; tell of the wait for the disk as well."""
    told = f"{work.told()}; with the wait for the disk: {on_disk.told()}"
    return beyond(work.ratio, above=above), told, (*_names(work), *_names(on_disk))


def _joins(measured: Measured) -> Verdict:
    highest = max(pair.ratio.high for pair in measured.joins)
    lowest = min(pair.ratio.low for pair in measured.joins)
    holds = True if highest < 1 else (False if lowest > 1 else None)
    told = "; ".join(f"{pair.name}: {pair.told()}" for pair in measured.joins)
    return holds, told, tuple(name for pair in measured.joins for name in _names(pair))


def _characteristics(measured: Measured) -> dict[str, Verdict]:
    pairs = [pair for one in measured.by_size.values() for pair in one.values()]
    least = min(pairs, key=lambda pair: pair.ratio.value)
    most = max(pairs, key=lambda pair: pair.ratio.value)
    told = f"{least.name}: {least.ratio.value:.2f}; {most.name}: {most.ratio.value:.2f}"
    mongo = [one.name for one in measured.all_pairs if one.ratio.low > expected.FACTOR]
    postgres = [one.name for one in measured.all_pairs if one.ratio.high < 1 / expected.FACTOR]
    http = measured.http.ratio
    within = http.low > 1 / expected.HTTP_FACTOR and http.high < expected.HTTP_FACTOR
    outside = http.low > expected.HTTP_FACTOR or http.high < 1 / expected.HTTP_FACTOR
    return {
        "read-write": (
            most.ratio.value / least.ratio.value > expected.CHARACTERISTICS,
            told,
            (*_names(least), *_names(most)),
        ),
        "no-best": (
            bool(mongo and postgres) or None,
            f"MongoDB: {', '.join(mongo) or 'none'}; PostgreSQL: {', '.join(postgres) or 'none'}",
            tuple(name for one in measured.all_pairs for name in _names(one)),
        ),
        "read-latency": (
            True if within else (False if outside else None),
            measured.http.told(),
            _names(measured.http),
        ),
    }


def _flexibility(filtered: Sequence[Filtered]) -> Verdict:
    without = [one for one in filtered if one.index == "none"]
    indexed = [one for one in filtered if one.index != "none"]
    everything = max(one.examined for one in filtered)
    holds = (
        len({one.found for one in filtered}) == 1
        and all(one.examined == everything for one in without)
        and all(one.examined == one.found for one in indexed)
    )
    told = "; ".join(f"{one.index}: {one.examined} read for {one.found}" for one in filtered)
    return holds, told, (READ_BY_A_FILTER,)


def _schema(added: AddedField) -> dict[str, Verdict]:
    pair = added.pair
    written = (
        f"{pair.mongo_bytes:.0f} and {pair.postgres_bytes:.0f} bytes for each of {added.documents}; "
        f"data grew by {added.mongo_grew / 1e6:.1f} and {added.postgres_grew / 1e6:.1f} MB in "
        f"{len(pair.mongo_ms)} such changes; {pair.told()}"
    )
    return {
        "schema-by-default": (
            added.by_default == (added.documents, added.documents),
            f"{added.by_default[0]} and {added.by_default[1]} of {added.documents} documents",
            (BY_DEFAULT,),
        ),
        "schema-written": (
            pair.postgres_bytes / pair.mongo_bytes > expected.ADDED_BYTES_FACTOR,
            written,
            _names(pair),
        ),
        "schema-column": (
            added.column_rows >= added.documents
            and added.column_bytes < expected.COLUMN_SHARE * pair.postgres_bytes * added.documents,
            f"{added.column_bytes / 1000:.0f} KB of "
            f"{pair.postgres_bytes * added.documents / 1000:.0f}, and {added.column_ms:.1f} ms for "
            f"{added.column_rows} rows",
            (COLUMN_BYTES,),
        ),
    }


def _names(pair: Pair) -> tuple[str, ...]:
    return tuple(one.name for one in pair.series())


def _yes(taken: bool) -> str:
    return "yes" if taken else "no"
