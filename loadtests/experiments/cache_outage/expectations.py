"""What the seed expects of an outage of Redis, and what the project declares of it."""

from typing import Final

from loadtests.lab.experiment import Expectation, Outcome

EXPECTATIONS: Final = (
    Expectation(
        key="first-request",
        text="The first request logs a cache error and queries the database.",
        line=1532,
        threshold="after each fault the first read is answered from PostgreSQL, where its look-up is "
        "logged, and the site's log has the cache's unavailability",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="slower",
        text="The response time rises, since nothing is cached.",
        line=1533,
        threshold="the ratio of a read's latency without Redis to that in the phase before (lower "
        "quartiles of ten reads each), its interval above 1: confirmed; below 1: refuted",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="goes-on",
        text="The application goes on working: reads, lists and writes.",
        line=1534,
        threshold="each kind of request is answered 200 during both faults",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="health-tells",
        text="The health check reports Redis as unhealthy.",
        line=1535,
        threshold="every /health that is answered during a fault is 200 with status degraded and Redis down, every "
        "one before is ok",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="uncached-slower",
        text="An uncached read takes longer than a cached one.",
        line=1539,
        threshold="reads with Cache-Control: no-store and cached ones in turn, Redis up: the ratio's "
        "interval above 1 (lower quartiles of ten reads each)",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="warnings",
        text="The log shows warnings of the cache, and no errors.",
        line=1540,
        threshold="from the fault to the recovery at least 1 line of level warning and 0 of a higher "
        "level",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="available",
        text="The availability is 100 %.",
        line=1541,
        threshold="every request during the faults and the recoveries is answered 200",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="database-load",
        text="The load on the database rises without the cache.",
        line=1542,
        threshold="look-ups in PostgreSQL for each read: at most 0.1 with Redis, at least 0.5 without",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="first-miss",
        text="After Redis was started again, the first request is a miss.",
        line=1551,
        threshold="the first read of every note that was cached before is loaded and stored",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="second-hit",
        text="The second request is a hit, and fast.",
        line=1552,
        threshold="the second read of every such note is a hit; the ratio of first to second "
        "(lower quartiles of four each), its interval above 1",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="once-per-change",
        text="The outage is logged once by each process, not once for each request.",
        line=None,
        threshold="as many lines for each fault as there are processes, and as many for its end",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="trusted-again",
        text="The cache is used again without anybody's doing, at most twice the outage and a second "
        "after Redis answers.",
        line=None,
        threshold="every process trusts it within 2 x (outages so far) + 1 s, at most 30 s; 3 s are "
        "given for the probe itself",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="paused-keeps",
        text="A Redis that only hung still has its copies, and they are right: no miss at all.",
        line=None,
        threshold="the first read after the pause of every note that was cached before is a hit",
        declared=Outcome.CONFIRMED,
    ),
)
