"""What should happen to a site whose pool is too small, fixed before any run."""

from typing import Final

from loadtests.lab.experiment import Expectation, Outcome

FAILING: Final = 0.01  # of the requests: more than that is "requests time out"
UNHARMED: Final = 0.05  # of the requests may fail where none should, on a busy machine
DRAMATIC: Final = 3.0  # times the latency; 20 / 5 = 4 where the pool is what is short
HALF_AS_PREDICTED: Final = 2.0  # times the latency, with 4 predicted
SAME_RATE: Final = 2.0  # times the requests a second; less is no difference that matters
WAITING: Final = 0.8  # of the clients that are not served are seen waiting
OTHERS: Final = 5  # connections besides the pool's: two listeners, and who asks for the figures

EXPECTATIONS: Final = (
    Expectation(
        key="requests-time-out",
        text="With a pool of 5, 1000 requests at 50 at a time start to time out.",
        line=1808,
        threshold=f"more than {FAILING:.0%} of the requests for the uncached list fail: confirmed",
        declared=Outcome.REFUTED,
        because="A list holds its connection for some milliseconds, so 45 who wait for 5 connections "
        "wait for nine times that. It becomes true where connections are held for longer than the "
        "acquire timeout x pool / (clients - pool): 222 ms with 2 s, 5 and 50.",
    ),
    Expectation(
        key="connection-timeout",
        text="Who waits too long gets a connection timeout as an error.",
        line=1809,
        threshold="in the overload each failure is a 503 with Retry-After that names postgres, and "
        "there are some",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="database-rejects",
        text="The database rejects connections.",
        line=1810,
        threshold="PostgreSQL's log tells of one refused under the seed's load and the overload",
        declared=Outcome.REFUTED,
        because="A small pool asks for few connections; that is what it is for. The server refuses "
        "where workers x pool, and what others have, come to more than its max_connections.",
    ),
    Expectation(
        key="latency-jumps",
        text="The API's response time increases dramatically.",
        line=1811,
        threshold=f"p50 of the seed's load, pool of 5 against 20: interval above {DRAMATIC:g} "
        "confirms, below it refutes",
        declared=Outcome.REFUTED,
        because="The processors are what is short, with either pool: whoever has a connection waits "
        "for them, and a queue before the pool only moves that wait.",
    ),
    Expectation(
        key="latency-by-hold",
        text="Where connections are held for long, latency is clients / pool times the hold.",
        line=None,
        threshold=f"p50 with 50 ms held, pool of 5 against 20: {HALF_AS_PREDICTED:g} times or more, "
        "with 4 predicted",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="break-point",
        text="Requests fail from the predicted hold on, and as many of them as predicted.",
        line=None,
        threshold=f"up to half the predicted hold at most {UNHARMED:.0%} fail, from twice of it on at "
        "least half the predicted part, and there are points on both sides; for the pool of 5",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="pool-metrics",
        text="The pool's metrics show it: all active, none idle, the others waiting.",
        line=1815,
        threshold=f"a reading of the overload with 5 active, 0 idle and {WAITING:.0%} of 45 waiting",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="failure-rate",
        text="The failure rate goes up with the time for which connections are held.",
        line=1816,
        threshold="in the pool of 5 the longest hold fails for more of the requests than the "
        "shortest, by at least a quarter of all",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="connection-count",
        text="The database's connections stay at the pool's size, however many clients there are.",
        line=1817,
        threshold=f"in the overload never more than the pool's 5 and {OTHERS} others",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="errors-counted",
        text="The rate of errors in the metrics goes up by what clients see.",
        line=1818,
        threshold="the count of exhausted waits goes up by the failures, and by at most a tenth and 10 "
        "more (background threads take connections, too)",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="larger-pool-recovers",
        text="A pool of 20 has room for the load that the pool of 5 fails under.",
        line=1824,
        threshold=f"of the sweep's holds, those that fail for more than a quarter with 5 and should "
        f"not fail with 20: there is one, and at most {UNHARMED:.0%} fail with 20",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="recovers-alone",
        text="When the load is over the site serves at once, without a restart.",
        line=None,
        threshold="the 10 requests right behind the overload are answered 200, and nobody waits then",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="formula",
        text="For short queries the formula's pool (2 cores: 5) does as much as one of 20.",
        line=1831,
        threshold=f"requests a second, 20 against 5: interval below {SAME_RATE:g} confirms, above it "
        "refutes",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="leaks",
        text="Connections that leak take the site down although database and load are well.",
        line=1833,
        threshold="while 5 of 5 are held, every uncached request fails; afterwards none does",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="not-an-outage",
        text="An exhausted pool is not taken for an outage, and cached reads go on.",
        line=None,
        threshold="no reading has the breaker open, every cached read is answered 200",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="refused-beyond-max",
        text="Where the server has no connection left it refuses, and the pool goes on with what it has.",
        line=None,
        threshold=f"PostgreSQL refuses, at most {UNHARMED:.0%} of the requests fail, the breaker stays "
        "closed",
        declared=Outcome.CONFIRMED,
    ),
)
