"""What writes past the API look like: series, charts, a table and single figures."""

import statistics
from collections.abc import Sequence
from typing import Final

from config.charts import Axis, Bar, BarChart, LineChart
from loadtests.experiments.direct_write.method import (
    POLL_SECONDS,
    SERVICE_TTL_SECONDS,
    CachedNote,
    Observations,
)
from loadtests.lab.builders import line, median_bar, series
from loadtests.lab.experiment import Findings, Series, Table
from loadtests.stats import percentile

_LEAST_SECONDS: Final = 0.0001  # that a logarithmic axis can show


def present(observations: Observations) -> Findings:
    """Return all findings but the rows."""
    return Findings(
        series=_series(observations),
        charts=[_windows(observations), _predictions(observations)],
        tables=[_table(observations.copies)],
        remarks=[
            f"The TTL was {observations.scale.ttl_seconds} s here and is {SERVICE_TTL_SECONDS} s in the "
            f"service: windows with the triggers off are "
            f"{SERVICE_TTL_SECONDS / observations.scale.ttl_seconds:g} times as long there.",
            "Windows with the triggers off were read every "
            f"{POLL_SECONDS * 1000:.0f} ms, which is how exact they are; a copy that took long to "
            "load is refreshed somewhat earlier, by chance (XFetch).",
        ],
        quantities=_quantities(observations),
    )


def _windows_at_service_ttl(observations: Observations) -> list[float]:
    """Return the windows of writes to notes just cached, in seconds, scaled to the service's TTL."""
    scale = SERVICE_TTL_SECONDS / observations.scale.ttl_seconds
    return [note.until_s * scale for note in observations.copies]


def _windows(observations: Observations) -> BarChart:
    on = [max(edits_m / 1000, _LEAST_SECONDS) for edits_m in observations.edits_ms]
    off = [note.until_s for note in observations.copies]
    scaled = _windows_at_service_ttl(observations)
    validated = [
        max(validated_on_m / 1000, _LEAST_SECONDS)
        for validated_on_m in observations.validated_on_ms
    ]
    return BarChart(
        title=f"An UPDATE of a note just cached is not seen for {statistics.median(on) * 1000:.0f} ms with the "
        f"triggers, without them for {statistics.median(scaled):.0f} s",
        axis=Axis(label="inconsistency window of a note just cached (s)", log=True),
        bars=(
            _bar(f"triggers off, TTL {SERVICE_TTL_SECONDS} s (scaled)", scaled),
            _bar(f"triggers off, TTL {observations.scale.ttl_seconds} s", off),
            _bar("triggers on", on),
            _bar("triggers on, by If-None-Match", validated),
        ),
    )


def _bar(name: str, values: list[float]) -> Bar:
    median, least, greatest = map(_seconds, (statistics.median(values), min(values), max(values)))
    return median_bar(name, values, f"{median} ({least} to {greatest}, n={len(values)})")


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _predictions(observations: Observations) -> LineChart:
    points = sorted((note.predicted_s, note.window_s) for note in observations.copies)
    excess = statistics.median(measured - predicted for predicted, measured in points)
    ends = (min(0.0, points[0][0]), points[-1][0])
    return LineChart(
        title=f"Without triggers the window is what is left of the copy's life, to within "
        f"{abs(excess) * 1000:.0f} ms",
        x=Axis(label="0.8 of the copy's lifetime less its age at the write (s)"),
        y=Axis(label="inconsistency window (s)"),
        lines=(
            line("measured", points),
            line("predicted", zip(ends, ends, strict=True), predicted=True),
        ),
    )


def _series(observations: Observations) -> list[Series]:
    copies = observations.copies
    off = "control"
    return [
        series("window, triggers off", off, "s", [note.window_s for note in copies]),
        series("predicted window, triggers off", off, "s", [note.predicted_s for note in copies]),
        series("stale reads, triggers off", off, "reads", [note.stale_reads for note in copies]),
        series(
            "new in the database, triggers off",
            off,
            "0 or 1",
            [note.database_was_new for note in copies],
        ),
        series(
            "unread copies, triggers off", off, "0 or 1", [a and b for a, b in observations.unread]
        ),
        series("cleared, triggers off", off, "0 or 1", [a and b for a, b in observations.cleared]),
        series("status of If-None-Match, triggers off", off, "status", observations.validated),
        series(
            "cache=false, triggers off", off, "0 or 1", [a and b for a, b in observations.forced]
        ),
        series("write-through, triggers off", off, "1: stale", observations.written_through),
        series("writes through the API, triggers off", off, "1: new", observations.own_writes),
        series("window, triggers on", "treatment", "ms", observations.edits_ms),
        series(
            "until If-None-Match is a 200, triggers on",
            "treatment",
            "ms",
            observations.validated_on_ms,
        ),
    ]


def _table(copies: Sequence[CachedNote]) -> Table:
    return Table(
        title="Triggers off, copy by copy",
        columns=("lifetime (s)", "age at the write (s)", "predicted window (s)", "window (s)"),
        rows=tuple(
            tuple(
                f"{seconds:.2f}"
                for seconds in (
                    copy.lifetime_s,
                    copy.written_at - copy.stored_at,
                    copy.predicted_s,
                    copy.window_s,
                )
            )
            for copy in copies
        ),
        note="The lifetime is the entry's own, as Redis has it.",
    )


def _quantities(observations: Observations) -> dict[str, float]:
    off = statistics.median(note.window_s for note in observations.copies)
    scaled = statistics.median(_windows_at_service_ttl(observations))
    return {
        "window_without_triggers_s": round(off, 2),
        "window_without_triggers_at_ttl_300_s": round(scaled, 0),
        "window_with_triggers_p50_ms": round(statistics.median(observations.edits_ms), 2),
        "window_with_triggers_p95_ms": round(percentile(observations.edits_ms, 0.95), 2),
        "ttl_of_the_experiment_s": observations.scale.ttl_seconds,
    }
