"""Exercise 1: Redis killed, then made to hang, while the application runs."""

from typing import Final

from loadtests.experiments.cache_outage import charts, method
from loadtests.experiments.cache_outage.expectations import EXPECTATIONS
from loadtests.lab.experiment import Experiment, Guess

EXPERIMENT: Final = Experiment(
    name="cache_outage",
    title="Cache failure",
    question="What do clients see when Redis dies, or hangs, while the application runs?",
    lines=(1518, 1561),
    procedure=(
        "Read 60 notes, which caches them.",
        "Send reads, lists, writes and health checks at a fixed rate (open loop) the whole time.",
        "Kill Redis (SIGKILL), start it again after some seconds, and wait until every process uses it.",
        "Read 40 notes twice that nobody has read in the meantime.",
        "Do the same with a Redis that hangs (SIGSTOP): it accepts connections but does not answer.",
        "Count look-ups in PostgreSQL's log, and lines by level in the site's log.",
        "In the full run: cause outages of 0.5 to 8 s, each on a fresh site, and measure how soon Redis "
        "is used again.",
    ),
    control="Redis up: before, between and after the outages, on the same site",
    treatment="Redis killed, and Redis paused",
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
    lessons=(
        "Graceful degradation has to be built: a timeout of 100 ms instead of the driver's seconds, no "
        "retry on reads, and a breaker that stops sending requests to a Redis that is down.",
        "A cache is for speed. Whatever it can answer, the database must be able to answer too.",
        "An outage of the cache is load for the database: every read becomes a query, so loads are shared "
        "and bounded while Redis is down.",
        "Retries belong in the background: a probe notices that Redis is back, and no request pays for it.",
        "Monitor the cache by its own state (health degraded, a metric, one warning per change): "
        "availability alone does not show the outage.",
        "Writes made during the outage must reach the cache before it is trusted again.",
    ),
    guesses=(
        Guess(
            question="How long does a read take while Redis is dead (median)?",
            unit="ms",
            quantity="read_without_redis_p50_ms",
        ),
        Guess(
            question="What share of the requests is answered with 200 during the outages?",
            unit="%",
            quantity="availability_percent",
        ),
        Guess(
            question="How soon after Redis answers again do all processes use it?",
            unit="s",
            quantity="trusted_again_s",
        ),
    ),
)
