"""What the seed expects of an outage of Redis, each with its threshold and its test."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from loadtests.experiments.cache_outage.method import (
    DOWN,
    LEASE_SECONDS,
    TRUSTED_SECONDS,
    WORKERS,
    Observations,
    Phase,
    latencies_ms,
    lookups_per_read,
)
from loadtests.experiments.cache_outage.traffic import CACHE_DOWN, HEALTH, PAGE, READ, WRITE, states
from loadtests.generators.http_load import Sample
from loadtests.lab.experiment import Expectations, Verdict
from loadtests.stats import Ratio, percentile, ratio_of_medians, spread

FEW_LOOKUPS: Final = 0.1  # for each read
MANY_LOOKUPS: Final = 0.5
_GROUP: Final = 10  # reads in turn, whose lower quartile is one value of a ratio
_PAIRS: Final = 4  # the same for the two reads of a note after an outage
EXPECTATIONS: Final = Expectations[Observations]()


@EXPECTATIONS.declare(
    "The first request logs a cache error and queries the database.",
    line=1532,
    threshold="after each fault the first read that is not a hit of the first level is answered from "
    "PostgreSQL, where its look-up is logged, and the site's log has the cache's unavailability",
)
def first_request(observations: Observations) -> Verdict:
    lookups = [lookup.text for phase in observations.named(*DOWN) for lookup in phase.lookups]
    queried = [
        first.cache == CACHE_DOWN and any(f"'{first.call}'" in text for text in lookups)
        for first in map(observations.first_read, observations.outages)
    ]
    logged = [states(outage.events)["open"] > 0 for outage in observations.outages]
    return Verdict(
        all(queried) and all(logged),
        f"answered from PostgreSQL {sum(queried)} of {len(queried)} times, logged "
        f"{sum(logged)} times",
        ["first reads", "warnings"],
    )


@EXPECTATIONS.declare(
    f"Hits go on for what is left of the lease at most, {LEASE_SECONDS} s; then PostgreSQL answers.",
    threshold=f"of the reads that are sent more than {LEASE_SECONDS} s after a fault, none is a hit",
    invariant=True,
)
def no_late_hit(observations: Observations) -> Verdict:
    reads = observations.late_reads()
    late = sum(read.cache.startswith("hit") for read in reads)
    return Verdict(bool(reads) and not late, f"{late} of {len(reads)}", ["hits after the lease"])


@EXPECTATIONS.declare(
    "The response time rises, since nothing is cached.",
    line=1533,
    threshold="the ratio of a read's latency without Redis to that in the phase before (lower "
    "quartiles of ten reads each), its interval above 1: confirmed; below 1: refuted",
    timed=True,
)
def slower(observations: Observations) -> Verdict:
    ratio = slowdown(observations)
    return Verdict(
        ratio.is_above(1),
        f"{spread(latencies_ms(observations.named(*DOWN)), 'ms')} without Redis, "
        f"{spread(latencies_ms(observations.named('up')), 'ms')} with Redis: {ratio.text}",
        ["read, up", "read, killed", "read, paused"],
    )


@EXPECTATIONS.declare(
    "The application keeps working: reads, lists and writes.",
    line=1534,
    threshold="every kind of request gets a 200 during both faults",
)
def goes_on(observations: Observations) -> Verdict:
    statuses = {
        kind: [sample.status for phase in observations.named(*DOWN) for sample in phase.of(kind)]
        for kind in (READ, PAGE, WRITE)
    }
    return Verdict(
        all(kind and set(kind) == {200} for kind in statuses.values()),
        ", ".join(
            f"{kind}s: {answers.count(200) / max(len(answers), 1):.0%} of {len(answers)}"
            for kind, answers in statuses.items()
        ),
        ["statuses during outages"],
    )


@EXPECTATIONS.declare(
    "The health check reports Redis as unhealthy.",
    line=1535,
    threshold="every response of /health during a fault is a 200 with status degraded and Redis "
    "down, and every one before it is ok",
)
def health_tells(observations: Observations) -> Verdict:
    during = [
        is_health(sample, "degraded", "down")
        for phase in observations.named(*DOWN)
        for sample in phase.within(HEALTH)
    ]
    before = [
        is_health(sample, "ok", "ok")
        for phase in observations.named("up")[:1]
        for sample in phase.within(HEALTH)
    ]
    return Verdict(
        bool(during) and bool(before) and all(during) and all(before),
        f"degraded, Redis down, in {sum(during)} of {len(during)} answers; "
        f"ok in {sum(before)} of {len(before)} before",
        ["health during outages"],
    )


@EXPECTATIONS.declare(
    "An uncached read takes longer than a cached one.",
    line=1539,
    threshold="reads with Cache-Control: no-store and cached ones in turn, Redis up: the ratio's "
    "interval above 1 (lower quartiles of ten reads each)",
    timed=True,
)
def uncached_slower(observations: Observations) -> Verdict:
    cached, uncached = zip(*observations.both_ways, strict=True)
    ratio = ratio_of_medians(undisturbed(uncached), undisturbed(cached))
    return Verdict(
        ratio.is_above(1),
        f"{spread(uncached, 'ms')} against {spread(cached, 'ms')}: {ratio.text}",
        ["cached read, in turn", "uncached read, in turn"],
    )


@EXPECTATIONS.declare(
    "The log shows warnings of the cache, and no errors.",
    line=1540,
    threshold="between the fault and the recovery at least 1 line of level warning and none of a higher "
    "level",
)
def warnings(observations: Observations) -> Verdict:
    lines = [outage.warnings for outage in observations.outages]
    worse = [outage.errors for outage in observations.outages]
    return Verdict(
        all(number > 0 for number in lines) and not any(worse),
        f"{sum(lines)} warnings, {sum(worse)} lines of a higher level, in {len(lines)} outages",
        ["warnings", "errors"],
    )


@EXPECTATIONS.declare(
    "The availability is 100 %.",
    line=1541,
    threshold="every request during the faults and the recoveries gets a 200",
)
def available(observations: Observations) -> Verdict:
    statuses = [sample.status for sample in observations.hit_by_outage()]
    return Verdict(
        set(statuses) == {200},
        f"{statuses.count(200) / len(statuses):.2%} of {len(statuses)} requests",
        ["statuses during outages"],
    )


@EXPECTATIONS.declare(
    "The load on the database rises without the cache.",
    line=1542,
    threshold=f"look-ups in PostgreSQL for each read: at most {FEW_LOOKUPS} with Redis, at least "
    f"{MANY_LOOKUPS} without",
)
def database_load(observations: Observations) -> Verdict:
    up = lookups_per_read(observations.named("up"))
    down = lookups_per_read(observations.named(*DOWN))
    return Verdict(
        up <= FEW_LOOKUPS and down >= MANY_LOOKUPS,
        f"{up:.2f} look-ups for each read with Redis, {down:.2f} without",
        ["look-ups, up", "look-ups, down"],
    )


@EXPECTATIONS.declare(
    "After Redis has been started again, the first request is a miss.",
    line=1551,
    threshold="the first read of every note that was cached before is loaded and stored",
)
def first_miss(observations: Observations) -> Verdict:
    missed = [first.cache.startswith("fwd=uri-miss") for first, _ in observations.recovery("kill")]
    return Verdict(
        all(missed), f"{sum(missed)} of {len(missed)} first reads", ["first read after a kill"]
    )


@EXPECTATIONS.declare(
    "The second request is a hit, and fast.",
    line=1552,
    threshold="the second read of every such note is a hit; the ratio of first to second "
    "(lower quartiles of four each), its interval above 1",
)
def second_hit(observations: Observations) -> Verdict:
    pairs = observations.recovery("kill")
    hits = [second.cache.startswith("hit") for _, second in pairs]
    ratio = ratio_of_medians(
        undisturbed([first.latency_ms for first, _ in pairs], group=_PAIRS),
        undisturbed([second.latency_ms for _, second in pairs], group=_PAIRS),
    )
    return Verdict(
        ratio.is_above(1) if all(hits) else False,
        f"{sum(hits)} of {len(hits)} second reads; the first took {ratio.text} its time",
        ["first read after a kill", "second read after a kill"],
    )


@EXPECTATIONS.declare(
    "The outage is logged once by each process, not once for each request.",
    threshold="as many lines for each fault as there are processes, and as many for its end",
)
def once_per_change(observations: Observations) -> Verdict:
    changes = [states(outage.events) for outage in observations.outages]
    return Verdict(
        all(lines["open"] == lines["closed"] == WORKERS for lines in changes),
        ", ".join(f"{lines['open']} and {lines['closed']} lines" for lines in changes)
        + f" of {WORKERS} processes",
        ["warnings"],
    )


@EXPECTATIONS.declare(
    f"The cache is used again without intervention, {TRUSTED_SECONDS:g} s after Redis answers, "
    "however long the outage was.",
    threshold="every process has closed its breaker and holds the lease within "
    f"{TRUSTED_SECONDS:g} s",
    timed=True,
)
def trusted_again(observations: Observations) -> Verdict:
    outages = [*observations.outages, *observations.swept]
    return Verdict(
        all(outage.trusted_after_s <= TRUSTED_SECONDS for outage in outages),
        "; ".join(
            f"{outage.fault} of {outage.seconds:.1f} s: {outage.trusted_after_s:.1f} s"
            for outage in outages
        ),
        ["until trusted again"],
    )


@EXPECTATIONS.declare(
    "A Redis that merely hung still has its copies, and they are correct: there is no miss at all.",
    threshold="the first read after the pause of every note that was cached before is a hit",
)
def paused_keeps(observations: Observations) -> Verdict:
    hits = [first.cache.startswith("hit") for first, _ in observations.recovery("pause")]
    return Verdict(
        all(hits), f"{sum(hits)} of {len(hits)} first reads were hits", ["hits after a pause"]
    )


def slowdown(observations: Observations) -> Ratio:
    """Return how many times as long a read takes without Redis as in the phase just before."""
    groups = [
        pair
        for up, down in pairwise(observations.phases)
        if down.name in DOWN
        for pair in zip(_undisturbed_reads(up), _undisturbed_reads(down), strict=False)
    ]
    return ratio_of_medians([down for _, down in groups], [up for up, _ in groups])


def _undisturbed_reads(phase: Phase) -> list[float]:
    return undisturbed(latencies_ms([phase]))


def undisturbed(latencies: Sequence[float], *, group: int = _GROUP) -> list[float]:
    """
    Return the lower quartile of each group of latencies in turn.

    That is the latency while the machine does little else, which stays comparable on a busy one.
    """
    ends = range(group, len(latencies) + 1, group)
    return [percentile(latencies[end - group : end], 0.25) for end in ends]


def is_health(sample: Sample, status: str, redis: str) -> bool:
    """Return whether an answer of /health is 200 with that status, and that status of Redis."""
    if sample.status != 200:
        return False
    body = json.loads(sample.body)
    return bool(body["status"] == status and body["redis"]["status"] == redis)
