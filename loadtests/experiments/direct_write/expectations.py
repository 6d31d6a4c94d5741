"""What the seed expects of a write past the API, each with its threshold and its test."""

import statistics
from collections.abc import Sequence
from typing import Final

from loadtests.experiments.direct_write.method import (
    SEEN_SECONDS,
    SERVICE_TTL_SECONDS,
    Observations,
)
from loadtests.lab.experiment import Expectations, Outcome, Verdict
from loadtests.stats import percentile, spread

MANY_READS: Final = 5
EXCESS_SECONDS: Final = 0.3
SLACK_SECONDS: Final = 1.0
MILLISECONDS: Final = 250.0
NOT_MILLISECONDS: Final = 1_000.0
_OFF: Final = "with the triggers off, "
EXPECTATIONS: Final = Expectations[Observations]()


@EXPECTATIONS.declare(
    "After an UPDATE by SQL the API returns the cached version.",
    line=1588,
    threshold=f"{_OFF}the first read after every commit is a hit with the old title",
)
def stale_served(observations: Observations) -> Verdict:
    return _every_time(
        [copy.first_was_stale_hit for copy in observations.copies],
        "the first read was a hit with the old title",
        "stale reads, triggers off",
    )


@EXPECTATIONS.declare(
    "The database has the updated version.",
    line=1589,
    threshold="after every commit a SELECT returns the new title",
)
def database_new(observations: Observations) -> Verdict:
    return _every_time(
        [copy.database_was_new for copy in observations.copies],
        "a SELECT had the new title",
        "new in the database, triggers off",
    )


@EXPECTATIONS.declare(
    "Cache and database disagree.",
    line=1590,
    threshold=f"{_OFF}the API returns the old title before and after a SELECT that returns "
    "the new one, for every write",
)
def inconsistent(observations: Observations) -> Verdict:
    return _every_time(
        [copy.disagreed for copy in observations.copies],
        "the API had the old title on either side of a SELECT with the new one",
        "stale reads, triggers off",
    )


@EXPECTATIONS.declare(
    "Stale data is served from the cache, again and again.",
    line=1594,
    threshold=f"{_OFF}a median of at least {MANY_READS} stale reads for each write, at 20 reads "
    "a second",
    timed=True,
)
def stale_for_long(observations: Observations) -> Verdict:
    reads = [copy.stale_reads for copy in observations.copies]
    return Verdict(
        statistics.median(reads) >= MANY_READS,
        f"{spread(reads)} stale reads of each note",
        ["stale reads, triggers off"],
    )


@EXPECTATIONS.declare(
    "The data is fresh once the TTL has expired.",
    line=1595,
    threshold=f"{_OFF}a copy that nobody reads is still served at 0.85 of its lifetime, and "
    "no longer at 1.1",
    timed=True,
)
def ttl_ends_it(observations: Observations) -> Verdict:
    return _every_time(
        [stale and new for stale, new in observations.unread],
        "stale at 0.85 of its lifetime and new at 1.1:",
        "unread copies, triggers off",
    )


@EXPECTATIONS.declare(
    "The inconsistency window of a note that is read all the time is 0.8 of its copy's "
    "lifetime (0.9 to 1.0 of the TTL) less the copy's age.",
    line=1596,
    threshold=f"{_OFF}the median of measured less predicted is at most {EXCESS_SECONDS} s, either way",
    timed=True,
)
def window_predicted(observations: Observations) -> Verdict:
    windows = [copy.window_s for copy in observations.copies]
    excess = [copy.window_s - copy.predicted_s for copy in observations.copies]
    return Verdict(
        abs(statistics.median(excess)) <= EXCESS_SECONDS,
        f"{spread(windows, 's')}, longer than predicted by {spread(excess, 's')}",
        ["window, triggers off", "predicted window, triggers off"],
    )


@EXPECTATIONS.declare(
    "Clearing the cache with POST /api/v1/admin/cache/clear fixes it.",
    line=1602,
    threshold=f"{_OFF}the read before every clearing is stale, the first after it is not",
)
def clear_recovers(observations: Observations) -> Verdict:
    return _every_time(
        [stale and new for stale, new in observations.cleared],
        "stale before and new after:",
        "cleared, triggers off",
    )


@EXPECTATIONS.declare(
    "Waiting for the TTL (5 minutes in the service, seconds here) fixes it.",
    line=1604,
    threshold=f"{_OFF}every window is over at most {SLACK_SECONDS:g} s after the TTL, counted from "
    "when the copy was stored",
    timed=True,
)
def waiting_recovers(observations: Observations) -> Verdict:
    ttl = observations.scale.ttl_seconds
    until = [copy.until_s for copy in observations.copies]
    return Verdict(
        max(until) <= ttl + SLACK_SECONDS,
        f"over {spread(until, 's')} after the copy was stored, with a TTL of {ttl} s; of "
        f"{SERVICE_TTL_SECONDS} s that is at most {max(until) / ttl * SERVICE_TTL_SECONDS:.0f} s",
        ["window, triggers off"],
    )


@EXPECTATIONS.declare(
    "Cache validation with an ETag notices the write.",
    line=1617,
    threshold=f"{_OFF}the first If-None-Match after every write is answered 200 with the new "
    "title: confirmed; 304 to all: refuted",
    declared=Outcome.REFUTED,
    because="The ETag is compared with the cached copy's, and the copy does not know of the "
    "write either: 304 says that the client is as stale as the cache.",
)
def etag_helps(observations: Observations) -> Verdict:
    statuses = observations.validated
    return Verdict(
        _all_or_none([status == 200 for status in statuses]),
        f"{statuses.count(304)} of {len(statuses)} answers were 304",
        ["status of If-None-Match, triggers off"],
    )


@EXPECTATIONS.declare(
    "?cache=false returns the new version.",
    line=1618,
    threshold=f"{_OFF}every such read has the new title, and the plain read after it is a hit "
    "with the new title",
)
def parameter_helps(observations: Observations) -> Verdict:
    return _every_time(
        [new and hit for new, hit in observations.forced],
        "new, and a hit with it afterwards:",
        "cache=false, triggers off",
    )


@EXPECTATIONS.declare(
    "Write-through instead of invalidation keeps cache and database consistent.",
    line=1619,
    threshold=f"{_OFF}after a write through the API whose new copy is stored at once, the first "
    "read after an UPDATE by SQL is new: confirmed; stale each time: refuted",
    declared=Outcome.REFUTED,
    because="Write-through stores what passes through the service. An UPDATE by SQL does "
    "not, so the copy is just as stale. The TTL, clearing, or a trigger in the "
    "database ends it.",
)
def write_through_helps(observations: Observations) -> Verdict:
    stale = observations.written_through
    return Verdict(
        _all_or_none([not is_stale for is_stale in stale]),
        f"stale {sum(stale)} of {len(stale)} times. Write-through was simulated by reading "
        "?cache=false after the PATCH, which leaves the copy that write-through would have stored",
        ["write-through, triggers off"],
    )


@EXPECTATIONS.declare(
    "A write through the API causes no stale read, with or without triggers.",
    threshold=f"{_OFF}the first read after every PATCH was answered has the new title",
    invariant=True,
)
def own_writes(observations: Observations) -> Verdict:
    return _every_time(
        observations.own_writes,
        "new at the first read",
        "writes through the API, triggers off",
    )


@EXPECTATIONS.declare(
    "With the triggers, as the service has them, the window is milliseconds, not the TTL.",
    threshold=f"median of at most {MILLISECONDS:g} ms: confirmed; of more than "
    f"{NOT_MILLISECONDS / 1000:g} s: refuted",
    timed=True,
)
def triggers_help(observations: Observations) -> Verdict:
    windows = observations.edits_ms
    median = statistics.median(windows)
    return Verdict(
        True if median <= MILLISECONDS else False if median > NOT_MILLISECONDS else None,
        f"{spread(windows, 'ms')}, p95 {percentile(windows, 0.95):.3g} ms; "
        f"{observations.stale_with_triggers} reads in these windows were stale",
        ["window, triggers on"],
    )


@EXPECTATIONS.declare(
    "With the triggers a client's If-None-Match notices the write.",
    threshold=f"a 200 with the new title within {SEEN_SECONDS:g} s of every write",
    timed=True,
)
def etag_with_triggers(observations: Observations) -> Verdict:
    validated = observations.validated_on_ms
    return Verdict(
        all(after_ms <= SEEN_SECONDS * 1000 for after_ms in validated),
        f"200 with the new title after {spread(validated, 'ms')}",
        ["until If-None-Match is a 200, triggers on"],
    )


def _every_time(held: Sequence[bool], observed: str, evidence: str) -> Verdict:
    """Return the verdict on what must hold every time."""
    return Verdict(
        all(held) if held else None, f"{observed} {sum(held)} of {len(held)} times", [evidence]
    )


def _all_or_none(held: Sequence[bool]) -> bool | None:
    return True if all(held) else None if any(held) else False
