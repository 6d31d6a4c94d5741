"""What the seed expects of a stampede, and what the project declares of it."""

from typing import Final

from loadtests.lab.experiment import Expectation, Outcome

EXPECTATIONS: Final = (
    Expectation(
        key="many-queries",
        text="Without prevention the database is sent many identical queries.",
        line=1640,
        threshold="median of at least 10 look-ups of the note in each burst whose load takes "
        "longest: confirmed; of 1: refuted",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="database-load",
        text="Without prevention the load on the database is high.",
        line=1641,
        threshold="time spent in statements over that with prevention: the ratio's interval above 5: "
        "confirmed; below 5: refuted",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="several-writers",
        text="Without prevention several processes store the same value.",
        line=1642,
        threshold="at least 2 processes SET the entry in every burst whose load takes longest",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="one-query",
        text="With prevention the database is sent one query, however long the load takes.",
        line=1646,
        threshold="exactly 1 look-up in every burst: confirmed; more in any: refuted",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="others-wait",
        text="The other requests wait for the first to finish.",
        line=1647,
        threshold="in every burst with prevention 1 answer was loaded, all others were collapsed "
        "or hits, and none came before the load can have ended",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="all-share",
        text="All requests share the one result.",
        line=1648,
        threshold="every answer of a burst is 200 and has the same bytes",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="count-is-one",
        text="The database's own log counts 1 query with prevention at the seed's numbers.",
        line=1652,
        threshold="100 requests, 50 at once, the load as it is: 1 look-up in every burst",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="connections-spike",
        text="PostgreSQL's active connections spike.",
        line=1653,
        threshold="longest load: at least 5 backends at work for a burst at one time without "
        "prevention, and at most 1 with it",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="writes",
        text="The entry is written once with prevention, and many times without.",
        line=1655,
        threshold="with prevention 1 SET of the entry in every burst; without, a median of at "
        "least 10 where the load takes longest",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="heals",
        text="Nothing has to be recovered.",
        line=1659,
        threshold="after every burst, in either arm, the next request is a hit",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="database-normal",
        text="The database is back to normal once the cache is populated.",
        line=1660,
        threshold="the request after a burst runs 0 statements in PostgreSQL",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="process-is-enough",
        text="A single flight within the process, as in the seed's code, is enough for one query.",
        line=None,
        threshold="1 look-up in every burst whose load takes longest, over 4 processes",
        declared=Outcome.REFUTED,
        because="A map in memory joins those who miss in one process; each of the 4 processes "
        "still loads for itself. It takes a lease that all of them see.",
    ),
    Expectation(
        key="predicted",
        text="Where requests arrive evenly, the queries are those that arrive during one load.",
        line=None,
        threshold="longest load: median look-ups within half to twice 1 + arrivals per second x "
        "(what a cold read takes + the delay)",
        declared=Outcome.CONFIRMED,
    ),
)
