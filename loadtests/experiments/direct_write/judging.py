"""What the writes past the API come to: rows, series, a table and single figures."""

import statistics
from collections.abc import Sequence
from typing import Final

from loadtests.experiments.direct_write.drawing import charts, windows_at_service_ttl
from loadtests.experiments.direct_write.trials import (
    POLL_SECONDS,
    SEEN_SECONDS,
    SERVICE_TTL_SECONDS,
    Copy,
    Taken,
)
from loadtests.lab.experiment import Experiment, Findings, Row, Series, Table
from loadtests.stats import percentile, spread

MANY_READS: Final = 5
EXCESS_SECONDS: Final = 0.3
SLACK_SECONDS: Final = 1.0
MILLISECONDS: Final = 250.0
NOT_MILLISECONDS: Final = 1_000.0


def judged(experiment: Experiment, taken: Taken) -> Findings:
    """Return what the trials show."""
    judge = _Judge(experiment, taken)
    return Findings(
        rows=[
            *judge.staleness(),
            *judge.windows(),
            *judge.recoveries(),
            *judge.enhancements(),
            *judge.own_claims(),
        ],
        series=_series(taken),
        charts=charts(taken),
        tables=[_table(taken.copies)],
        remarks=[
            f"The TTL was {taken.size.ttl_seconds} s here and is {SERVICE_TTL_SECONDS} s in the "
            f"service: windows with the triggers off are "
            f"{SERVICE_TTL_SECONDS / taken.size.ttl_seconds:g} times as long there.",
            "Windows with the triggers off were read every "
            f"{POLL_SECONDS * 1000:.0f} ms, which is how exact they are; a copy that took long to "
            "load is refreshed somewhat earlier, by chance (XFetch).",
        ],
        quantities=_quantities(taken),
    )


class _Judge:
    """The rows, each from the writes that it is about."""

    def __init__(self, experiment: Experiment, taken: Taken) -> None:
        self._row = experiment.judge
        self._taken = taken

    def _each(self, key: str, held: Sequence[bool], told: str, evidence: str) -> Row:
        """Return the row of what must hold every time."""
        observed = f"{told} {sum(held)} of {len(held)} times"
        return self._row(key, all(held) if held else None, observed, evidence=[evidence])

    def staleness(self) -> list[Row]:
        copies = self._taken.copies
        reads = [one.stale_reads for one in copies]
        return [
            self._each(
                "stale-served",
                [one.first_was_stale_hit for one in copies],
                "the first read was a hit with the old title",
                "stale reads, triggers off",
            ),
            self._each(
                "database-new",
                [one.database_was_new for one in copies],
                "a SELECT had the new title",
                "new in the database, triggers off",
            ),
            self._each(
                "inconsistent",
                [one.disagreed for one in copies],
                "the API had the old title on either side of a SELECT with the new one",
                "stale reads, triggers off",
            ),
            self._row(
                "stale-for-long",
                statistics.median(reads) >= MANY_READS,
                f"{spread(reads)} stale reads of each note",
                evidence=["stale reads, triggers off"],
            ),
        ]

    def windows(self) -> list[Row]:
        copies, unread = self._taken.copies, self._taken.unread
        excess = [one.window_s - one.predicted_s for one in copies]
        return [
            self._each(
                "ttl-ends-it",
                [stale and new for stale, new in unread],
                "stale at 0.85 of its lifetime and new at 1.1:",
                "unread copies, triggers off",
            ),
            self._row(
                "window-predicted",
                abs(statistics.median(excess)) <= EXCESS_SECONDS,
                f"{spread([one.window_s for one in copies], 's')}, longer than predicted by "
                f"{spread(excess, 's')}",
                evidence=["window, triggers off", "predicted window, triggers off"],
            ),
        ]

    def recoveries(self) -> list[Row]:
        ttl = self._taken.size.ttl_seconds
        until = [one.until_s for one in self._taken.copies]
        return [
            self._each(
                "clear-recovers",
                [stale and new for stale, new in self._taken.cleared],
                "stale before and new after:",
                "cleared, triggers off",
            ),
            self._row(
                "waiting-recovers",
                max(until) <= ttl + SLACK_SECONDS,
                f"over {spread(until, 's')} after the copy was stored, with a TTL of {ttl} s; of "
                f"{SERVICE_TTL_SECONDS} s that is at most "
                f"{max(until) / ttl * SERVICE_TTL_SECONDS:.0f} s",
                evidence=["window, triggers off"],
            ),
        ]

    def enhancements(self) -> list[Row]:
        statuses, stale = self._taken.validated, self._taken.written_through
        return [
            self._row(
                "etag-helps",
                _all_or_none([one == 200 for one in statuses]),
                f"{statuses.count(304)} of {len(statuses)} answers were 304",
                evidence=["status of If-None-Match, triggers off"],
            ),
            self._each(
                "parameter-helps",
                [new and kept for new, kept in self._taken.forced],
                "new, and a hit with it afterwards:",
                "cache=false, triggers off",
            ),
            self._row(
                "write-through-helps",
                _all_or_none([not one for one in stale]),
                f"stale {sum(stale)} of {len(stale)} times. Write-through was played by reading "
                "?cache=false after the PATCH, which leaves the copy that it would have stored",
                evidence=["write-through, triggers off"],
            ),
        ]

    def own_claims(self) -> list[Row]:
        windows, validated = self._taken.edits_ms, self._taken.validated_on_ms
        median = statistics.median(windows)
        holds = True if median <= MILLISECONDS else False if median > NOT_MILLISECONDS else None
        return [
            self._each(
                "own-writes",
                self._taken.own_writes,
                "new at the first read",
                "writes through the API, triggers off",
            ),
            self._row(
                "triggers-help",
                holds,
                f"{spread(windows, 'ms')}, p95 {percentile(windows, 0.95):.3g} ms; "
                f"{self._taken.stale_with_triggers} reads in these windows were stale",
                evidence=["window, triggers on"],
            ),
            self._row(
                "etag-with-triggers",
                all(one <= SEEN_SECONDS * 1000 for one in validated),
                f"200 with the new title after {spread(validated, 'ms')}",
                evidence=["until If-None-Match is a 200, triggers on"],
            ),
        ]


def _all_or_none(held: Sequence[bool]) -> bool | None:
    return True if all(held) else None if any(held) else False


def _series(taken: Taken) -> list[Series]:
    copies = taken.copies
    off = "control"
    return [
        _listed("window, triggers off", off, "s", [one.window_s for one in copies]),
        _listed("predicted window, triggers off", off, "s", [one.predicted_s for one in copies]),
        _listed("stale reads, triggers off", off, "reads", [one.stale_reads for one in copies]),
        _listed(
            "new in the database, triggers off",
            off,
            "0 or 1",
            [one.database_was_new for one in copies],
        ),
        _listed("unread copies, triggers off", off, "0 or 1", [a and b for a, b in taken.unread]),
        _listed("cleared, triggers off", off, "0 or 1", [a and b for a, b in taken.cleared]),
        _listed("status of If-None-Match, triggers off", off, "status", taken.validated),
        _listed("cache=false, triggers off", off, "0 or 1", [a and b for a, b in taken.forced]),
        _listed("write-through, triggers off", off, "1: stale", taken.written_through),
        _listed("writes through the API, triggers off", off, "1: new", taken.own_writes),
        _listed("window, triggers on", "treatment", "ms", taken.edits_ms),
        _listed(
            "until If-None-Match is a 200, triggers on", "treatment", "ms", taken.validated_on_ms
        ),
    ]


def _listed(name: str, arm: str, unit: str, values: Sequence[float]) -> Series:
    rounded = tuple(round(float(one), 4) for one in values)
    return Series(name=name, arm=arm, unit=unit, values=rounded)


def _table(copies: Sequence[Copy]) -> Table:
    return Table(
        title="Triggers off, copy by copy",
        columns=("lifetime (s)", "age at the write (s)", "predicted window (s)", "window (s)"),
        rows=tuple(
            tuple(
                f"{one:.2f}"
                for one in (
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


def _quantities(taken: Taken) -> dict[str, float]:
    off = statistics.median(one.window_s for one in taken.copies)
    scaled = statistics.median(windows_at_service_ttl(taken))
    return {
        "window_without_triggers_s": round(off, 2),
        "window_without_triggers_at_ttl_300_s": round(scaled, 0),
        "window_with_triggers_p50_ms": round(statistics.median(taken.edits_ms), 2),
        "window_with_triggers_p95_ms": round(percentile(taken.edits_ms, 0.95), 2),
        "ttl_of_the_experiment_s": taken.size.ttl_seconds,
    }
