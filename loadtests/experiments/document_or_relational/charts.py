"""The raw values of a run as series, and what they show as charts, tables and advice."""

import statistics

from config.charts import Axis, Bar, BarChart, Line, LineChart
from loadtests.experiments.document_or_relational import expectations as expected
from loadtests.experiments.document_or_relational.comparison import Pair, crossover
from loadtests.experiments.document_or_relational.method import (
    INSERT,
    LARGE_BYTES,
    READ,
    SMALL_BYTES,
    UPDATE,
    UPDATE_ON_DISK,
    Observations,
)
from loadtests.lab.builders import line, series
from loadtests.lab.experiment import Findings, Series, Table

_KB = 1_000
_STORES = ("MongoDB", "PostgreSQL")


def present(observations: Observations) -> Findings:
    """Return all findings but the rows."""
    return Findings(
        series=_series(observations),
        charts=_charts(observations),
        tables=_tables(observations),
        remarks=_remarks(observations),
        quantities=_quantities(observations),
    )


def _series(observations: Observations) -> list[Series]:
    logged = [kinds[UPDATE_ON_DISK] for _, kinds in sorted(observations.by_size.items())]
    examined = [filtered.examined for filtered in observations.filtered]
    return [
        *(pair_series for pair in observations.all_pairs for pair_series in pair.series()),
        series(expected.SYNCS, "both", "syncs", observations.syncs),
        series(expected.LOGGED_BY_MONGODB, "mongo", "bytes", [pair.mongo_bytes for pair in logged]),
        series(
            expected.LOGGED_BY_POSTGRES,
            "postgres",
            "bytes",
            [pair.postgres_bytes for pair in logged],
        ),
        series(expected.READ_BY_A_FILTER, "both", "documents", examined),
        series(expected.BY_DEFAULT, "both", "documents", observations.added.by_default),
        series(expected.COLUMN_BYTES, "postgres", "bytes", [observations.added.column_bytes]),
        series(expected.SHAPE_ACCEPTED, "both", "documents", observations.other_shape),
        series(expected.DANGLING_ACCEPTED, "both", "notes", observations.dangling_note),
    ]


def crossover_kb(observations: Observations) -> float | None:
    """Return the size in KB from which on MongoDB's nested update is faster, if there is one."""
    sizes = sorted(observations.by_size)
    size_bytes = crossover(
        sizes, [observations.by_size[size][UPDATE].ratio.value for size in sizes]
    )
    return None if size_bytes is None else size_bytes / _KB


def _charts(observations: Observations) -> list[LineChart | BarChart]:
    """Return the nested update by size, in time and in bytes, and every operation's ratio."""
    at = crossover_kb(observations)
    where = "at no size measured" if at is None else f"from {at:.0f} KB on"
    nested = {size: pairs[UPDATE] for size, pairs in sorted(observations.by_size.items())}
    logged = {size: pairs[UPDATE_ON_DISK] for size, pairs in sorted(observations.by_size.items())}
    return [
        LineChart(
            title=f"MongoDB's nested update is faster {where}",
            x=Axis(label="size of the document, KB", log=True),
            y=Axis(label="time of one nested update without the wait for the disk, ms", log=True),
            lines=_times(nested),
        ),
        LineChart(
            title="MongoDB logs the change, PostgreSQL the document",
            x=Axis(label="size of the document, KB", log=True),
            y=Axis(label="bytes logged for one nested update", log=True),
            lines=(
                _line("MongoDB, journal", {s: pair.mongo_bytes for s, pair in logged.items()}),
                _line("PostgreSQL, WAL", {s: pair.postgres_bytes for s, pair in logged.items()}),
            ),
        ),
        BarChart(
            title="Each store is the faster one at something",
            axis=Axis(label="PostgreSQL's time / MongoDB's (1: the same)", log=True),
            bars=tuple(_bar(pair) for pair in observations.all_pairs),
        ),
    ]


def _times(nested: dict[int, Pair]) -> tuple[Line, ...]:
    mongo = {size: statistics.median(pair.mongo_ms) for size, pair in nested.items()}
    postgres = {size: statistics.median(pair.postgres_ms) for size, pair in nested.items()}
    first, last = min(nested), max(nested)
    slope = (postgres[last] - postgres[first]) / (last - first)
    straight = {size: postgres[first] + slope * (size - first) for size in nested}
    return (
        _line("MongoDB", mongo),
        _line("PostgreSQL", postgres),
        _line(
            "MongoDB, if the size did not matter",
            dict.fromkeys(nested, mongo[first]),
            predicted=True,
        ),
        _line("PostgreSQL, if each KB cost the same", straight, predicted=True),
    )


def _line(name: str, values: dict[int, float], *, predicted: bool = False) -> Line:
    points = ((size / _KB, value) for size, value in values.items())
    return line(name, points, predicted=predicted)


def _bar(pair: Pair) -> Bar:
    ratio = pair.ratio
    return Bar(
        name=pair.name,
        value=ratio.value,
        low=ratio.low,
        high=ratio.high,
        label=f"{ratio.value:.2f}",
    )


def _tables(observations: Observations) -> list[Table]:
    """Return the settings, all operations, the filters and the sizes."""
    return [
        _durability(observations),
        Table(
            title="Every operation, as a client in Python sees it, drivers included",
            columns=(
                "operation",
                "MongoDB ms",
                "PostgreSQL ms",
                "ratio",
                "logged by MongoDB",
                "by PostgreSQL",
            ),
            rows=tuple(_row(pair) for pair in observations.all_pairs),
            note="Medians over rounds; ratio: PostgreSQL's time to MongoDB's with its 95 % interval. Bytes "
            "are those of WAL and journal for one operation (for one document, if all are written); "
            "MongoDB compresses its journal, PostgreSQL does not compress its WAL by default.",
        ),
        Table(
            title="A filter on the nested key",
            columns=("index", "found", "read for it", "index KB"),
            rows=tuple(
                (plan.index, str(plan.matched), str(plan.examined), f"{plan.index_bytes / _KB:.0f}")
                for plan in observations.filtered
            ),
        ),
        _sizes(observations),
    ]


def _durability(observations: Observations) -> Table:
    return Table(
        title="Durability, as the servers report it",
        columns=("store", "setting", "value"),
        rows=tuple(
            (store, name, value)
            for store, durability in zip(_STORES, observations.durability, strict=True)
            for name, value in durability.settings
        ),
        note="The lab's servers are started with these; what the run sets applies to its own connections only.",
    )


def _sizes(observations: Observations) -> Table:
    return Table(
        title=f"{observations.added.documents} documents of 1 KB on disk",
        columns=("store", "data KB", "indexes KB"),
        rows=tuple(
            (store, f"{size.data / _KB:.0f}", f"{size.indexes / _KB:.0f}")
            for store, size in zip(_STORES, observations.sizes_on_disk, strict=True)
        ),
        note="MongoDB compresses its collections (snappy); PostgreSQL compresses values over 2 KB.",
    )


def _row(pair: Pair) -> tuple[str, ...]:
    ratio = pair.ratio
    return (
        pair.name,
        f"{statistics.median(pair.mongo_ms):.3g}",
        f"{statistics.median(pair.postgres_ms):.3g}",
        f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]",
        f"{pair.mongo_bytes:.0f}",
        f"{pair.postgres_bytes:.0f}",
    )


def _quantities(observations: Observations) -> dict[str, float]:
    """Return the single figures."""
    small = observations.by_size[SMALL_BYTES]
    large = observations.by_size[LARGE_BYTES]
    at = crossover_kb(observations)
    quantities = {
        "mongodb_read_1kb_ms": statistics.median(small[READ].mongo_ms),
        "postgres_read_1kb_ms": statistics.median(small[READ].postgres_ms),
        "mongodb_insert_1kb_ms": statistics.median(small[INSERT].mongo_ms),
        "postgres_insert_1kb_ms": statistics.median(small[INSERT].postgres_ms),
        "nested_update_1kb_ratio": small[UPDATE].ratio.value,
        "nested_update_300kb_ratio": large[UPDATE].ratio.value,
        "join_ratio": observations.joins[0].ratio.value,
        "read_over_http_ratio": observations.http.ratio.value,
    }
    return quantities if at is None else quantities | {"nested_update_crossover_kb": at}


def _remarks(observations: Observations) -> list[str]:
    """Return the recommendation, with the number at which to decide again."""
    at = crossover_kb(observations)
    again = (
        "MongoDB's nested update was faster at no size of this run"
        if at is None
        else f"decide again when the documents that are updated in place grow beyond {at:.0f} KB, where "
        "MongoDB's nested update began to be faster in this run"
    )
    return [
        "Recommendation: for profiles (about 1 KB, with at most 16 KiB of preferences) choose by what else "
        "the data needs: joins, constraints and transactions with other tables favour PostgreSQL, "
        "which is also cheaper to read and write at that size; keys chosen by clients favour neither. "
        f"In numbers, {again}; or when the size of the log and its replication matter, since MongoDB "
        "logs only the change, at any size.",
        "Writes without the wait for the disk (w:1, j:false; synchronous_commit off) show what a write "
        "costs the store; those with it (w:majority, j:true; synchronous_commit on) how long a client waits. "
        "The wait depends on the machine and on what else it writes, and at 1 KB can be most of the time: "
        "in runs on a busy machine either store was ahead.",
        "Writes are measured at the databases, because a write over HTTP goes to both stores: each has a "
        "copy of the other's profiles.",
        "There is one server of each, on one machine: no network, and a majority of one. With three members "
        "every write of MongoDB would also wait for another machine, as PostgreSQL's would for a synchronous "
        "standby.",
    ]
