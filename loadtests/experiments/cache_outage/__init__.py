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
        "Read 60 notes, so that they are cached.",
        "Send reads, lists, writes and health checks at a fixed rate (open loop) the whole time.",
        "Kill Redis (SIGKILL) for some seconds; start it again; wait until every process uses it.",
        "Read 40 notes twice that nobody has read since.",
        "Do the same with a Redis that hangs (SIGSTOP): it takes connections and answers nothing.",
        "Count look-ups in PostgreSQL's log, and lines by level in the site's log.",
        "In the full run: outages of 0.5 to 8 s, each on a fresh site, and how soon Redis is used "
        "again.",
    ),
    control="Redis up: before, between and after the outages, on the same site",
    treatment="Redis killed, and Redis paused",
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
    lessons=(
        "Degradation has to be built: a timeout of 100 ms instead of the driver's seconds, no retry "
        "on reads, and a breaker that stops asking a Redis that is away.",
        "A cache is there for speed. Whatever it answers, the database has to be able to answer too.",
        "Its outage is the database's load: every read becomes a query, so loads are shared and "
        "bounded while Redis is away.",
        "Retrying belongs in the background: a probe finds out that Redis is back, and no request "
        "pays for it. The longer the outage, the longer the probes wait.",
        "Watch the cache by its own state (health degraded, metric, one warning for each change): "
        "availability alone does not tell.",
        "What was written during the outage must reach the cache before it is trusted again.",
    ),
    guesses=(
        Guess(
            question="How long does a read take while Redis is dead (median)?",
            unit="ms",
            quantity="read_without_redis_p50_ms",
        ),
        Guess(
            question="Which share of the requests is answered 200 during the outages?",
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
