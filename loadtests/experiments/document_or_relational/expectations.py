"""What is expected of the two stores, each expectation with its threshold and its test."""

from collections.abc import Sequence
from typing import Final

from loadtests.experiments.document_or_relational.comparison import Pair
from loadtests.experiments.document_or_relational.method import (
    INSERT,
    INSERT_ON_DISK,
    LARGE_BYTES,
    SMALL_BYTES,
    UPDATE,
    UPDATE_ON_DISK,
    Observations,
)
from loadtests.lab.experiment import Expectations, Outcome, Verdict
from loadtests.stats import Ratio

FACTOR: Final = 1.5  # faster than noise and drivers explain
LOG_GROWTH_MONGO, LOG_GROWTH_POSTGRES = 2.0, 50.0  # of the log, where the document grows 300-fold
CHARACTERISTICS: Final = 3.0  # between the largest ratio of the two stores and the smallest
HTTP_FACTOR: Final = 3.0
ADDED_BYTES_FACTOR: Final = 2.0
COLUMN_SHARE: Final = 0.1  # a few pages of the catalog, against every row
SYNCS_EACH: Final = 0.9
_INTERVAL: Final = "95 % interval of the ratio of medians, paired by round"
# Names of the series that are no times.
SYNCS: Final = "syncs of the log for a write, MongoDB and PostgreSQL"
LOGGED_BY_MONGODB: Final = "bytes logged for a nested update, by size, MongoDB"
LOGGED_BY_POSTGRES: Final = "bytes logged for a nested update, by size, PostgreSQL"
READ_BY_A_FILTER: Final = "documents read by a filter, in the order of the table"
BY_DEFAULT: Final = "documents that show a default, MongoDB and PostgreSQL"
COLUMN_BYTES: Final = "bytes logged for a column with a default"
SHAPE_ACCEPTED: Final = "documents of another shape accepted, MongoDB and PostgreSQL"
DANGLING_ACCEPTED: Final = "notes of nobody accepted, MongoDB and PostgreSQL"
EXPECTATIONS: Final = Expectations[Observations]()


@EXPECTATIONS.declare(
    "Both stores have each write on the disk before they answer, so the comparison is fair.",
    threshold=f"settings read back from the servers, and at least {SYNCS_EACH:g} syncs of the log "
    "for each write",
)
def same_durability(observations: Observations) -> Verdict:
    settings = "; ".join(
        f"{name} = {value}"
        for durability in observations.durability
        for name, value in durability.settings
    )
    mongo, postgres = observations.syncs
    return Verdict(
        all(durability.holds for durability in observations.durability)
        and min(mongo, postgres) >= SYNCS_EACH,
        f"{settings}; syncs for a write: MongoDB {mongo:g}, PostgreSQL {postgres:g}",
        [SYNCS],
    )


@EXPECTATIONS.declare(
    "A nested update of a document of 1 KB, as profiles are, is faster in MongoDB.",
    line=1755,
    threshold=f"{_INTERVAL}, without the wait for the disk: above 1 confirms, below 1 refutes",
    declared=Outcome.REFUTED,
    because="A command costs MongoDB and its driver more than it costs PostgreSQL and its driver. "
    "MongoDB changes the document in place, while PostgreSQL rewrites it, but that only outweighs "
    "the difference in larger documents: the sweep shows from which size on. The wait for the disk "
    "is added, is often longer than the work, varies between runs, and can put either store ahead.",
    timed=True,
)
def nested_update(observations: Observations) -> Verdict:
    small = observations.by_size[SMALL_BYTES]
    return _in_memory_and_on_disk(small[UPDATE], small[UPDATE_ON_DISK], above=1)


@EXPECTATIONS.declare(
    "A nested update of a document of 300 KB is faster in MongoDB.",
    line=1763,
    threshold=f"{_INTERVAL}, without the wait for the disk: above {FACTOR:g} confirms, below 1 refutes",
    timed=True,
)
def nested_update_large(observations: Observations) -> Verdict:
    large = observations.by_size[LARGE_BYTES]
    return _in_memory_and_on_disk(large[UPDATE], large[UPDATE_ON_DISK], above=FACTOR)


@EXPECTATIONS.declare(
    "For a nested update MongoDB logs the change, PostgreSQL the document.",
    line=1763,
    threshold=f"from 1 KB to 300 KB the bytes of an update grow less than {LOG_GROWTH_MONGO:g}-fold "
    f"in MongoDB's journal, and more than {LOG_GROWTH_POSTGRES:g}-fold in PostgreSQL's WAL",
)
def nested_update_bytes(observations: Observations) -> Verdict:
    small, large = (
        observations.by_size[size][UPDATE_ON_DISK] for size in (SMALL_BYTES, LARGE_BYTES)
    )
    return Verdict(
        large.mongo_bytes / small.mongo_bytes < LOG_GROWTH_MONGO
        and large.postgres_bytes / small.postgres_bytes > LOG_GROWTH_POSTGRES,
        f"MongoDB {small.mongo_bytes:.0f} and {large.mongo_bytes:.0f} bytes, "
        f"PostgreSQL {small.postgres_bytes:.0f} and {large.postgres_bytes:.0f}",
        [LOGGED_BY_MONGODB, LOGGED_BY_POSTGRES],
    )


@EXPECTATIONS.declare(
    "A join is faster in PostgreSQL.",
    line=1756,
    threshold=f"{_INTERVAL}, of both joins: below 1 confirms, above 1 refutes",
    timed=True,
)
def joins(observations: Observations) -> Verdict:
    pairs = observations.joins
    highest, lowest = max(pair.ratio.high for pair in pairs), min(pair.ratio.low for pair in pairs)
    return Verdict(
        True if highest < 1 else False if lowest > 1 else None,
        "; ".join(f"{pair.name}: {pair.text}" for pair in pairs),
        _names(*pairs),
    )


@EXPECTATIONS.declare(
    "Reads and writes have different characteristics in the two.",
    line=1757,
    threshold=f"over all operations and sizes, the largest ratio of the two stores' times is more "
    f"than {CHARACTERISTICS:g} times the smallest",
    timed=True,
)
def read_write(observations: Observations) -> Verdict:
    pairs = [pair for kinds in observations.by_size.values() for pair in kinds.values()]
    least = min(pairs, key=lambda pair: pair.ratio.value)
    most = max(pairs, key=lambda pair: pair.ratio.value)
    return Verdict(
        most.ratio.value / least.ratio.value > CHARACTERISTICS,
        f"{least.name}: {least.ratio.value:.2f}; {most.name}: {most.ratio.value:.2f}",
        _names(least, most),
    )


@EXPECTATIONS.declare(
    f"Over HTTP, the store that a profile is read from makes less than a factor of {HTTP_FACTOR:g}.",
    line=1761,
    threshold=f"ratio of the medians of all rounds within {1 / HTTP_FACTOR:.2f} and {HTTP_FACTOR:g} confirms, "
    "its interval wholly beyond refutes; 10 connections",
    timed=True,
)
def read_latency(observations: Observations) -> Verdict:
    ratio = observations.http.ratio
    within = ratio.low > 1 / HTTP_FACTOR and ratio.high < HTTP_FACTOR
    outside = ratio.low > HTTP_FACTOR or ratio.high < 1 / HTTP_FACTOR
    return Verdict(
        True if within else False if outside else None,
        observations.http.text,
        _names(observations.http),
    )


@EXPECTATIONS.declare(
    "An insert of a document of 1 KB is faster in the document store.",
    line=1762,
    threshold=f"{_INTERVAL}, without the wait for the disk: above 1 confirms, below 1 refutes",
    declared=Outcome.REFUTED,
    because="A command costs MongoDB and its driver more than it costs PostgreSQL and its driver. The "
    "wait for the disk is added, and can put either store ahead.",
    timed=True,
)
def write_latency(observations: Observations) -> Verdict:
    small = observations.by_size[SMALL_BYTES]
    return _in_memory_and_on_disk(small[INSERT], small[INSERT_ON_DISK], above=1)


@EXPECTATIONS.declare(
    "Both find documents by a nested key: without an index they read all, with one only the matches.",
    line=1764,
    threshold="the documents read: all, and as many as match, for each kind of index",
)
def query_flexibility(observations: Observations) -> Verdict:
    filters = observations.filtered
    every = max(filtered.examined for filtered in filters)
    return Verdict(
        len({filtered.matched for filtered in filters}) == 1
        and all(
            filtered.examined == (every if filtered.index == "none" else filtered.matched)
            for filtered in filters
        ),
        "; ".join(
            f"{filtered.index}: {filtered.examined} read for {filtered.matched}"
            for filtered in filters
        ),
        [READ_BY_A_FILTER],
    )


@EXPECTATIONS.declare(
    "A new field with a default requires no change to stored data, in either.",
    line=1765,
    threshold="every document shows the default, and none has been written",
)
def schema_by_default(observations: Observations) -> Verdict:
    added = observations.added
    mongo, postgres = added.by_default
    return Verdict(
        mongo == postgres == added.documents,
        f"{mongo} and {postgres} of {added.documents} documents",
        [BY_DEFAULT],
    )


@EXPECTATIONS.declare(
    "Written into every document, a new field costs MongoDB fewer bytes.",
    line=1765,
    threshold=f"PostgreSQL logs more than {ADDED_BYTES_FACTOR:g} times as many bytes for each document",
)
def schema_written(observations: Observations) -> Verdict:
    added, pair = observations.added, observations.added.pair
    return Verdict(
        pair.postgres_bytes / pair.mongo_bytes > ADDED_BYTES_FACTOR,
        f"{pair.mongo_bytes:.0f} and {pair.postgres_bytes:.0f} bytes for each of {added.documents}; "
        f"data grew by {added.mongo_grew / 1e6:.1f} and {added.postgres_grew / 1e6:.1f} MB in "
        f"{len(pair.mongo_ms)} such changes; {pair.text}",
        _names(pair),
    )


@EXPECTATIONS.declare(
    "As a column with a default, a new field costs PostgreSQL next to nothing.",
    line=1765,
    threshold=f"every row shows it, and less than {COLUMN_SHARE:.0%} of what writing it into every "
    "document logged",
)
def schema_column(observations: Observations) -> Verdict:
    added = observations.added
    written_bytes = added.pair.postgres_bytes * added.documents
    return Verdict(
        added.column_rows >= added.documents and added.column_bytes < COLUMN_SHARE * written_bytes,
        f"{added.column_bytes / 1000:.0f} KB of {written_bytes / 1000:.0f}, and "
        f"{added.column_ms:.1f} ms for {added.column_rows} rows",
        [COLUMN_BYTES],
    )


@EXPECTATIONS.declare(
    "Neither store is best at everything.",
    line=1774,
    threshold=f"each is more than {FACTOR:g} times as fast in at least one operation, by the interval",
    timed=True,
)
def no_best(observations: Observations) -> Verdict:
    pairs = observations.all_pairs
    mongo = [pair.name for pair in pairs if pair.ratio.low > FACTOR]
    postgres = [pair.name for pair in pairs if pair.ratio.high < 1 / FACTOR]
    return Verdict(
        bool(mongo and postgres) or None,
        f"MongoDB: {', '.join(mongo) or 'none'}; PostgreSQL: {', '.join(postgres) or 'none'}",
        _names(*pairs),
    )


@EXPECTATIONS.declare(
    "A document of another shape is stored beside the others, and breaks no query.",
    line=1775,
    threshold="it is stored without a change of schema, and the filter finds as many as before; in "
    "MongoDB, and in jsonb as well",
)
def flexible(observations: Observations) -> Verdict:
    mongo, postgres = observations.other_shape
    return Verdict(
        mongo and postgres,
        f"accepted by MongoDB: {_yes(mongo)}; by jsonb: {_yes(postgres)}",
        [SHAPE_ACCEPTED],
    )


@EXPECTATIONS.declare(
    "PostgreSQL enforces relationships, and MongoDB does not.",
    line=1776,
    threshold="a note without a profile is rejected by PostgreSQL and accepted by MongoDB",
)
def relationships(observations: Observations) -> Verdict:
    mongo, postgres = observations.dangling_note
    return Verdict(
        mongo and not postgres,
        f"accepted by MongoDB: {_yes(mongo)}; by PostgreSQL with a foreign key: {_yes(postgres)}",
        [DANGLING_ACCEPTED],
    )


def beyond(ratio: Ratio, *, above: float, below: float = 1.0) -> bool | None:
    """Return whether the interval lies above, or not (below), or neither can be said."""
    if ratio.low > above:
        return True
    return False if ratio.high < below else None


def _in_memory_and_on_disk(in_memory: Pair, on_disk: Pair, *, above: float) -> Verdict:
    """Judge what the work costs the store; give the wait for the disk as well."""
    return Verdict(
        beyond(in_memory.ratio, above=above),
        f"{in_memory.text}; with the wait for the disk: {on_disk.text}",
        _names(in_memory, on_disk),
    )


def _names(*pairs: Pair) -> Sequence[str]:
    return [series.name for pair in pairs for series in pair.series()]


def _yes(accepted: bool) -> str:
    return "yes" if accepted else "no"
