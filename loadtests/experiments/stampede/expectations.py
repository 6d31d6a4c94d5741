"""What the seed expects of a stampede, each with its threshold and its test."""

import statistics
from collections.abc import Sequence
from typing import Final

from loadtests.experiments.stampede.charts import even_name, series_name
from loadtests.experiments.stampede.method import (
    EVEN_PER_SECOND,
    REQUESTS,
    WORKERS,
    Burst,
    Observations,
)
from loadtests.lab.experiment import Expectations, Outcome, Verdict
from loadtests.stats import ratio_of_medians, spread

MANY: Final = 10  # look-ups, or writes, in a burst that are no accident
SPIKE: Final = 5  # backends at work at one time
HEAVIER: Final = 5.0  # times the work with prevention
WITHIN: Final = 2.0  # times the prediction, or a part of it
FEW_BURSTS: Final = 2
EXPECTATIONS: Final = Expectations[Observations]()


@EXPECTATIONS.declare(
    "Without prevention, the database receives many identical queries.",
    line=1640,
    threshold=f"a median of at least {MANY} look-ups of the note in the bursts with the longest load: "
    "confirmed; of 1: refuted",
    timed=True,
)
def many_queries(observations: Observations) -> Verdict:
    lookups = [burst.lookups for burst in observations.longest("off")]
    return Verdict(
        _many(lookups),
        f"{spread(lookups)} look-ups of the note in a burst whose load takes "
        f"{observations.longest_ms} ms longer",
        _longest(observations, "queries", "off"),
    )


@EXPECTATIONS.declare(
    "Without prevention, the load on the database is high.",
    line=1641,
    threshold="time spent in statements over that with prevention: the ratio's interval above "
    f"{HEAVIER:g}: confirmed; below {HEAVIER:g}: refuted",
    timed=True,
)
def database_load(observations: Observations) -> Verdict:
    off, on = ([burst.busy_ms for burst in observations.longest(arm)] for arm in ("off", "on"))
    ratio = ratio_of_medians(off, on)
    return Verdict(
        ratio.is_above(HEAVIER),
        f"{spread(off, 'ms')} in statements against {spread(on, 'ms')}: {ratio.text}",
        _longest(observations, "time in PostgreSQL", "off", "on"),
    )


@EXPECTATIONS.declare(
    "Without prevention, several processes store the same value.",
    line=1642,
    threshold="at least 2 processes SET the entry in every burst whose load takes longest",
    timed=True,
)
def several_writers(observations: Observations) -> Verdict:
    processes = [len(set(burst.writers)) for burst in observations.longest("off")]
    return Verdict(
        all(number > 1 for number in processes),
        f"{spread(processes)} of {WORKERS} processes stored the entry",
        _longest(observations, "writes", "off"),
    )


@EXPECTATIONS.declare(
    "With prevention, the database receives one query, however long the load takes.",
    line=1646,
    threshold="exactly 1 look-up in every burst: confirmed; more in any: refuted",
)
def one_query(observations: Observations) -> Verdict:
    lookups = [burst.lookups for burst in observations.bursts_of("on")]
    return Verdict(
        all(number == 1 for number in lookups),
        f"{spread(lookups)} look-ups in a burst, over all loads",
        _every_load(observations, "queries", "on"),
    )


@EXPECTATIONS.declare(
    "The other requests wait for the first to finish.",
    line=1647,
    threshold="in every burst with prevention 1 response was loaded, all others were collapsed "
    "or hits, and none arrived before the load can have ended",
)
def others_wait(observations: Observations) -> Verdict:
    bursts = observations.bursts_of("on")
    waited = sum(_waited(burst) for burst in bursts)
    collapsed = sum(_answers(burst, "collapsed") for burst in bursts)
    return Verdict(
        waited == len(bursts),
        f"true for {waited} of {len(bursts)} bursts of {REQUESTS} requests; "
        f"{collapsed} requests waited for another's load",
        _every_load(observations, "latency", "on"),
    )


@EXPECTATIONS.declare(
    "All requests share the one result.",
    line=1648,
    threshold="every response of a burst is a 200 with the same bytes",
)
def all_share(observations: Observations) -> Verdict:
    bursts = observations.bursts_of("on")
    shared = sum(_shared(burst) for burst in bursts)
    return Verdict(
        shared == len(bursts),
        f"true for {shared} of {len(bursts)} bursts, {len(bursts) * REQUESTS} responses",
        _every_load(observations, "queries", "on"),
    )


@EXPECTATIONS.declare(
    "The database's own log counts 1 query with prevention at the seed's numbers.",
    line=1652,
    threshold="100 requests, 50 at once, the load as it is: 1 look-up in every burst",
)
def count_is_one(observations: Observations) -> Verdict:
    lookups = [burst.lookups for burst in observations.bursts_of("on", 0)]
    return Verdict(
        all(number == 1 for number in lookups),
        f"{spread(lookups)} look-ups in a burst",
        [series_name("queries", "on", 0)],
    )


@EXPECTATIONS.declare(
    "PostgreSQL's active connections spike.",
    line=1653,
    threshold=f"longest load: at least {SPIKE} backends at work for a burst at one time without "
    "prevention, and at most 1 with it",
    timed=True,
)
def connections_spike(observations: Observations) -> Verdict:
    off, on = ([burst.peak for burst in observations.longest(arm)] for arm in ("off", "on"))
    return Verdict(
        statistics.median(off) >= SPIKE and max(on) <= 1,
        f"{spread(off)} backends at work at one time, with prevention {spread(on)}",
        _longest(observations, "backends at work", "off", "on"),
    )


@EXPECTATIONS.declare(
    "The entry is written once with prevention, and many times without.",
    line=1655,
    threshold="with prevention 1 SET of the entry in every burst; without, a median of at "
    f"least {MANY} where the load takes longest",
)
def writes(observations: Observations) -> Verdict:
    off = [len(burst.writers) for burst in observations.longest("off")]
    on = [len(burst.writers) for burst in observations.bursts_of("on")]
    return Verdict(
        all(number == 1 for number in on) and bool(_many(off)),
        f"{spread(off)} writes without, {spread(on)} with prevention",
        [*_longest(observations, "writes", "off"), *_every_load(observations, "writes", "on")],
    )


@EXPECTATIONS.declare(
    "Nothing has to be recovered.",
    line=1659,
    threshold="after every burst, in either arm, the next request is a hit",
)
def heals(observations: Observations) -> Verdict:
    bursts = [*observations.bursts_of("off"), *observations.bursts_of("on")]
    hits = sum(burst.after.cache.startswith("hit") for burst in bursts)
    return Verdict(
        hits == len(bursts),
        f"the next request was a hit after {hits} of {len(bursts)} bursts",
        _every_load(observations, "statements of the next request", "off"),
    )


@EXPECTATIONS.declare(
    "The database is back to normal once the cache is populated.",
    line=1660,
    threshold="the request after a burst runs 0 statements in PostgreSQL",
)
def database_normal(observations: Observations) -> Verdict:
    bursts = [*observations.bursts_of("off"), *observations.bursts_of("on")]
    quiet = sum(burst.statements_after == 0 for burst in bursts)
    return Verdict(
        quiet == len(bursts),
        f"the next request ran no statement after {quiet} of {len(bursts)} bursts",
        _every_load(observations, "statements of the next request", "off"),
    )


@EXPECTATIONS.declare(
    "Single flight within each process, as in the seed's code, suffices for a single query.",
    threshold=f"1 look-up in every burst whose load takes longest, over {WORKERS} processes",
    declared=Outcome.REFUTED,
    because="A map in memory joins the misses of one process; each of the 4 processes "
    "still loads for itself. A lease that all of them see is needed.",
)
def process_is_enough(observations: Observations) -> Verdict:
    lookups = [burst.lookups for burst in observations.longest("process")]
    return Verdict(
        all(number == 1 for number in lookups),
        f"{spread(lookups)} look-ups in a burst over {WORKERS} processes",
        _longest(observations, "queries", "process"),
    )


@EXPECTATIONS.declare(
    "If requests arrive evenly, there are as many queries as requests that arrive during one load.",
    threshold="longest load: median look-ups within half to twice 1 + arrivals per second x "
    "(what a cold read takes + the delay)",
    timed=True,
)
def predicted(observations: Observations) -> Verdict:
    longest_ms = observations.longest_even_ms
    lookups = observations.even_lookups("off", longest_ms)
    expected = observations.predicted_lookups(longest_ms)
    return Verdict(
        1 / WITHIN <= statistics.median(lookups) / expected <= WITHIN,
        f"{spread(lookups)} look-ups at {EVEN_PER_SECOND:g} requests a second and "
        f"{longest_ms} ms; predicted {expected:.1f}",
        [even_name("off", longest_ms), "cold read of one client"],
    )


def _longest(observations: Observations, kind: str, *arms: str) -> list[str]:
    """Return the names of the series of the longest load."""
    return [series_name(kind, arm, observations.longest_ms) for arm in arms]


def _every_load(observations: Observations, kind: str, arm: str) -> list[str]:
    loads = sorted({burst.load_ms for burst in observations.bursts})
    return [series_name(kind, arm, load_ms) for load_ms in loads]


def _many(counts: Sequence[int]) -> bool | None:
    if len(counts) < FEW_BURSTS:
        return None
    median = statistics.median(counts)
    return True if median >= MANY else False if median <= 1 else None


def _waited(burst: Burst) -> bool:
    loaded = [sample for sample in burst.samples if sample.cache == "fwd=uri-miss; stored"]
    others = _answers(burst, "collapsed") + _answers(burst, "hit")
    first_ms = min(sample.at * 1000 + sample.latency_ms for sample in burst.samples)
    return len(loaded) == 1 and others == REQUESTS - 1 and first_ms >= burst.load_ms


def _shared(burst: Burst) -> bool:
    answers = {(sample.status, sample.body) for sample in burst.samples}
    return len(burst.samples) == REQUESTS and len(answers) == 1 and burst.samples[0].status == 200


def _answers(burst: Burst, word: str) -> int:
    """Return how many answers have the word in their Cache-Status."""
    return sum(word in sample.cache for sample in burst.samples)
